#include "client_calls.hpp"
#include "client_http.hpp"
#include "client_lines.hpp"
#include "client_listen.hpp"
#include <base/timeout.hpp>

#include <algorithm>
#include <array>

namespace mcp {
namespace {

constexpr std::string_view kModernRevision = "2026-07-28";
constexpr std::array<std::string_view, 3> kLegacyVersions{"2025-11-25", "2025-06-18", "2025-03-26"};
// Spoken only over the transport of its time.
constexpr std::string_view kOldestVersion = "2024-11-05";

bool known_legacy(std::string_view version) {
    return version == kOldestVersion ||
           std::find(kLegacyVersions.begin(), kLegacyVersions.end(), version) != kLegacyVersions.end();
}

bool offers(Json const& capabilities, char const* part) {
    return capabilities.is_null() || capabilities.contains(part);  // null: it did not say
}

std::vector<std::string> strings(Json const& array) {
    std::vector<std::string> out;
    if (!array.is_array()) return out;
    for (auto const& entry : array)
        if (entry.is_string() && out.size() < 64) out.push_back(entry.get<std::string>());
    return out;
}

}  // namespace

void throw_exception_from_error(Failure const& failed, boost::source_location const&) {
    throw std::runtime_error(to_string(failed));
}

Failure failure(base::errc kind, std::string context, bool may_have_run) {
    return Failure{base::error(kind, std::move(context)), std::nullopt, may_have_run};
}

std::string to_string(Failure const& failed) {
    if (failed.rpc)
        return "the server answered with error " + std::to_string(failed.rpc->code) + ": " +
               failed.rpc->message;
    return failed.error.message();
}

Task<Json> ClientEvents::ask(Question question) {
    throw rpc_exception(code::method_not_found, "Nobody here answers " + question.method);
    co_return Json();
}

Json with_defaults(Json content, Json const& requested_schema) {
    if (!content.is_object()) content = Json::object();
    auto const properties =
        requested_schema.is_object() ? requested_schema.find("properties") : requested_schema.end();
    if (!requested_schema.is_object() || properties == requested_schema.end() || !properties->is_object())
        return content;
    for (auto const& [name, property] : properties->items())
        if (property.is_object() && property.contains("default") && !content.contains(name))
            content[name] = property["default"];
    return content;
}

struct Client::Impl : std::enable_shared_from_this<Client::Impl> {
    Impl(asio::io_context& context, ClientOptions options, ClientEvents& events)
        : io(context), core(std::make_shared<ClientCore>(context, std::move(options), events)) {}

    Task<Outcome<ServerFacts>> open();
    Task<Outcome<bool>> choose_era();
    Task<Outcome<bool>> discover(bool certain);
    Task<Outcome<bool>> initialize();
    Task<Outcome<bool>> renew();
    Task<Outcome<Json>> probe(base::milliseconds limit);
    bool fall_back_to_sse();
    void forget_era();

