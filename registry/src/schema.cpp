#include "database.hpp"

namespace registry {
namespace {

// In the file's header, so that file(1) and we tell a registry from any other database: "brth".
constexpr std::int64_t kApplicationId = 0x62727468;

// Each entry leads from the version of its index to the next. Entries are never changed once released.
constexpr char const* kMigrations[] = {
    R"sql(
CREATE TABLE workspaces (
    id              TEXT    PRIMARY KEY NOT NULL CHECK (length(id) BETWEEN 1 AND 128),
    name            TEXT    NOT NULL,
    owner           TEXT    NOT NULL,
    template        TEXT    NOT NULL,
    state           TEXT    NOT NULL CHECK (state <> ''),
    slot            TEXT    NOT NULL,
    volume          TEXT    NOT NULL,
    generation      INTEGER NOT NULL CHECK (generation >= 0),
    settings        TEXT    NOT NULL CHECK (settings <> ''),
    last_error      TEXT    NOT NULL,
    idempotency_key TEXT    NOT NULL,
    request_hash    TEXT    NOT NULL,
    created_ms      INTEGER NOT NULL,
    active_ms       INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX workspaces_by_name ON workspaces (owner, name) WHERE name <> '';
CREATE UNIQUE INDEX workspaces_by_key ON workspaces (owner, idempotency_key) WHERE idempotency_key <> '';

CREATE TABLE processes (
    id              TEXT    PRIMARY KEY NOT NULL CHECK (length(id) BETWEEN 1 AND 128),
    workspace       TEXT    NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    generation      INTEGER NOT NULL CHECK (generation >= 0),
    command         TEXT    NOT NULL,
    running         INTEGER NOT NULL CHECK (running IN (0, 1)),
    exit_code       INTEGER NOT NULL,
    signal          INTEGER NOT NULL,
    reason          TEXT    NOT NULL,
    started_ms      INTEGER NOT NULL,
    ended_ms        INTEGER NOT NULL,
    total_bytes     INTEGER NOT NULL CHECK (total_bytes >= 0),
    tail_offset     INTEGER NOT NULL CHECK (tail_offset >= 0),
    tail            BLOB    NOT NULL CHECK (length(tail) <= 65536)
) STRICT;
CREATE INDEX processes_by_workspace ON processes (workspace, started_ms);

CREATE TABLE audit (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms           INTEGER NOT NULL,
    workspace       TEXT    NOT NULL,
    what            TEXT    NOT NULL,
    detail          TEXT    NOT NULL CHECK (detail <> '')
) STRICT;
CREATE INDEX audit_by_workspace ON audit (workspace, id);

CREATE TABLE secrets (
    name            TEXT    PRIMARY KEY NOT NULL CHECK (name <> ''),
    value           BLOB    NOT NULL CHECK (length(value) > 0)
) STRICT;
)sql",
    R"sql(
CREATE TABLE tool_pins (
    server          TEXT    NOT NULL CHECK (server <> ''),
    tool            TEXT    NOT NULL CHECK (tool <> ''),
    hash            TEXT    NOT NULL CHECK (length(hash) = 64),
    definition      TEXT    NOT NULL CHECK (definition <> ''),
    approved_ms     INTEGER NOT NULL,
    approved_by     TEXT    NOT NULL,
    PRIMARY KEY (server, tool)
) STRICT;

CREATE TABLE server_offers (
    server          TEXT    PRIMARY KEY NOT NULL CHECK (server <> ''),
    fingerprint     TEXT    NOT NULL,
    offer           TEXT    NOT NULL CHECK (offer <> ''),
    seen_ms         INTEGER NOT NULL
) STRICT;
)sql",
    R"sql(
ALTER TABLE workspaces ADD COLUMN sleeps INTEGER NOT NULL DEFAULT 0 CHECK (sleeps >= 0);
ALTER TABLE workspaces ADD COLUMN fidelity TEXT NOT NULL DEFAULT '';
ALTER TABLE workspaces ADD COLUMN fidelity_reason TEXT NOT NULL DEFAULT '';
ALTER TABLE processes ADD COLUMN keep_alive INTEGER NOT NULL DEFAULT 0 CHECK (keep_alive IN (0, 1));

CREATE TABLE images (
    workspace       TEXT    NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    image           TEXT    NOT NULL CHECK (image <> ''),
    kind            TEXT    NOT NULL CHECK (kind IN ('sleep', 'snapshot')),
    generation      INTEGER NOT NULL CHECK (generation >= 0),
    forked          INTEGER NOT NULL CHECK (forked IN (0, 1)),
    bytes           INTEGER NOT NULL CHECK (bytes >= 0),
    stamp           TEXT    NOT NULL,
    runtime         TEXT    NOT NULL,
    guest           TEXT    NOT NULL,
    created_ms      INTEGER NOT NULL,
    PRIMARY KEY (workspace, image)
) STRICT;
)sql",
    R"sql(
CREATE TABLE snapshots (
    id              TEXT    PRIMARY KEY NOT NULL CHECK (length(id) BETWEEN 1 AND 128),
    workspace       TEXT    NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name            TEXT    NOT NULL,
    volume          TEXT    NOT NULL CHECK (volume <> ''),
    image           TEXT    NOT NULL,
    generation      INTEGER NOT NULL CHECK (generation >= 0),
    files_bytes     INTEGER NOT NULL CHECK (files_bytes >= 0),
    memory_bytes    INTEGER NOT NULL CHECK (memory_bytes >= 0),
    note            TEXT    NOT NULL,
    created_ms      INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX snapshots_by_name ON snapshots (workspace, name) WHERE name <> '';
CREATE INDEX snapshots_by_workspace ON snapshots (workspace);
)sql",
    R"sql(
CREATE TABLE previews (
    id              TEXT    PRIMARY KEY NOT NULL CHECK (length(id) BETWEEN 1 AND 128),
    workspace       TEXT    NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    owner           TEXT    NOT NULL,
    port            INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
    access          TEXT    NOT NULL CHECK (access IN ('private', 'public')),
    rules           TEXT    NOT NULL CHECK (rules <> ''),
    version         INTEGER NOT NULL CHECK (version >= 1),
    created_ms      INTEGER NOT NULL,
    expires_ms      INTEGER NOT NULL,
    revoked_ms      INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX previews_by_port ON previews (workspace, port);
)sql",
    R"sql(
ALTER TABLE previews ADD COLUMN domain TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX previews_by_domain ON previews (domain) WHERE domain <> '';
)sql",
    R"sql(
