#include "mcp_client.hpp"

#include "interrupt.hpp"

namespace bench {
namespace {

constexpr char const* kModern = "2026-07-28";
constexpr char const* kLegacy = "2025-11-25";

// A JSON body as it is; of an event stream the data of its last event, which is the answer.
std::string answer_text(HttpAnswer answer) {
    if (answer.status != 200)
        throw Failure("the server answered with status " + std::to_string(answer.status) + ": " +
                      answer.body.substr(0, 300));
    auto& body = answer.body;
    if (body.starts_with("{")) return std::move(body);
    auto const at = body.rfind("data:");
    if (at == body.npos) throw Failure("neither JSON nor an event: " + body.substr(0, 300));
    return body.substr(at + 5, body.find('\n', at) - at - 5);
}

}  // namespace

McpClient::McpClient(std::uint16_t port, std::string const& token)
    : http_(port), authorization_("Authorization: Bearer " + token) {}

std::string McpClient::compose(std::string const& tool, base::Json const& arguments) {
    http_.renew();
    base::Json const meta = {{"io.modelcontextprotocol/protocolVersion", kModern},
                             {"io.modelcontextprotocol/clientCapabilities", base::Json::object()}};
    base::Json const request = {{"jsonrpc", "2.0"},
                                {"id", next_id_++},
                                {"method", "tools/call"},
                                {"params", {{"name", tool}, {"arguments", arguments}, {"_meta", meta}}}};
    return http_.compose(
        "POST", "/mcp",
        {authorization_, "Content-Type: application/json", "Accept: application/json, text/event-stream",
         std::string("MCP-Protocol-Version: ") + kModern, "Mcp-Method: tools/call", "Mcp-Name: " + tool},
        base::dump(request));
}

std::string McpClient::receive() { return answer_text(http_.receive()); }

base::Json initialize_request() {
    return {{"jsonrpc", "2.0"},
            {"id", 0},
            {"method", "initialize"},
            {"params",
             {{"protocolVersion", kLegacy},
              {"capabilities", base::Json::object()},
              {"clientInfo", {{"name", "berth-bench"}, {"version", "1"}}}}}};
}

SessionClient::SessionClient(std::uint16_t port) : http_(port) {
    http_.send(compose_message(initialize_request()));
    auto const answer = http_.receive();
    if (answer.status != 200)
        throw Failure("initialize was answered with status " + std::to_string(answer.status));
    session_ = answer.session;
    base::Json const initialized = {{"jsonrpc", "2.0"}, {"method", "notifications/initialized"}};
    http_.send(compose_message(initialized));
    (void)http_.receive();
}

SessionClient::SessionClient(std::uint16_t port, std::string session, long first_id)
    : http_(port), session_(std::move(session)), next_id_(first_id) {}

std::string SessionClient::compose_message(base::Json const& message) {
    http_.renew();
    std::vector<std::string> fields{"Content-Type: application/json",
                                    "Accept: application/json, text/event-stream"};
    if (!session_.empty()) {
        fields.push_back("Mcp-Session-Id: " + session_);
        fields.push_back(std::string("MCP-Protocol-Version: ") + kLegacy);
    }
    return http_.compose("POST", "/mcp", fields, base::dump(message));
}

std::string SessionClient::compose(std::string const& tool, base::Json const& arguments) {
    return compose_message({{"jsonrpc", "2.0"},
                            {"id", next_id_++},
                            {"method", "tools/call"},
                            {"params", {{"name", tool}, {"arguments", arguments}}}});
}

std::string SessionClient::receive() { return answer_text(http_.receive()); }

}  // namespace bench