    asio::io_context& io;
    std::shared_ptr<ClientCore> core;
    std::shared_ptr<Listening> listening;
    std::shared_ptr<HttpAccess> access;
    std::vector<std::unique_ptr<Link>> retired;  ///< whose coroutines may still end
    base::Error unusable;                        ///< the URL or the headers
    std::set<std::string> subscribed;            ///< legacy: again after a new session
    std::string wanted_version{kLegacyVersions.front()};
    bool opening = false, ended_on_probe = false;
};

Client::Client(asio::io_context& io, std::unique_ptr<base::ByteStream> lines, ClientOptions options,
               ClientEvents& events)
    : impl_(std::make_shared<Impl>(io, std::move(options), events)) {
    impl_->core->link = lines_link(*impl_->core, std::move(lines));
}

Client::Client(asio::io_context& io, HttpServer server, ClientOptions options, ClientEvents& events)
    : impl_(std::make_shared<Impl>(io, std::move(options), events)) {
    auto const transport = server.transport;
    auto made = HttpAccess::make(io, std::move(server));
    if (!made) {
        impl_->unusable = made.error();
        return;
    }
    impl_->access = std::move(*made);
    if (transport == HttpServer::Transport::sse) {
        impl_->core->options.era = Era::legacy;
        impl_->core->link = sse_link(*impl_->core, impl_->access);
        return;
    }
    auto renew = [weak = std::weak_ptr<Impl>(impl_)]() -> Task<Outcome<bool>> {
        auto const impl = weak.lock();
        if (!impl) co_return failure(base::errc::unavailable, "the connection is closed");
        auto renewing = impl->renew();
        co_return co_await std::move(renewing);
    };
    impl_->core->link = streamable_link(*impl_->core, impl_->access, std::move(renew));
}

Client::~Client() {
    impl_->core->events = nullptr;
    if (impl_->core->link) impl_->core->shut("the connection was dropped");
}

ServerFacts const& Client::server() const { return impl_->core->facts; }
bool Client::usable() const { return impl_->core->open && !impl_->core->over; }
std::string const& Client::reason() const { return impl_->core->reason; }
bool Client::ended_on_probe() const { return impl_->ended_on_probe; }
std::size_t Client::in_flight() const {
    auto const& pending = impl_->core->pending;
    return static_cast<std::size_t>(
        std::count_if(pending.begin(), pending.end(), [](auto const& p) { return !p.second->listens; }));
}

// ------------------------------------------------------------------------------------------------- opening

void Client::Impl::forget_era() {
    core->facts = ServerFacts();
    core->facts.era = Era::legacy;
}

Task<Outcome<Json>> Client::Impl::probe(base::milliseconds limit) {
    core->facts.era = Era::modern;
    core->facts.version = kModernRevision;
    CallOptions options;
    options.limit = limit;
    auto const call = std::make_shared<CallOptions const>(std::move(options));
    auto params = Json::object();
    auto asking = core->roundtrip("server/discover", std::move(params), call);
    co_return co_await std::move(asking);
}

/// `certain`: the server is known to be modern. True when it is.
Task<Outcome<bool>> Client::Impl::discover(bool certain) {
    auto const limit = certain || core->link->http() ? core->options.open_limit : core->options.probe_limit;
    auto probing = probe(limit);
    auto found = co_await std::move(probing);
    auto const refused = [&](int code) {
        return !found && found.error().rpc && found.error().rpc->code == code;
    };
    if (refused(code::unsupported_version)) {
        auto const data = found.error().rpc->data;
        auto const supported =
            strings(data.is_object() ? data.value("supported", Json(nullptr)) : Json(nullptr));
        if (std::find(supported.begin(), supported.end(), kModernRevision) != supported.end()) {
            auto again = probe(limit);
            found = co_await std::move(again);
        } else {
            auto const legacy = std::find_if(supported.begin(), supported.end(), known_legacy);
            if (legacy == supported.end())
                co_return failure(base::errc::invalid,
                                  "the server speaks none of the protocol's revisions that we know");
            wanted_version = *legacy;
            co_return false;
        }
    }
    if (found) {
        auto& result = *found;
        auto const versions = strings(result.value("supportedVersions", Json(nullptr)));
        if (versions.empty() || !result.contains("capabilities") || !result["capabilities"].is_object()) {
            if (!certain) co_return false;
            co_return failure(
                base::errc::invalid,
                "the server's answer to server/discover has no supportedVersions or capabilities");
        }
        if (std::find(versions.begin(), versions.end(), kModernRevision) == versions.end()) {
            auto const legacy = std::find_if(versions.begin(), versions.end(), known_legacy);
            if (legacy == versions.end())
                co_return failure(base::errc::invalid,
                                  "the server speaks none of the protocol's revisions that we know");
            wanted_version = *legacy;
            co_return false;
        }
        auto& facts = core->facts;
        facts.versions = versions;
        facts.capabilities = std::move(result["capabilities"]);
        if (auto const it = result.find("instructions"); it != result.end() && it->is_string())
            facts.instructions = it->get<std::string>();
        auto const meta = result.value("_meta", Json::object());
        if (meta.is_object()) facts.info = meta.value("io.modelcontextprotocol/serverInfo", Json(nullptr));
        co_return true;
    }
    if (refused(code::header_mismatch) || refused(code::missing_capability)) co_return found.error();
    if (certain) {
        // It may do without server/discover; then it did not say what it can.
        if (refused(code::method_not_found)) co_return true;
        co_return found.error();
    }
    if (found.error().rpc) co_return false;
    auto const why = found.error().error;
    if (core->over) {
        ended_on_probe = !core->link->http() && base::is(why, base::errc::unavailable);
        co_return found.error();
    }
    // Silence on lines, or over HTTP an answer that is none of this protocol's. Not when nobody answered at
    // all, or wants credentials.
    if (!core->link->http() && base::is(why, base::errc::timed_out)) co_return false;
    if (core->link->http() && core->opening_status != 0 && !base::is(why, base::errc::denied))
        co_return false;
    co_return found.error();
}

Task<Outcome<bool>> Client::Impl::initialize() {
    forget_era();
    Json params = Json::object();
    params["protocolVersion"] = wanted_version;
    params["capabilities"] = core->options.capabilities;
    params["clientInfo"] = core->options.client_info;
    CallOptions options;
    options.limit = core->options.open_limit;
    auto const call = std::make_shared<CallOptions const>(std::move(options));
    auto asking = core->roundtrip("initialize", std::move(params), call);
    auto result = co_await std::move(asking);
    if (!result) co_return result.error();
    auto const version = result->value("protocolVersion", Json(nullptr));
    if (!version.is_string() || !known_legacy(version.get<std::string>()))
        co_return failure(base::errc::invalid,
                          "the server answered initialize with a protocol version that we do not know, " +
                              excerpt(base::dump(version)));
    auto const capabilities = result->value("capabilities", Json(nullptr));
    if (!capabilities.is_object())
        co_return failure(base::errc::invalid, "the server's answer to initialize has no capabilities");
    auto& facts = core->facts;
    facts.version = version.get<std::string>();
    facts.capabilities = capabilities;
    facts.info = result->value("serverInfo", Json(nullptr));
    auto const instructions = result->value("instructions", Json(nullptr));
    if (instructions.is_string()) facts.instructions = instructions.get<std::string>();
    Outgoing done;
    done.method = "notifications/initialized";
    done.text = notification_text(done.method, Json(nullptr));
    auto saying = core->link->say(std::move(done));
    co_await std::move(saying);
    co_return true;
}

/// A session ended: a new one, and what the old one knew.
Task<Outcome<bool>> Client::Impl::renew() {
    auto opening_again = initialize();
    auto done = co_await std::move(opening_again);
    if (!done) co_return done;
    core->link->opened();
    auto restore = [](std::shared_ptr<ClientCore> c, std::string method, Json params) -> Task<void> {
        auto const call = std::make_shared<CallOptions const>();
        auto asking = c->roundtrip(std::move(method), std::move(params), call);
        co_await std::move(asking);
    };
    for (auto const& uri : subscribed) {
        auto params = Json::object();
        params["uri"] = uri;
        core->spawn(restore(core, "resources/subscribe", std::move(params)));
    }
    if (core->log_level && offers(core->facts.capabilities, "logging")) {
        auto params = Json::object();
        params["level"] = to_string(*core->log_level);
        core->spawn(restore(core, "logging/setLevel", std::move(params)));
    }
    if (core->events) {
        core->events->tools_changed();
        core->events->prompts_changed();
        core->events->resources_changed();
    }
    co_return true;
}

/// 400, 404 and 405 on initialize are what servers of 2024-11-05 answer.
bool Client::Impl::fall_back_to_sse() {
    auto const status = core->opening_status;
    if (!access || access->server().transport != HttpServer::Transport::automatic || core->over) return false;
    if (status != 400 && status != 404 && status != 405) return false;
    retired.push_back(std::move(core->link));
    core->link = sse_link(*core, access);
    wanted_version = kOldestVersion;
    return true;
}

Task<Outcome<bool>> Client::Impl::choose_era() {
    auto const era = core->options.era;
    if (!era || *era == Era::modern) {
        auto asking = discover(era.has_value());
        auto modern = co_await std::move(asking);
        if (!modern || *modern) co_return modern;
    }
    core->opening_status = 0;
    auto asking = initialize();
    auto opened = co_await std::move(asking);
    if (opened || opened.error().rpc || !fall_back_to_sse()) co_return opened;
    if (auto const started = core->link->start(); !started)
        co_return Failure{started.error(), std::nullopt, false};
    auto again = initialize();
    co_return co_await std::move(again);
}

Task<Outcome<ServerFacts>> Client::Impl::open() {
    auto const self = shared_from_this();
    if (!core->link) {
        core->reason = unusable.context;
        co_return Failure{unusable, std::nullopt, false};
    }
    if (std::exchange(opening, true))
        co_return failure(base::errc::invalid, "the connection was opened before");
    if (auto const started = core->link->start(); !started)
        co_return Failure{started.error(), std::nullopt, false};
    auto choosing = choose_era();
    auto chosen = co_await std::move(choosing);
    if (core->over && chosen) chosen = failure(base::errc::unavailable, core->reason);
    if (!chosen) {
        if (!core->over) core->shut(to_string(chosen.error()));
        co_return chosen.error();
    }
    core->open = true;
    core->link->opened();
    if (core->modern()) {
        listening = std::make_shared<Listening>(core);
        listening->start();
    }
    co_return core->facts;
}

Task<Outcome<ServerFacts>> Client::open() {
    auto opening = impl_->open();
    return opening;
}

// ------------------------------------------------------------------------------------------------- requests

Task<Outcome<Json>> Client::request(std::string method, Json params, CallOptions options) {
    return make_call(impl_->core, std::move(method), std::move(params), std::move(options));
}

namespace {

Task<Outcome<Json>> listed(std::shared_ptr<ClientCore> core, std::string part, std::string method,
                           std::string key) {
    if (!core->open)
        co_return failure(base::errc::unavailable,
                          core->reason.empty() ? "the connection is not open" : core->reason);
    if (!offers(core->facts.capabilities, part.c_str())) co_return Json::array();
    auto reading = read_list(core, method, key);
    auto all = co_await std::move(reading);
    // Servers that declare resources need not have templates.
    bool const absent = !all && all.error().rpc && all.error().rpc->code == code::method_not_found;
    if (absent && key == "resourceTemplates") co_return Json::array();
    if (!all || key != "tools") co_return all;
    co_return usable_tools(*core, std::move(*all));
}

Task<Outcome<Json>> plain(std::shared_ptr<ClientCore> core, std::string method, Json params) {
    if (!core->open)
        co_return failure(base::errc::unavailable,
                          core->reason.empty() ? "the connection is not open" : core->reason);
    auto const call = std::make_shared<CallOptions const>();
    auto asking = core->roundtrip(std::move(method), std::move(params), call);
    co_return co_await std::move(asking);
}

Json as_json(bool) { return Json::object(); }

}  // namespace

Task<Outcome<Json>> Client::list_tools() { return listed(impl_->core, "tools", "tools/list", "tools"); }
Task<Outcome<Json>> Client::list_prompts() {
    return listed(impl_->core, "prompts", "prompts/list", "prompts");
}
Task<Outcome<Json>> Client::list_resources() {
    return listed(impl_->core, "resources", "resources/list", "resources");
}
Task<Outcome<Json>> Client::list_templates() {
    return listed(impl_->core, "resources", "resources/templates/list", "resourceTemplates");
}

Task<Outcome<Json>> Client::call_tool(std::string name, Json arguments, CallOptions options) {
    Json params = Json::object();
    params["name"] = std::move(name);
    params["arguments"] = arguments.is_null() ? Json::object() : std::move(arguments);
    return make_call(impl_->core, "tools/call", std::move(params), std::move(options));
}

Task<Outcome<Json>> Client::get_prompt(std::string name, Json arguments, CallOptions options) {
    Json params = Json::object();
    params["name"] = std::move(name);
    if (!arguments.is_null()) params["arguments"] = std::move(arguments);
    return make_call(impl_->core, "prompts/get", std::move(params), std::move(options));
}

Task<Outcome<Json>> Client::read_resource(std::string uri, CallOptions options) {
    Json params = Json::object();
    params["uri"] = std::move(uri);
    return make_call(impl_->core, "resources/read", std::move(params), std::move(options));
}

Task<Outcome<Json>> Client::complete(Json ref, Json argument, Json context, CallOptions options) {
    Json params = Json::object();
    params["ref"] = std::move(ref);
    params["argument"] = std::move(argument);
    if (!context.is_null()) params["context"] = std::move(context);
    return make_call(impl_->core, "completion/complete", std::move(params), std::move(options));
}

namespace {

Task<Outcome<Json>> listen_to(std::shared_ptr<Listening> listening, std::string uri, bool on) {
    auto changing = on ? listening->add(std::move(uri)) : listening->remove(std::move(uri));
    auto const changed = co_await std::move(changing);
    if (!changed) co_return changed.error();
    co_return as_json(*changed);
}

}  // namespace

Task<Outcome<Json>> Client::subscribe(std::string uri) {
    auto const impl = impl_;
    if (impl->listening) co_return co_await listen_to(impl->listening, std::move(uri), true);
    Json params = Json::object();
    params["uri"] = uri;
    auto asking = plain(impl->core, "resources/subscribe", std::move(params));
    auto result = co_await std::move(asking);
    if (result) impl->subscribed.insert(std::move(uri));
    co_return result;
}

Task<Outcome<Json>> Client::unsubscribe(std::string uri) {
    auto const impl = impl_;
    if (impl->listening) co_return co_await listen_to(impl->listening, std::move(uri), false);
    impl->subscribed.erase(uri);
    Json params = Json::object();
    params["uri"] = std::move(uri);
    auto asking = plain(impl->core, "resources/unsubscribe", std::move(params));
    co_return co_await std::move(asking);
}

Task<Outcome<Json>> Client::set_log_level(LogLevel level) {
    auto const impl = impl_;
    impl->core->log_level = level;
    if (impl->core->modern()) co_return as_json(true);
    Json params = Json::object();
    params["level"] = to_string(level);
    auto asking = plain(impl->core, "logging/setLevel", std::move(params));
    co_return co_await std::move(asking);
}

void Client::roots_changed() {
    auto const& core = impl_->core;
    if (!core->open || core->modern()) return;
    Outgoing out;
    out.method = "notifications/roots/list_changed";
    out.text = notification_text(out.method, Json(nullptr));
    core->say(std::move(out));
}

void Client::know_tools(Json const& tools) {
    if (tools.is_array() && impl_->core->link) usable_tools(*impl_->core, tools);
}

Task<void> Client::close() {
    auto const impl = impl_;
    auto const& core = impl->core;
    if (!core->link || core->over || std::exchange(core->closing, true)) co_return;
    core->open = false;
    core->reason = "the connection was closed";
    core->fail_pending(core->reason);
    auto closing = core->link->close();
    co_await std::move(closing);
    core->shut("the connection was closed");
}

}  // namespace mcp
