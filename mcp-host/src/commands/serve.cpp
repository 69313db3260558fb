#include "../reach.hpp"
#include "../stdio_socket.hpp"
#include "commands.hpp"

#include <base/files.hpp>
#include <base/syscalls.hpp>
#include <config/listen.hpp>

#include <spdlog/spdlog.h>

#include <fcntl.h>
#include <grp.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

namespace host {
namespace {

/// The directory's owner reads; members of the group `berth`, where there is one, reach the sockets in it, whose own
/// mode admits them.
base::Status admit_group(std::string const& directory, group const* members) {
    if (!members) return {};
    if (::chown(directory.c_str(), static_cast<uid_t>(-1), members->gr_gid) != 0)
        return base::errno_error("chown " + directory);
    if (::chmod(directory.c_str(), 0710) != 0) return base::errno_error("chmod " + directory);
    return {};
}

/// An on-demand server has told its starter all it had to tell: from here on it writes to its log, started anew each time.
base::Status turn_to_log(std::string const& path) {
    auto log = base::sys::open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
    if (!log) return log.error();
    std::fputs(kServerReady, stdout);
    std::fflush(stdout);
    for (int fd : {STDOUT_FILENO, STDERR_FILENO})
        if (::dup2(log->get(), fd) < 0) return base::errno_error("dup2");
    return {};
}

/// Previews have names on the server's own listener, unless they have one to themselves. A server without any gets one on
/// loopback: what runs in its workspaces is looked at in the browser all the same.
base::Status open_previews(http::Server& server, Engine& engine, config::Settings::Previews const& previews,
                           std::string const& base_url) {
    std::string url = base_url.empty() ? "" : base_url.substr(0, base_url.find("//") + 2) + "localhost" +
                                                  base_url.substr(base_url.rfind(':'));
    if (previews.port != 0 || base_url.empty()) {
        std::optional<http::TlsFiles> files;
        if (!previews.tls_certificate.empty()) files = http::TlsFiles{previews.tls_certificate, previews.tls_key};
        auto bound = server.listen(previews.address, previews.port, files, http::Names::sites);
        if (!bound) return base::wrap(bound.error(), "previews");
        url = (files ? "https://localhost:" : "http://localhost:") + std::to_string(bound->port());
    }
    return engine.previews().reached_at(previews.url.empty() ? url : previews.url);
}

}  // namespace

int serve(Options const& o, config::Settings settings) {
    auto& listen = settings.listen;
    if (!o.listen.empty()) {
        auto const given = config::parse_listen(o.listen);
        if (!given) return fail("--listen: " + given.error().message());
        listen.address = given->address;
        listen.port = given->port;
    }
    bool const tls = !listen.tls_certificate.empty();
    if (!o.on_demand && !config::is_loopback(listen.address) && !tls && !listen.insecure_plain_http)
        return fail(
            "refusing to listen on " + listen.address +
            " without TLS: set listen.tls_certificate and listen.tls_key (or listen.insecure_plain_http)");
    if (o.on_demand) settings.pools = {{settings.default_template, {2, 1}}};  // for one person, not a node
    asio::io_context io{1};
    auto opened = Engine::open(io, engine_options(o, settings));
    if (!opened) {
        if (o.on_demand && base::is(opened.error(), base::errc::busy)) return std::fputs(kServerBusy, stdout), 1;
        return fail(opened.error().message());
    }
    auto engine = std::move(*opened);
    int status = 0;
    asio::signal_set signals(io, SIGINT, SIGTERM);
    std::unique_ptr<http::Server> server;
    std::unique_ptr<StdioSocket> clients;
    bool stopping = false;
    auto const end = [&](Engine::Leaving leaving) {
        if (std::exchange(stopping, true)) return;
        signals.cancel();
        if (clients) clients->close();
        auto stop = [](Engine& e, http::Server* s, asio::io_context& context,
                       Engine::Leaving what) -> base::Task<void> {
            if (s) co_await s->stop(base::milliseconds(1'000));
            co_await e.stop(what);
            context.stop();
        };
        asio::co_spawn(io, stop(*engine, server.get(), io, leaving), asio::detached);
    };
    using Leaving = Engine::Leaving;
    auto const shut_down = [&](bool all) { end(all ? Leaving::nothing : Leaving::everything); };
    auto run = [&]() -> base::Task<void> {
        co_await engine->start(o.on_demand ? Engine::Filling::at_first_call : Engine::Filling::at_start);
        http::GateOptions gate;
        gate.hosts = admitted_hosts(listen);
        gate.origins = listen.origins;
        gate.authenticate = [&](std::string_view given) -> std::optional<http::Principal> {
            if (!engine->token().matches(given)) return std::nullopt;
            return http::Principal{"local"};
        };
        http::ServerOptions limits;
        auto proxies = http::Networks::parse(settings.previews.trusted_proxies);
        if (!proxies) throw std::runtime_error("previews.trusted_proxies: " + proxies.error().message());
        limits.trusted_proxies = std::move(*proxies);
        // Listeners for previews have half of all connections.
        limits.max_connections = std::max(limits.max_connections, 2 * static_cast<std::size_t>(settings.previews.max_requests_total));
        server = std::make_unique<http::Server>(io, std::move(gate), std::move(limits),
                                                engine->routes(shut_down));
        server->add_site(engine->previews().site());
        std::optional<http::TlsFiles> files;
        if (tls) files = http::TlsFiles{listen.tls_certificate, listen.tls_key};
        auto const must = [](base::Status const& done) {
            if (!done) throw std::runtime_error(done.error().message());
        };
        auto const data = std::filesystem::absolute(o.data).string();
        std::string own, handed_out;  // as it listens, and as clients reach it; "" for the sockets alone
        if (!o.on_demand) {
            auto bound = server->listen(listen.address, listen.port, files);
            if (!bound) throw std::runtime_error(bound.error().message());
            own = own_url(listen, bound->port());
            handed_out = public_url(listen, bound->port());
        }
        must(open_previews(*server, *engine, settings.previews, own));
        engine->transfers().reached_at(handed_out, data + "/berth.sock");
        auto const* const members = ::getgrnam("berth");
        must(admit_group(data, members));
        must(server->listen_unix(data + "/berth.sock", members ? "berth" : ""));
        auto serve_client = [&](int fd) -> base::Task<void> {
            mcp::Caller caller;  // named: g++ 12 destroys a temporary in a co_await expression twice
            caller.principal = "local";
            co_await engine->mcp().serve_stdio(fd, fd, caller);
        };
        StdioSocket::Options stdio;
        stdio.path = data + "/stdio.sock";
        stdio.group = members ? "berth" : "";
        if (o.on_demand) stdio.on_deserted = [&] { end(Leaving::what_was_found); };
        clients = std::make_unique<StdioSocket>(io, serve_client, std::move(stdio));
        must(clients->open());
        if (o.on_demand) {
            must(turn_to_log(data + "/stdio.log"));
            spdlog::info("serving the stdio clients of {}", data);
        } else {
            must(base::replace_file(data + "/url", handed_out + "\n", 0644));
            spdlog::info("serving on {}/mcp; the token is in {}/token", handed_out, data);
            if (auto const warning = unreachable(listen); !warning.empty()) spdlog::warn("{}", warning);
        }
    };
    asio::co_spawn(io, run(), [&](std::exception_ptr e) {
        if (!e) return;
        try {
            std::rethrow_exception(e);
        } catch (std::exception const& failure) {
            status = fail(failure.what());
        }
        end(Leaving::what_was_found);  // nobody comes back for the stock of a server that did not start
    });
    signals.async_wait([&](boost::system::error_code ec, int) {
        if (!ec) shut_down(false);
    });
    io.run();
    return status;
}

}  // namespace host
