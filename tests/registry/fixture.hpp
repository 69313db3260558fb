#pragma once
#include <registry/registry.hpp>
#include <testing/io.hpp>

#include <doctest/doctest.h>
#include <sqlite3.h>

#include <memory>
#include <string>

namespace registry_test {

using registry::ProcessRecord;
using registry::Registry;
using registry::WorkspaceRecord;

/// A registry in a directory of its own, closed and opened again at will.
struct World {
    testing_support::TemporaryDirectory dir;
    testing_support::Io io;
    std::unique_ptr<Registry> registry;

    World() { open(); }
    void open() { registry = Registry::open(io.context, dir.path).value(); }
    void close() {
        io.run(registry->close());
        registry.reset();
    }
    std::string file() const { return dir.path + "/registry.sqlite"; }
};

/// For CHECK, which cannot show a Status; the message is printed instead.
inline bool ok(registry::Status const& status) {
    if (!status) MESSAGE(status.error().message());
    return status.has_value();
}

inline WorkspaceRecord workspace(std::string id) {
    WorkspaceRecord r;
    r.id = id;
    r.name = "name-" + id;
    r.owner = "alice";
    r.template_name = "base";
    r.state = "running";
    r.slot = "s-1";
    r.volume = "v-" + id;
    r.generation = 3;
    r.settings = {{"env", {{"A", "1"}}}};
    r.last_error = "none";
    r.idempotency_key = "key-" + id;
    r.request_hash = "hash";
    r.created_ms = 1000;
    r.active_ms = 2000;
    return r;
}

inline ProcessRecord process(std::string id, std::string workspace, std::int64_t started_ms = 1) {
    ProcessRecord r;
    r.id = std::move(id);
    r.workspace = std::move(workspace);
    r.generation = 3;
    r.command = "sleep 1";
    r.started_ms = started_ms;
    return r;
}

/// Another connection, as an operator's shell would open it.
inline void sql(std::string const& path, std::string const& text) {
    sqlite3* db = nullptr;
    int rc = sqlite3_open(path.c_str(), &db);
    if (rc == SQLITE_OK) rc = sqlite3_exec(db, text.c_str(), nullptr, nullptr, nullptr);
    std::string const message = sqlite3_errmsg(db);
    sqlite3_close(db);
    if (rc != SQLITE_OK) throw std::runtime_error(text + ": " + message);
}

/// The first column of the first row.
inline int number(std::string const& path, std::string const& text) {
    sqlite3* db = nullptr;
    sqlite3_stmt* statement = nullptr;
    int value = -1;
    if (sqlite3_open(path.c_str(), &db) == SQLITE_OK &&
        sqlite3_prepare_v2(db, text.c_str(), -1, &statement, nullptr) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW)
        value = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return value;
}

}  // namespace registry_test
