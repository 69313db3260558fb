#include "engine.hpp"

#include <base/files.hpp>

#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <grp.h>
#include <sys/resource.h>

#include <cstdio>
#include <filesystem>
#include <thread>

namespace {

constexpr char const* kHelp = R"(berth: an MCP server that gives a model Linux workspaces in gVisor sandboxes.

  berth serve  [--data DIR] [--listen ADDR:PORT] [--config FILE]   serve over HTTP (default 127.0.0.1:7777, endpoint /mcp)
  berth stdio  [--data DIR] [--config FILE]                        serve one client on stdin and stdout
  berth tool NAME ['{json}'] [--data DIR]                          call a tool of the running server
  berth doctor [--data DIR]                                        what is missing here, and how to get it
  berth down   [--data DIR]                                        stop the server and every sandbox
  berth --version | --help

DIR is /var/lib/berth unless given. The HTTP token is in DIR/token.
)";

struct Options {
    std::string command, data = "/var/lib/berth", listen, config;
    std::vector<std::string> rest;
};

struct UsageError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

Options parse(int argc, char** argv) {
    Options o;
    for (int i = 1; i < argc; ++i) {
        std::string const a = argv[i];
        auto value = [&]() -> std::string {
            if (i + 1 >= argc) throw UsageError(a + " needs a value");
            return argv[++i];
        };
        if (a == "--data") o.data = value();
        else if (a == "--listen") o.listen = value();
        else if (a == "--config") o.config = value();
        else if (a == "--help" || a == "-h") o.command = "help";
        else if (a == "--version") o.command = "version";
        else if (a.starts_with("--")) throw UsageError("unknown option " + a + ": see berth --help");
        else if (o.command.empty()) o.command = a;
        else o.rest.push_back(a);
    }
    return o;
}

std::string guest_beside_us() {
    return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "berth-guest").string();
}

int fail(std::string const& line) {
    std::fprintf(stderr, "berth: %s\n", line.c_str());
    return 1;
}

host::EngineOptions engine_options(Options const& o, config::Settings settings) {
    return {std::filesystem::absolute(o.data).string(), guest_beside_us(), BERTH_VERSION, std::move(settings)};
}

void raise_limits() {
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)::setrlimit(RLIMIT_NOFILE, &files);
    }
}

bool loopback(std::string const& address) { return address == "127.0.0.1" || address == "::1" || address == "localhost"; }

