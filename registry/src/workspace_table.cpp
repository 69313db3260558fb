#include "tables.hpp"

namespace registry::tables {
namespace {

// Says which of the three unique things is taken, in the caller's words.
base::Error explain(base::Error e, WorkspaceRecord const& r) {
    if (!base::is(e, base::errc::exists)) return e;
    if (e.context.find("workspaces.name") != e.context.npos)
        e.context = "a workspace named \"" + r.name + "\" exists already";
    else if (e.context.find("workspaces.idempotency_key") != e.context.npos)
        e.context = "the idempotency key was used for another workspace";
    else
        e.context = "workspace " + r.id + " exists already";
    return e;
}

}  // namespace

Status insert(Database& db, WorkspaceRecord const& r) {
    auto s = db.statement("INSERT INTO workspaces (id, name, owner, template, state, slot, volume, generation, settings,"
                          " last_error, idempotency_key, request_hash, created_ms, active_ms, sleeps, fidelity, fidelity_reason)"
                          " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    s.bind(r.id).bind(r.name).bind(r.owner).bind(r.template_name).bind(r.state).bind(r.slot).bind(r.volume);
    s.bind(r.generation).bind(base::dump(r.settings)).bind(r.last_error).bind(r.idempotency_key).bind(r.request_hash);
    s.bind(r.created_ms).bind(r.active_ms).bind(r.sleeps).bind(r.fidelity).bind(r.fidelity_reason);
    auto status = s.run();
    return status ? status : Status(explain(status.error(), r));
}

Status insert_all(Database& db, std::vector<WorkspaceRecord> const& records) {
    if (auto s = db.execute("SAVEPOINT insert_all"); !s) return s;
    for (auto const& r : records) {
        auto status = insert(db, r);
        if (status) continue;
        if (db.in_transaction()) (void)db.execute("ROLLBACK TO insert_all; RELEASE insert_all");
        return status;
    }
    return db.execute("RELEASE insert_all");
}

Status update(Database& db, WorkspaceRecord const& r) {
    auto s = db.statement("UPDATE workspaces SET name = ?, template = ?, state = ?, slot = ?, volume = ?, generation = ?,"
                          " settings = ?, last_error = ?, idempotency_key = ?, request_hash = ?, active_ms = ?,"
                          " sleeps = ?, fidelity = ?, fidelity_reason = ? WHERE id = ?");
    s.bind(r.name).bind(r.template_name).bind(r.state).bind(r.slot).bind(r.volume).bind(r.generation);
    s.bind(base::dump(r.settings)).bind(r.last_error).bind(r.idempotency_key).bind(r.request_hash).bind(r.active_ms);
    s.bind(r.sleeps).bind(r.fidelity).bind(r.fidelity_reason).bind(r.id);
    if (auto status = s.run(); !status) return explain(status.error(), r);
    if (db.changes() == 0) return base::error(base::errc::not_found, "workspace " + r.id + " is not registered");
    return {};
}

Status touch(Database& db, std::string const& id, std::int64_t active_ms) {
    auto s = db.statement("UPDATE workspaces SET active_ms = max(active_ms, ?) WHERE id = ?");
    s.bind(active_ms).bind(id);
    return s.run();
}

Status remove_workspace(Database& db, std::string const& id) {
    auto s = db.statement("DELETE FROM workspaces WHERE id = ?");    // processes and snapshots follow by foreign key
    s.bind(id);
    if (auto status = s.run(); !status) return status;
    if (db.changes() == 0) return base::error(base::errc::not_found, "workspace " + id + " is not registered");
    return {};
}

Result<std::vector<WorkspaceRecord>> workspaces(Database& db) {
    auto s = db.statement("SELECT id, name, owner, template, state, slot, volume, generation, settings, last_error,"
                          " idempotency_key, request_hash, created_ms, active_ms, sleeps, fidelity, fidelity_reason"
                          " FROM workspaces"
                          " ORDER BY created_ms, id");
    std::vector<WorkspaceRecord> all;
    for (;;) {
        auto const row = s.step();
        if (!row) return row.error();
        if (!*row) return all;
        WorkspaceRecord r;
        for (auto* field : {&r.id, &r.name, &r.owner, &r.template_name, &r.state, &r.slot, &r.volume}) *field = s.text();
        r.generation = s.natural();
        auto settings = base::parse_json(s.text());
        if (!settings) return base::error(base::errc::corrupt, "the settings of workspace " + r.id + " are not valid JSON");
        r.settings = std::move(*settings);
        for (auto* field : {&r.last_error, &r.idempotency_key, &r.request_hash}) *field = s.text();
        r.created_ms = s.number();
        r.active_ms = s.number();
        r.sleeps = s.natural();
        r.fidelity = s.text();
        r.fidelity_reason = s.text();
        all.push_back(std::move(r));
    }
}

}  // namespace registry::tables
