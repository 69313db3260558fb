#include "tables.hpp"

// What is kept about community MCP servers. A server need not be known here to have rows: the operator's file decides
// which ones there are.
namespace registry::tables {

Result<std::vector<ToolPin>> tool_pins(Database& db, std::string const& server) {
    auto s = db.statement("SELECT tool, hash, definition, approved_ms, approved_by FROM tool_pins WHERE server = ? ORDER BY tool");
    s.bind(server);
    std::vector<ToolPin> all;
    for (;;) {
        auto const row = s.step();
        if (!row) return row.error();
        if (!*row) return all;
        ToolPin pin;
        pin.server = server;
        pin.tool = s.text();
        pin.hash = s.text();
        auto definition = base::parse_json(s.text());
        if (!definition)
            return base::error(base::errc::corrupt, "the pin of tool " + pin.tool + " of server " + server + " is not valid JSON");
        pin.definition = std::move(*definition);
        pin.approved_ms = s.number();
        pin.approved_by = s.text();
        all.push_back(std::move(pin));
    }
}

Status put_pins(Database& db, std::vector<ToolPin> const& pins) {
    if (auto s = db.execute("SAVEPOINT put_pins"); !s) return s;
    for (auto const& pin : pins) {
        auto s = db.statement("INSERT OR REPLACE INTO tool_pins (server, tool, hash, definition, approved_ms, approved_by)"
                              " VALUES (?, ?, ?, ?, ?, ?)");
        s.bind(pin.server).bind(pin.tool).bind(pin.hash).bind(base::dump(pin.definition));
        s.bind(pin.approved_ms).bind(pin.approved_by);
        auto status = s.run();
        if (status) continue;
        if (db.in_transaction()) (void)db.execute("ROLLBACK TO put_pins; RELEASE put_pins");
        return status;
    }
    return db.execute("RELEASE put_pins");
}

Result<std::optional<ServerOffer>> server_offer(Database& db, std::string const& server) {
    auto s = db.statement("SELECT fingerprint, offer, seen_ms FROM server_offers WHERE server = ?");
    s.bind(server);
    auto const row = s.step();
    if (!row) return row.error();
    if (!*row) return std::optional<ServerOffer>();
    ServerOffer out;
    out.fingerprint = s.text();
    auto offer = base::parse_json(s.text(), {64u << 20, 128});
    if (!offer) return base::error(base::errc::corrupt, "the stored offer of server " + server + " is not valid JSON");
    out.offer = std::move(*offer);
    out.seen_ms = s.number();
    return std::optional(std::move(out));
}

Status put_offer(Database& db, std::string const& server, ServerOffer const& offer) {
    auto s = db.statement("INSERT OR REPLACE INTO server_offers (server, fingerprint, offer, seen_ms) VALUES (?, ?, ?, ?)");
    s.bind(server).bind(offer.fingerprint).bind(base::dump(offer.offer)).bind(offer.seen_ms);
    return s.run();
}

Status forget_server(Database& db, std::string const& server) {
    {
        auto s = db.statement("DELETE FROM tool_pins WHERE server = ?");
        s.bind(server);
        if (auto status = s.run(); !status) return status;
    }
    auto s = db.statement("DELETE FROM server_offers WHERE server = ?");
    s.bind(server);
    return s.run();
}

}  // namespace registry::tables