int serve(Options const& o, config::Settings settings) {
    auto& listen = settings.listen;
    if (!o.listen.empty()) {
        auto const colon = o.listen.rfind(':');
        int const port = colon == o.listen.npos ? -1 : std::atoi(o.listen.c_str() + colon + 1);
        if (port < 0 || port > 65535) return fail("--listen: expected ADDR:PORT, for example 127.0.0.1:7777");
        listen.address = o.listen.substr(0, colon);
        listen.port = static_cast<std::uint16_t>(port);
    }
    bool const tls = !listen.tls_certificate.empty();
    if (!loopback(listen.address) && !tls && !listen.insecure_plain_http)
        return fail("refusing to listen on " + listen.address + " without TLS: set listen.tls_certificate and listen.tls_key (or listen.insecure_plain_http)");
    asio::io_context io{1};
    auto opened = host::Engine::open(io, engine_options(o, settings));
    if (!opened) return fail(opened.error().message());
    auto engine = std::move(*opened);
    int status = 0;
    asio::signal_set signals(io, SIGINT, SIGTERM);
    std::unique_ptr<http::Server> server;
    bool stopping = false;
    std::function<void(bool)> shut_down = [&](bool all) {
        if (std::exchange(stopping, true)) return;
        signals.cancel();
        auto stop = [](host::Engine& e, http::Server* s, asio::io_context& context, bool everything) -> base::Task<void> {
            if (s) co_await s->stop(base::milliseconds(1'000));
            co_await e.stop(everything);
            context.stop();
        };
        asio::co_spawn(io, stop(*engine, server.get(), io, all), asio::detached);
    };
    auto run = [&]() -> base::Task<void> {
        co_await engine->start();
        http::GateOptions gate;
        gate.hosts = listen.hosts;
        for (auto const* h : {"localhost", "127.0.0.1", "[::1]"}) gate.hosts.push_back(h);
        gate.origins = listen.origins;
        gate.authenticate = [&](std::string_view given) -> std::optional<http::Principal> {
            if (!engine->token().matches(given)) return std::nullopt;
            return http::Principal{"local"};
        };
        server = std::make_unique<http::Server>(io, std::move(gate), http::ServerOptions{}, engine->routes(shut_down));
        std::optional<http::TlsFiles> files;
        if (tls) files = http::TlsFiles{listen.tls_certificate, listen.tls_key};
        auto bound = server->listen(listen.address, listen.port, files);
        if (!bound) throw std::runtime_error(bound.error().message());
        // Members of the group `berth`, where there is one, may use the socket beside root.
        std::string const group = ::getgrnam("berth") ? "berth" : "";
        if (auto s = server->listen_unix(std::filesystem::absolute(o.data).string() + "/berth.sock", group); !s) throw std::runtime_error(s.error().message());
        spdlog::info("serving on {}://{}:{}/mcp; the token is in {}/token", tls ? "https" : "http", listen.address, bound->port(), o.data);
    };
    asio::co_spawn(io, run(), [&](std::exception_ptr e) {
        if (!e) return;
        try {
            std::rethrow_exception(e);
        } catch (std::exception const& failure) {
            status = fail(failure.what());
        }
        shut_down(false);
    });
    signals.async_wait([&](boost::system::error_code ec, int) {
        if (!ec) shut_down(false);
    });
    io.run();
    return status;
}

int stdio(Options const& o, config::Settings settings) {
    asio::io_context io{1};
    settings.pools = {{settings.default_template, {2, 1}}};
    // Clients start a process to look at it, and the next one before the first has ended: wait for that one.
    constexpr base::milliseconds kPredecessorEnds{10'000};
    auto const give_up = base::Clock::now() + kPredecessorEnds;
    auto opened = host::Engine::open(io, engine_options(o, settings));
    while (!opened && base::is(opened.error(), base::errc::busy) && base::Clock::now() < give_up) {
        std::this_thread::sleep_for(base::milliseconds(20));
        opened = host::Engine::open(io, engine_options(o, settings));
    }
    if (!opened) return fail(opened.error().message());
    auto engine = std::move(*opened);
    int status = 0;
    asio::signal_set signals(io, SIGINT, SIGTERM);
    auto serve_client = [&]() -> base::Task<void> {
        mcp::Caller caller;      // named: g++ 12 destroys a temporary in a co_await expression twice
        caller.principal = "local";
        co_await engine->mcp().serve_stdio(0, 1, caller);
    };
    auto run = [&]() -> base::Task<void> {
        co_await engine->start(host::Engine::Filling::at_first_call);
        // A signal ends the session as the end of input does.
        auto race = asio::experimental::make_parallel_group(asio::co_spawn(io, serve_client(), asio::deferred),
                                                            signals.async_wait(asio::deferred));
        (void)co_await race.async_wait(asio::experimental::wait_for_one(), asio::as_tuple(asio::use_awaitable));
        co_await engine->stop(true);
    };
    asio::co_spawn(io, run(), [&](std::exception_ptr e) {
        if (e) try {
                std::rethrow_exception(e);
            } catch (std::exception const& failure) {
                status = fail(failure.what());
            }
        io.stop();
    });
    io.run();
    return status;
}

// One request to the server of this data directory over its private socket.
base::Result<std::string> ask(std::string const& data, std::string target, std::string body) {
    namespace beast = boost::beast;
    asio::io_context io;
    asio::local::stream_protocol::socket socket(io);
    boost::system::error_code ec;
    socket.connect(asio::local::stream_protocol::endpoint(data + "/berth.sock"), ec);
    if (ec) return base::Error{ec, "no server answers at " + data + "/berth.sock (start one with berth serve)"};
    beast::http::request<beast::http::string_body> request(beast::http::verb::post, target, 11);
    request.set("Host", "localhost");
    request.set("Content-Type", "application/json");
    request.set("Accept", "application/json, text/event-stream");
    request.set("MCP-Protocol-Version", "2026-07-28");
    request.set("Mcp-Method", "tools/call");
    if (target == "/mcp") {
        auto const parsed = base::Json::parse(body);
        request.set("Mcp-Name", parsed["params"]["name"].get<std::string>());
    }
    request.body() = std::move(body);
    request.prepare_payload();
    beast::http::write(socket, request, ec);
    beast::flat_buffer buffer;
    beast::http::response_parser<beast::http::string_body> response;
    response.body_limit(64u << 20);
    if (!ec) beast::http::read(socket, buffer, response, ec);
    if (ec) return base::Error{ec, "talk to the server"};
    return response.get().body();
}

int tool(Options const& o) {
    if (o.rest.empty()) return fail("expected a tool's name: berth tool NAME '{json}'");
    auto arguments = base::parse_json(o.rest.size() > 1 ? o.rest[1] : "{}");
    if (!arguments) return fail("the arguments are " + arguments.error().message());
    base::Json const request = {{"jsonrpc", "2.0"}, {"id", 1}, {"method", "tools/call"},
                                {"params", {{"name", o.rest[0]}, {"arguments", *arguments},
                                            {"_meta", {{"io.modelcontextprotocol/protocolVersion", "2026-07-28"}, {"io.modelcontextprotocol/clientCapabilities", base::Json::object()}}}}}};
    auto answer = ask(o.data, "/mcp", base::dump(request));
    if (!answer) return fail(answer.error().message());
    std::string text = *answer;
    if (text.starts_with("data:") || text.find("\ndata:") != text.npos) {   // the last event of a stream
        auto const at = text.rfind("data:");
        text = text.substr(at + 5, text.find('\n', at) - at - 5);
    }
    auto parsed = base::parse_json(text, {64u << 20, 128});
    if (!parsed || !parsed->is_object()) return fail("the server answered: " + text.substr(0, 400));
    if (parsed->contains("error")) return fail((*parsed)["error"].value("message", "error"));
    auto const& result = (*parsed)["result"];
    if (result.contains("structuredContent") && !result.value("isError", false)) std::printf("%s\n", result["structuredContent"].dump(2).c_str());
    else for (auto const& block : result["content"]) std::printf("%s\n", block.value("text", "").c_str());
    return result.value("isError", false) ? 1 : 0;
}

int doctor(Options const& o, config::Settings const& settings) {
    asio::io_context io{1};
    sandbox::Options options;
    options.directory = std::filesystem::absolute(o.data).string();
    options.guest_binary = guest_beside_us();
    auto const rootfs = settings.templates_dir + "/" + settings.default_template + "/rootfs";
    if (std::filesystem::is_directory(rootfs)) options.templates[settings.default_template] = {settings.default_template, rootfs, ""};
    bool good = true;
    asio::co_spawn(io, sandbox::examine(options), [&](std::exception_ptr e, std::vector<sandbox::Finding> const& findings) {
        if (e) std::rethrow_exception(e);
        for (auto const& f : findings) {
            std::printf("%-4s %-24s %s\n", f.ok ? "ok" : "MISS", f.name.c_str(), f.detail.c_str());
            if (!f.ok && !f.hint.empty()) std::printf("     %-24s -> %s\n", "", f.hint.c_str());
            good = good && f.ok;
        }
    });
    io.run();
    return good ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
    spdlog::set_default_logger(spdlog::stderr_color_mt("berth"));
    ::signal(SIGPIPE, SIG_IGN);
    raise_limits();
    try {
        auto const o = parse(argc, argv);
        if (o.command == "version") return std::printf("berth %s\n", BERTH_VERSION), 0;
        if (o.command.empty() || o.command == "help") return std::fputs(kHelp, stdout), 0;
        if (o.command == "tool") return tool(o);
        if (o.command == "down") {
            auto answer = ask(o.data, "/shutdown?all", "");
            return answer ? 0 : fail(answer.error().message());
        }
        auto settings = config::load_settings(o.config.empty() ? std::nullopt : std::optional(o.config));
        if (!settings) return fail(settings.error().message());
        spdlog::set_level(spdlog::level::from_str(settings->log_level));
        if (o.command == "serve") return serve(o, std::move(*settings));
        if (o.command == "stdio") return stdio(o, std::move(*settings));
        if (o.command == "doctor") return doctor(o, *settings);
        return fail("unknown command " + o.command + ": see berth --help");
    } catch (std::exception const& e) {
        return fail(e.what());
    }
}
