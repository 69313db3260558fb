#include "commands.hpp"

#include <spdlog/spdlog.h>

#include <grp.h>

#include <filesystem>

namespace host {
namespace {

bool loopback(std::string const& address) {
    return address == "127.0.0.1" || address == "::1" || address == "localhost";
}

}  // namespace

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
        return fail(
            "refusing to listen on " + listen.address +
            " without TLS: set listen.tls_certificate and listen.tls_key (or listen.insecure_plain_http)");
    asio::io_context io{1};
    auto opened = Engine::open(io, engine_options(o, settings));
    if (!opened) return fail(opened.error().message());
    auto engine = std::move(*opened);
    int status = 0;
    asio::signal_set signals(io, SIGINT, SIGTERM);
    std::unique_ptr<http::Server> server;
    bool stopping = false;
    std::function<void(bool)> shut_down = [&](bool all) {
        if (std::exchange(stopping, true)) return;
        signals.cancel();
        auto stop = [](Engine& e, http::Server* s, asio::io_context& context,
                       bool everything) -> base::Task<void> {
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
        server = std::make_unique<http::Server>(io, std::move(gate), http::ServerOptions{},
                                                engine->routes(shut_down));
        std::optional<http::TlsFiles> files;
        if (tls) files = http::TlsFiles{listen.tls_certificate, listen.tls_key};
        auto bound = server->listen(listen.address, listen.port, files);
        if (!bound) throw std::runtime_error(bound.error().message());
        // Members of the group `berth`, where there is one, may use the socket beside root.
        std::string const group = ::getgrnam("berth") ? "berth" : "";
        if (auto s = server->listen_unix(std::filesystem::absolute(o.data).string() + "/berth.sock", group);
            !s)
            throw std::runtime_error(s.error().message());
        spdlog::info("serving on {}://{}:{}/mcp; the token is in {}/token", tls ? "https" : "http",
                     listen.address, bound->port(), o.data);
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

}  // namespace host
