#include "tables.hpp"

namespace registry::tables {

Status put(Database& db, PreviewRecord const& r) {
    auto s = db.statement("INSERT INTO previews (id, workspace, owner, port, access, rules, version, created_ms, expires_ms,"
                          " revoked_ms, domain) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
                          " owner = excluded.owner, access = excluded.access, rules = excluded.rules,"
                          " version = excluded.version, expires_ms = excluded.expires_ms, revoked_ms = excluded.revoked_ms,"
                          " domain = excluded.domain");
    s.bind(r.id).bind(r.workspace).bind(r.owner).bind(static_cast<std::int64_t>(r.port)).bind(r.access);
    s.bind(base::dump(r.rules)).bind(r.version).bind(r.created_ms).bind(r.expires_ms).bind(r.revoked_ms).bind(r.domain);
    auto status = s.run();
    if (!status && base::is(status.error(), base::errc::exists))
        return base::error(base::errc::exists, "workspace " + r.workspace + " has another preview of port " + std::to_string(r.port) +
                                                   (r.domain.empty() ? "" : ", or another preview has the name " + r.domain));
    return status;
}

Status delete_preview(Database& db, std::string const& id) {
    auto s = db.statement("DELETE FROM previews WHERE id = ?");
    s.bind(id);
    return s.run();
}

Result<std::vector<PreviewRecord>> previews(Database& db) {
    auto s = db.statement("SELECT id, workspace, owner, port, access, rules, version, created_ms, expires_ms, revoked_ms, domain"
                          " FROM previews ORDER BY created_ms, id");
    std::vector<PreviewRecord> all;
    for (;;) {
        auto const row = s.step();
        if (!row) return row.error();
        if (!*row) return all;
        PreviewRecord r;
        r.id = s.text();
        r.workspace = s.text();
        r.owner = s.text();
        r.port = static_cast<int>(s.number());
        r.access = s.text();
        auto rules = base::parse_json(s.text());
        if (!rules) return base::error(base::errc::corrupt, "the rules of preview " + r.id + " are not valid JSON");
        r.rules = std::move(*rules);
        r.version = s.natural();
        r.created_ms = s.number();
        r.expires_ms = s.number();
        r.revoked_ms = s.number();
        r.domain = s.text();
        all.push_back(std::move(r));
    }
}

}  // namespace registry::tables
