#include "tables.hpp"

namespace registry::tables {
namespace {

Status insert_record(Database& db, SnapshotRecord const& r) {
    auto s = db.statement("INSERT INTO snapshots (id, workspace, name, volume, image, generation, files_bytes, memory_bytes,"
                          " note, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    s.bind(r.id).bind(r.workspace).bind(r.name).bind(r.volume).bind(r.image).bind(r.generation);
    s.bind(r.files_bytes).bind(r.memory_bytes).bind(r.note).bind(r.created_ms);
    auto status = s.run();
    if (status || !base::is(status.error(), base::errc::exists)) return status;
    auto const what = status.error().context.find("snapshots.name") != std::string::npos ? "named \"" + r.name + "\"" : r.id;
    return base::error(base::errc::exists, "a snapshot " + what + " exists already");
}

}  // namespace

Status insert(Database& db, SnapshotRecord const& r, std::optional<ImageRecord> const& image) {
    if (auto s = db.execute("SAVEPOINT snapshot"); !s) return s;
    auto status = insert_record(db, r);
    if (status && image) {
        ImageChange change;
        change.add = image;
        status = change_images(db, r.workspace, change);
    }
    if (status) return db.execute("RELEASE snapshot");
    if (db.in_transaction()) (void)db.execute("ROLLBACK TO snapshot; RELEASE snapshot");
    return status;
}

Status remove_snapshot(Database& db, std::string const& id) {
    {
        auto s = db.statement("DELETE FROM images WHERE (workspace, image) IN"
                              " (SELECT workspace, image FROM snapshots WHERE id = ?)");
        s.bind(id);
        if (auto status = s.run(); !status) return status;
    }
    auto s = db.statement("DELETE FROM snapshots WHERE id = ?");
    s.bind(id);
    return s.run();
}

Result<std::vector<SnapshotRecord>> snapshots(Database& db) {
    auto s = db.statement("SELECT id, workspace, name, volume, image, generation, files_bytes, memory_bytes, note, created_ms"
                          " FROM snapshots ORDER BY created_ms, id");
    std::vector<SnapshotRecord> all;
    for (;;) {
        auto const row = s.step();
        if (!row) return row.error();
        if (!*row) return all;
        SnapshotRecord r;
        for (auto* field : {&r.id, &r.workspace, &r.name, &r.volume, &r.image}) *field = s.text();
        for (auto* field : {&r.generation, &r.files_bytes, &r.memory_bytes}) *field = s.natural();
        r.note = s.text();
        r.created_ms = s.number();
        all.push_back(std::move(r));
    }
}

}  // namespace registry::tables
