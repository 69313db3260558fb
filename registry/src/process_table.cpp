#include "tables.hpp"

#include <algorithm>

namespace registry::tables {
namespace {

constexpr std::size_t kMaxTail = 64 * 1024;
constexpr std::size_t kMaxCommand = 500;

#define PROCESS_COLUMNS                                                                                       \
    "id, workspace, generation, command, running, exit_code, signal, reason, started_ms, ended_ms, total_bytes," \
    " tail_offset, tail, keep_alive, background"

ProcessRecord read(Statement& s) {
    ProcessRecord r;
    r.id = s.text();
    r.workspace = s.text();
    r.generation = s.natural();
    r.command = s.text();
    r.running = s.number() != 0;
    r.exit_code = static_cast<int>(s.number());
    r.signal = static_cast<int>(s.number());
    r.reason = s.text();
    r.started_ms = s.number();
    r.ended_ms = s.number();
    r.total_bytes = s.natural();
    r.tail_offset = s.natural();
    r.tail = s.text();
    r.keep_alive = s.number() != 0;
    r.background = s.number() != 0;
    return r;
}

}  // namespace

Status put(Database& db, ProcessRecord const& r) {
    // A process never moves to another workspace, whatever id a caller made up.
    auto s = db.statement("INSERT INTO processes (" PROCESS_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                          " ON CONFLICT (id) DO UPDATE SET generation = excluded.generation, command = excluded.command,"
                          " running = excluded.running, exit_code = excluded.exit_code, signal = excluded.signal,"
                          " reason = excluded.reason, started_ms = excluded.started_ms, ended_ms = excluded.ended_ms,"
                          " total_bytes = excluded.total_bytes, keep_alive = excluded.keep_alive,"
                          " background = excluded.background,"
                          // A later record without output does not take away what was kept.
                          " tail_offset = iif(excluded.tail = x'', processes.tail_offset, excluded.tail_offset),"
                          " tail = iif(excluded.tail = x'', processes.tail, excluded.tail)"
                          " WHERE processes.workspace = excluded.workspace");
    // A tail that is too long keeps its end, which is what a reader wants of it.
    std::size_t const cut = r.tail.size() - std::min(r.tail.size(), kMaxTail);
    s.bind(r.id).bind(r.workspace).bind(r.generation).bind(std::string_view(r.command).substr(0, kMaxCommand));
    s.bind(r.running).bind(r.exit_code).bind(r.signal).bind(r.reason).bind(r.started_ms).bind(r.ended_ms);
    s.bind(r.total_bytes).bind(r.tail_offset + cut).bind_blob(std::string_view(r.tail).substr(cut)).bind(r.keep_alive);
    s.bind(r.background);
    return s.run();
}

Status put_all(Database& db, std::vector<ProcessRecord> const& records) {
    if (auto s = db.execute("SAVEPOINT put_all"); !s) return s;
    for (auto const& r : records) {
        auto status = put(db, r);
        if (status) continue;
        if (db.in_transaction()) (void)db.execute("ROLLBACK TO put_all; RELEASE put_all");
        return status;
    }
    return db.execute("RELEASE put_all");
}

Result<std::optional<ProcessRecord>> process(Database& db, std::string const& id) {
    auto s = db.statement("SELECT " PROCESS_COLUMNS " FROM processes WHERE id = ?");
    s.bind(id);
    auto const row = s.step();
    if (!row) return row.error();
    return *row ? std::optional(read(s)) : std::nullopt;
}

Result<std::vector<ProcessRecord>> processes_of(Database& db, std::string const& workspace, std::size_t limit) {
    auto s = db.statement("SELECT " PROCESS_COLUMNS " FROM processes WHERE workspace = ?"
                          " ORDER BY started_ms DESC, rowid DESC LIMIT ?");
    s.bind(workspace).bind(static_cast<std::uint64_t>(limit));
    std::vector<ProcessRecord> all;
    for (;;) {
        auto const row = s.step();
        if (!row) return row.error();
        if (!*row) return all;
        all.push_back(read(s));
    }
}

}  // namespace registry::tables
