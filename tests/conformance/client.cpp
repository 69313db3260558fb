#include <base/timeout.hpp>
#include <http/client_origin.hpp>
#include <mcp/oauth.hpp>

#include <cstdlib>
#include <iostream>

// berth-conformance-client URL: our client library under the public conformance suite, which says in the
// environment which scenario its server plays and which revision to speak. Exit status 0 when the scenario's
// steps could be made.
namespace {

using base::Task;
using mcp::CallOptions;
using mcp::Json;

std::string environment(char const* name) {
    auto const* value = std::getenv(name);
    return value ? value : "";
}

/// Accepts every form with its defaults, as a user who only presses enter.
class Agreeable final : public mcp::ClientEvents {
  public:
    Task<Json> ask(mcp::Question question) override {
        Json answer{{"action", "accept"}};
        if (question.method == "elicitation/create") {
            auto const schema = question.params.value("requestedSchema", Json::object());
            auto content = mcp::with_defaults(Json::object(), schema);
            auto const properties = schema.value("properties", Json::object());
            for (auto const& [name, property] : properties.items())
                if (!content.contains(name) && property.value("type", "") == "boolean") content[name] = true;
            answer["content"] = std::move(content);
        } else if (question.method == "roots/list") {
            answer = Json{{"roots", Json::array()}};
        } else {
            throw mcp::RpcException(mcp::RpcError{-1, "not offered", nullptr});
        }
        co_return answer;
    }
};

/// The user's browser: opens the page and lets itself be sent back.
class Browser final : public mcp::OAuthHost {
  public:
    explicit Browser(asio::io_context& io) : origins_(io, http::OriginsOptions()) {}
    Task<base::Result<base::Secret>> load() override { co_return record_; }
    Task<base::Status> save(base::Secret record) override {
        record_ = std::move(record);
        co_return base::Status();
    }
    Task<base::Result<std::string>> redirect_uri(std::string) override {
        co_return std::string("http://127.0.0.1:39871/callback");
    }
    Task<base::Result<std::string>> authorize(std::string url) override {
        http::OriginRequest request;
        auto parsed = http::Url::parse(url);
        if (!parsed) co_return parsed.error();
        request.url = std::move(*parsed);
        auto sending = origins_.send(std::move(request), base::milliseconds(10'000));
        auto const answer = co_await std::move(sending);
        if (!answer) co_return answer.error();
        co_return std::string((*answer)->field("Location"));
    }

  private:
    http::Origins origins_;
    base::Secret record_;
};

struct Driver {
    mcp::Client& client;
    std::string scenario;
    Json context;
    int status = 0;

    void note(std::string const& what) { std::cerr << what << '\n'; }

    Task<std::optional<Json>> call(std::string name, Json arguments) {
        CallOptions options;
        auto calling = client.call_tool(name, std::move(arguments), std::move(options));
        auto const result = co_await std::move(calling);
        if (result) co_return *result;
        note(name + ": " + mcp::to_string(result.error()));
        co_return std::nullopt;
    }

    Task<Json> list(Task<mcp::Outcome<Json>> listing) {
        auto const all = co_await std::move(listing);
        if (all) co_return *all;
        note("list: " + mcp::to_string(all.error()));
        status = 1;
        co_return Json::array();
    }

    /// What the schema asks for, in its simplest form.
    static Json arguments_for(Json const& tool) {
        Json out = Json::object();
        auto const schema = tool.value("inputSchema", Json::object());
        auto const properties = schema.value("properties", Json::object());
        for (auto const& [name, property] : properties.items()) {
            auto const type = property.value("type", "");
            if (type == "string") out[name] = "x";
            if (type == "number" || type == "integer") out[name] = 1;
            if (type == "boolean") out[name] = true;
        }
        return out;
    }

    Task<void> everything_offered() {
        auto prompts = list(client.list_prompts());
        auto const all_prompts = co_await std::move(prompts);
        for (auto const& prompt : all_prompts) {
            CallOptions options;
            auto getting = client.get_prompt(prompt.value("name", ""), Json(nullptr), std::move(options));
            co_await std::move(getting);
        }
        auto resources = list(client.list_resources());
        auto const all_resources = co_await std::move(resources);
        for (auto const& resource : all_resources) {
            CallOptions options;
            auto reading = client.read_resource(resource.value("uri", ""), std::move(options));
            co_await std::move(reading);
        }
    }

    Task<void> run() {
        auto opening = client.open();
        auto const opened = co_await std::move(opening);
        if (!opened) {
            note("open: " + mcp::to_string(opened.error()));
            status = 1;
            co_return;
        }
        auto listing = list(client.list_tools());
        auto const tools = co_await std::move(listing);
        if (scenario == "http-custom-headers") {
            auto const wanted = context.value("toolCalls", Json::array());
            for (auto const& made : wanted) {
                auto calling = call(made.value("name", ""), made.value("arguments", Json::object()));
                co_await std::move(calling);
            }
        } else if (scenario == "sep-2322-client-request-state") {
            for (auto const* name : {"test_mrtr_echo_state", "test_mrtr_unrelated", "test_mrtr_no_state",
                                     "test_mrtr_no_result_type"}) {
                auto calling = call(name, Json::object());
                co_await std::move(calling);
            }
        } else if (scenario == "json-schema-2020-12-preservation") {
            for (auto const& tool : tools) {
                if (tool.value("name", "") == "json_schema_echo") continue;
                auto arguments = Json::object();
                arguments["schema"] = tool["inputSchema"];
                auto calling = call("json_schema_echo", std::move(arguments));
                co_await std::move(calling);
            }
        } else if (scenario != "json-schema-ref-no-deref") {
            for (auto const& tool : tools) {
                auto calling = call(tool.value("name", ""), arguments_for(tool));
                auto const result = co_await std::move(calling);
                if (!result) status = 1;
            }
            if (scenario == "http-standard-headers") {
                auto rest = everything_offered();
                co_await std::move(rest);
            }
        }
        auto closing = client.close();
        co_await std::move(closing);
    }
};

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        std::cerr << "usage: berth-conformance-client URL\n";
        return 2;
    }
    asio::io_context io{1};
    Agreeable events;
    mcp::ClientOptions options;
    options.client_info = {{"name", "berth-conformance-client"}, {"version", "1.0.0"}};
    options.capabilities = {{"elicitation", {{"form", Json::object()}}}, {"roots", Json::object()}};
    options.era = environment("MCP_CONFORMANCE_PROTOCOL_VERSION").starts_with("2026") ? mcp::Era::modern
                                                                                      : mcp::Era::legacy;
    options.request_limit = base::milliseconds(20'000);
    mcp::HttpServer server;
    server.url = argv[argc - 1];
    auto const scenario = environment("MCP_CONFORMANCE_SCENARIO");
    auto context = Json::object();
    if (auto const given = base::parse_json(environment("MCP_CONFORMANCE_CONTEXT"))) context = *given;
    if (scenario.starts_with("auth/")) {
        mcp::OAuthOptions oauth;
        oauth.client_metadata_url = "https://conformance-test.local/client-metadata.json";
        oauth.client_id = context.value("client_id", "");
        oauth.client_secret = base::Secret(context.value("client_secret", ""));
        oauth.issuer = context.value("issuer", "");
        oauth.client_credentials = scenario.starts_with("auth/client-credentials");
        server.authorization = mcp::oauth(io, server.url, std::move(oauth), std::make_shared<Browser>(io));
    }
    mcp::Client client(io, std::move(server), std::move(options), events);
    Driver driver{client, scenario, std::move(context)};
    asio::co_spawn(io, driver.run(), [&](std::exception_ptr thrown) {
        if (thrown) driver.status = 1;
        io.stop();
    });
    io.run();
    return driver.status;
}