ALTER TABLE processes ADD COLUMN background INTEGER NOT NULL DEFAULT 0 CHECK (background IN (0, 1));
)sql",
};
constexpr std::int64_t kVersion = std::size(kMigrations);

base::Result<std::int64_t> pragma(Database& db, char const* sql) {
    auto s = db.statement(sql);
    auto const row = s.step();
    if (!row) return row.error();
    return *row ? s.number() : 0;
}

}  // namespace

base::Status migrate(Database& db, std::string const& path) {
    auto const version = pragma(db, "PRAGMA user_version");
    if (!version) return version.error();
    auto const application = pragma(db, "PRAGMA application_id");
    if (!application) return application.error();
    auto const objects = pragma(db, "SELECT count(*) FROM sqlite_schema");
    if (!objects) return objects.error();

    bool const fresh = *version == 0 && *application == 0 && *objects == 0;
    if (!fresh && *application != kApplicationId)
        return base::error(base::errc::corrupt, path + " is a database of another program");
    if (*version > kVersion)
        return base::error(base::errc::corrupt,
                           path + " is of version " + std::to_string(*version) + ", this build knows up to " +
                               std::to_string(kVersion) + ": use a newer berth or another data directory");
    if (!fresh && *version < 1)
        return base::error(base::errc::corrupt, path + " is damaged: it names no version");
    if (*version == kVersion) return {};

    if (auto s = db.execute("BEGIN IMMEDIATE"); !s) return s;
    auto const all = [&]() -> base::Status {
        for (auto from = *version; from < kVersion; ++from)
            if (auto s = db.execute(kMigrations[from]); !s) return s;
        auto const stamp = "PRAGMA application_id=" + std::to_string(kApplicationId) +
                           "; PRAGMA user_version=" + std::to_string(kVersion);
        if (auto s = db.execute(stamp.c_str()); !s) return s;
        return db.execute("COMMIT");
    };
    auto status = all();
    if (!status) {
        if (db.in_transaction()) (void)db.execute("ROLLBACK");
        return base::wrap(status.error(), "bring the registry up to date");
    }
    return status;
}

}  // namespace registry
