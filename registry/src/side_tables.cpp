#include "tables.hpp"

#include <base/ids.hpp>

// The tables beside those of workspaces and processes: the audit trail, secrets, and what is kept of either.
namespace registry::tables {

Status add(Database& db, AuditEntry const& e) {
    auto s = db.statement("INSERT INTO audit (at_ms, workspace, what, detail) VALUES (?, ?, ?, ?)");
    s.bind(e.at_ms).bind(e.workspace).bind(e.what).bind(e.detail);
    return s.run();
}

Result<base::Json> recent_audit(Database& db, std::string const& workspace, std::size_t limit) {
    auto s = db.statement("SELECT at_ms, workspace, what, detail FROM audit WHERE workspace = ? ORDER BY id DESC LIMIT ?");
    s.bind(workspace).bind(static_cast<std::uint64_t>(limit));
    auto all = base::Json::array();
    for (;;) {
        auto const row = s.step();
        if (!row) return row.error();
        if (!*row) return all;
        auto entry = base::Json::object();
        entry["at_ms"] = s.number();
        entry["workspace"] = s.text();
        entry["what"] = s.text();
        auto detail = base::parse_json(s.text());
        if (!detail) return base::error(base::errc::corrupt, "an audit entry of workspace " + workspace + " is not valid JSON");
        entry["detail"] = std::move(*detail);
        all.push_back(std::move(entry));
    }
}

Result<std::string> secret(Database& db, std::string const& name, std::size_t bytes) {
    {
        auto s = db.statement("SELECT value FROM secrets WHERE name = ?");
        s.bind(name);
        auto const row = s.step();
        if (!row) return row.error();
        if (*row) return s.text();
    }
    auto value = base::random_bytes(bytes);
    auto s = db.statement("INSERT INTO secrets (name, value) VALUES (?, ?)");
    s.bind(name).bind_blob(value);
    if (auto status = s.run(); !status) return status.error();
    return value;
}

Status prune(Database& db) {
    // Nobody's flood may push out what others did; the second bound is for many subjects.
    if (auto s = db.execute("DELETE FROM audit WHERE id IN (SELECT id FROM (SELECT id,"
                            " row_number() OVER (PARTITION BY workspace ORDER BY id DESC) AS place FROM audit)"
                            " WHERE place > 5000)");
        !s)
        return s;
    if (auto s = db.execute("DELETE FROM audit WHERE id IN (SELECT id FROM audit ORDER BY id DESC LIMIT -1 OFFSET 200000)"); !s)
        return s;
    // More than anyone pages through; those that still run are never forgotten.
    return db.execute("DELETE FROM processes WHERE running = 0 AND rowid IN (SELECT rowid FROM (SELECT rowid,"
                      " row_number() OVER (PARTITION BY workspace ORDER BY started_ms DESC, rowid DESC) AS place"
                      " FROM processes) WHERE place > 1000)");
}

}  // namespace registry::tables
