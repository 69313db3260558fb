#include "tables.hpp"

namespace registry::tables {
namespace {

Status add(Database& db, ImageRecord const& r) {
    auto s = db.statement("INSERT INTO images (workspace, image, kind, generation, forked, bytes, stamp, runtime, guest,"
                          " created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    s.bind(r.workspace).bind(r.image).bind(r.kind).bind(r.generation).bind(r.forked).bind(r.bytes);
    s.bind(r.template_stamp).bind(r.runtime_build).bind(r.guest_build).bind(r.created_ms);
    return s.run();
}

Status apply(Database& db, std::string const& workspace, ImageChange const& change) {
    for (auto const& image : change.remove) {
        auto s = db.statement("DELETE FROM images WHERE workspace = ? AND image = ?");
        s.bind(workspace).bind(image);
        if (auto status = s.run(); !status) return status;
    }
    if (!change.add) return {};
    if (change.add->workspace != workspace)
        return base::error(base::errc::invalid, "an image of " + change.add->workspace + " for " + workspace);
    return add(db, *change.add);
}

template <class Work>
Status all_or_nothing(Database& db, Work work) {
    if (auto s = db.execute("SAVEPOINT images"); !s) return s;
    auto status = work();
    if (status) return db.execute("RELEASE images");
    if (db.in_transaction()) (void)db.execute("ROLLBACK TO images; RELEASE images");
    return status;
}

}  // namespace

Status change_images(Database& db, std::string const& workspace, ImageChange const& change) {
    return all_or_nothing(db, [&] { return apply(db, workspace, change); });
}

Status update_with_images(Database& db, WorkspaceRecord const& record, ImageChange const& change) {
    return all_or_nothing(db, [&] {
        auto status = update(db, record);
        return status ? apply(db, record.id, change) : status;
    });
}

Result<std::vector<ImageRecord>> images(Database& db) {
    auto s = db.statement("SELECT workspace, image, kind, generation, forked, bytes, stamp, runtime, guest, created_ms"
                          " FROM images ORDER BY workspace, created_ms, image");
    std::vector<ImageRecord> all;
    for (;;) {
        auto const row = s.step();
        if (!row) return row.error();
        if (!*row) return all;
        ImageRecord r;
        for (auto* field : {&r.workspace, &r.image, &r.kind}) *field = s.text();
        r.generation = s.natural();
        r.forked = s.number() != 0;
        r.bytes = s.natural();
        for (auto* field : {&r.template_stamp, &r.runtime_build, &r.guest_build}) *field = s.text();
        r.created_ms = s.number();
        all.push_back(std::move(r));
    }
}

}  // namespace registry::tables
