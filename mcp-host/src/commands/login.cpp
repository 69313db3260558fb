#include "../terminal.hpp"
#include "commands.hpp"
#include <base/syscalls.hpp>
#include <base/timeout.hpp>
#include <config/servers.hpp>
#include <http/server.hpp>

#include <boost/asio/posix/stream_descriptor.hpp>

#include <servers/login.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>

// The operator's login to a server reached by URL: prints the address to open, and takes the browser's way back, by
// loopback or pasted.
namespace host {
namespace {

constexpr base::milliseconds kPatience{600'000};
constexpr std::size_t kMaxPasted = 16 * 1024;
constexpr std::string_view kLoopback = "http://127.0.0.1:", kPath = "/callback";

char const kDone[] = "<!doctype html><meta charset=utf-8><title>berth</title><p>berth has what it needs. You can close "
                     "this page; the terminal says how it went.\n";

/// The parameter's value as it stands.
std::string parameter(std::string_view query, std::string_view name) {
    while (!query.empty()) {
        auto const pair = query.substr(0, query.find('&'));
        query.remove_prefix(std::min(pair.size() + 1, query.size()));
        if (pair.starts_with(name) && pair.substr(name.size()).starts_with("="))
            return std::string(pair.substr(name.size() + 1));
    }
    return {};
}

class Terminal final : public servers::Browser {
  public:
    Terminal(asio::io_context& io, std::uint16_t port) : io_(io), port_(port), came_(io, base::Clock::time_point::max()) {}

    base::Task<base::Result<std::string>> redirect_uri(std::string last) override {
        if (!server_) {
            auto const port = listen(last);
            if (!port) co_return port.error();
            back_ = std::string(kLoopback) + std::to_string(*port) + std::string(kPath);
        }
        co_return back_;
    }

    base::Task<base::Result<std::string>> authorize(std::string url) override {
        state_ = parameter(std::string_view(url).substr(std::min(url.find('?'), url.size() - 1) + 1), "state");
        answer_.clear();
        std::printf("Open this address in a browser:\n\n    %s\n\nWaiting for it to come back to %s.\nIf its last page cannot "
                    "be loaded, because the browser runs on another machine, paste the address of that page here.\n",
                    plain(url).c_str(), back_.c_str());
        std::fflush(stdout);
        if (!pasting_) asio::co_spawn(io_, listen_to_terminal(), asio::detached);
        came_.expires_after(kPatience);
        while (answer_.empty()) {
            auto [ec] = co_await came_.async_wait(base::as_tuple);
            if (!ec && answer_.empty())
                co_return base::error(base::errc::timed_out, "the browser did not come back in ten minutes");
        }
        co_return answer_;
    }

    base::Task<void> stop() {
        if (pasting_) pasting_->cancel();
        if (server_) co_await server_->stop(base::milliseconds(500));
    }

  private:
    base::Result<std::uint16_t> listen(std::string const& last) {
        http::GateOptions gate;
        gate.hosts = {"127.0.0.1"};
        http::Route route;
        route.path = std::string(kPath);
        route.verbs = {http::Verb::get};
        route.access = http::Access::open;
        route.handler = [this](http::Request request, http::Reply& reply) -> base::Task<void> {
            http::Fields fields;
            fields.set("Content-Type", "text/html; charset=utf-8");
            fields.set("Content-Security-Policy", "default-src 'none'");
            // Any page can make the browser come here; only the authorization server knows the state.
            bool const ours = !state_.empty() && parameter(request.query, "state") == state_;
            if (ours) arrive(back_ + '?' + request.query);
            std::string text = ours ? kDone : "this is not the answer that berth waits for\n";
            auto const status = ours ? http::Status::ok : http::Status::bad_request;
            co_await reply.send(status, std::move(fields), std::move(text));
        };
        server_ = std::make_unique<http::Server>(io_, std::move(gate), http::ServerOptions{},
                                                 std::vector<http::Route>{std::move(route)});
        std::uint16_t before = 0;
        if (last.starts_with(kLoopback))
            std::from_chars(last.data() + kLoopback.size(), last.data() + last.size(), before);
        auto bound = server_->listen("127.0.0.1", port_ ? port_ : before);
        if (!bound && !port_ && before) bound = server_->listen("127.0.0.1", 0);
        if (!bound) return bound.error();
        return bound->port();
    }

    void arrive(std::string url) {
        if (!answer_.empty()) return;
        answer_ = std::move(url);
        came_.cancel();
    }

    base::Task<void> listen_to_terminal() {
        // Opened anew, so that the shell's own stays as it is; a socket is nobody's terminal, and cannot be.
        auto fd = base::sys::open("/proc/self/fd/0", O_RDONLY | O_NONBLOCK | O_NOCTTY);
        if (!fd) fd = base::UniqueFd(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0));
        if (fd->get() < 0) co_return;
        boost::system::error_code ec;
        asio::posix::stream_descriptor in(io_);
        in.assign(fd->get(), ec);
        if (ec) co_return;  // nothing that can be waited for
        (void)fd->release();
        pasting_ = &in;
        std::string text(kMaxPasted, '\0');
        std::string line;
        for (;;) {
            auto [failed, n] = co_await in.async_read_some(asio::buffer(text), base::as_tuple);
            if (failed) break;
            line.append(text, 0, n);
            for (auto end = line.find('\n'); end != line.npos; end = line.find('\n')) {
                auto pasted = line.substr(0, end);
                line.erase(0, end + 1);
                while (!pasted.empty() && (pasted.back() == '\r' || pasted.back() == ' ')) pasted.pop_back();
                if (pasted.starts_with(back_ + '?'))
                    arrive(std::move(pasted));
                else if (!pasted.empty())
                    std::printf("That is not it: the address begins with %s\n", back_.c_str());
            }
            if (line.size() > kMaxPasted) line.clear();
        }
        pasting_ = nullptr;
    }

    asio::io_context& io_;
    std::uint16_t port_;
    std::string back_, state_, answer_;
    asio::steady_timer came_;
    asio::posix::stream_descriptor* pasting_ = nullptr;
    std::unique_ptr<http::Server> server_;
};

std::string servers_directory(Options const& o) { return std::filesystem::absolute(o.data).string() + "/servers"; }

base::Result<config::ServerEntry> entry_named(Options const& o) {
    if (o.rest.size() != 2)
        return base::error(base::errc::invalid, "expected a server's name: berth servers " + o.rest[0] + " NAME");
    auto file = config::load_servers(servers_file(o), config::process_variables());
    if (!file) return file.error();
    for (auto& entry : file->servers)
        if (entry.name == o.rest[1]) return std::move(entry);
    return base::error(base::errc::not_found, "no server is named " + o.rest[1] + " in " + servers_file(o));
}

/// Runs it to its end. 1 after an exception.
int run_to_end(asio::io_context& io, base::Task<int> work) {
    int status = 1;
    asio::co_spawn(io, std::move(work), [&](std::exception_ptr e, int value) {
        try {
            if (e) std::rethrow_exception(e);
            status = value;
        } catch (std::exception const& failure) {
            status = fail(failure.what());
        }
        io.stop();
    });
    io.run();
    return status;
}

}  // namespace

int servers_login(Options const& o) {
    auto entry = entry_named(o);
    if (!entry) return fail(entry.error().message());
    auto const name = entry->name;
    asio::io_context io{1};
    auto const terminal = std::make_shared<Terminal>(io, static_cast<std::uint16_t>(entry->oauth.callback_port));
    auto run = [&]() -> base::Task<int> {
        auto logging_in = servers::log_in(io, servers_directory(o), std::move(*entry), BERTH_VERSION, terminal);
        auto done = co_await std::move(logging_in);
        co_await terminal->stop();
        if (done) {
            std::printf("Logged in: %s offers %zu tools. A running berth takes it up by itself.\n",
                        plain(done->name.empty() ? name : done->name).c_str(), done->tools);
            co_return 0;
        }
        co_return fail(done.error().message());
    };
    return run_to_end(io, run());
}

int servers_logout(Options const& o) {
    auto entry = entry_named(o);
    if (!entry && o.rest.size() == 2) {  // taken out of the file since: its login can still be forgotten
        entry = config::ServerEntry();
        entry->name = o.rest[1];
    }
    if (!entry) return fail(entry.error().message());
    asio::io_context io{1};
    auto run = [&]() -> base::Task<int> {
        auto logging_out = servers::log_out(io, servers_directory(o), std::move(*entry));
        auto const done = co_await std::move(logging_out);
        if (!done) co_return fail(done.error().message());
        if (done->revoked) {
            std::printf("Logged out: the tokens are forgotten here, and revoked at the authorization server.\n");
        } else if (done->why_not.empty()) {
            std::printf("Logged out: the tokens are forgotten here. The authorization server offers no revocation: elsewhere "
                        "they are good until they end.\n");
        } else {
            co_return fail("logged out here, but the tokens were not revoked and may still be good: " + done->why_not);
        }
        co_return 0;
    };
    return run_to_end(io, run());
}

}  // namespace host
