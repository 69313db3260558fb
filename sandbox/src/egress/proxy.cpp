#include "dial.hpp"
#include "relay.hpp"
#include "request.hpp"

#include <base/timeout.hpp>
#include <sandbox/egress.hpp>

#include <algorithm>
#include <deque>
#include <list>
#include <map>

namespace sandbox {
namespace {

using base::errc;
using base::Result;
using base::Task;

constexpr base::milliseconds kHeadLimit{15'000};
constexpr base::milliseconds kAnswerLimit{10'000};    // for a guest that does not read its refusal

// Of the answer to CONNECT most programs show this line alone.
constexpr char const* kNotAllowed = "403 Host not in the allow-list";

// Everything up to the empty line, and what came with it.
Task<Result<std::string>> read_head(base::ByteStream& stream) {
    std::string head;
    std::vector<char> buffer(4096);
    while (head.find("\r\n\r\n") == head.npos) {
        if (head.size() > egress::kMaxHead) co_return base::error(errc::limit, "the request's head is too long");
        auto const n = co_await stream.read_some(asio::buffer(buffer));
        if (!n) co_return n.error();
        if (*n == 0) co_return base::error(errc::cancelled, "the program inside closed the connection");
        head.append(buffer.data(), *n);
    }
    co_return head;
}

std::string pattern_of(EgressPolicy::Rule const& rule) {
    std::string text = rule.host.empty() ? "*" : rule.subdomains ? "*." + rule.host : rule.host;
    if (rule.host.find(':') != rule.host.npos) text = "[" + text + "]";
    return rule.port ? text + ":" + std::to_string(rule.port) : text;
}

std::string not_allowed(egress::Request const& r, EgressPolicy const& policy) {
    std::string host = r.host;
    if (r.port != 80 && r.port != 443) host += ":" + std::to_string(r.port);
    std::string allowed;
    for (std::size_t i = 0; i < policy.rules.size() && i < 20; ++i) allowed += (i ? ", " : "") + pattern_of(policy.rules[i]);
    if (policy.rules.size() > 20) allowed += ", and " + std::to_string(policy.rules.size() - 20) + " more";
    return host + " is not in " + policy.whose + " allow-list (allowed: " + (allowed.empty() ? "nothing" : allowed) +
           "). Ask for it in " + policy.added_in + ".";
}

Task<base::Status> send(base::ByteStream& stream, std::string bytes) {
    auto status = co_await stream.write(asio::buffer(bytes));
    stream.shutdown_write();
    co_return status;
}

Task<void> answer(base::ByteStream& stream, std::string status, std::string sentence) {
    sentence += "\n";
    std::string bytes = "HTTP/1.1 " + status + "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: " +
                        std::to_string(sentence.size()) + "\r\nConnection: close\r\n\r\n" + sentence;
    (void)co_await base::with_timeout(send(stream, std::move(bytes)), kAnswerLimit, "answer a refused request");
}

}  // namespace

struct EgressProxy::Impl {
    struct Connection {
        Connection(asio::io_context& context, base::milliseconds turn_limit) : turn(context, turn_limit) {}
        std::unique_ptr<base::ByteStream> stream;
        std::string workspace_id;
        std::shared_ptr<EgressPolicy const> policy;
        std::function<void(Record const&)> told;
        std::string host;  // that it asked for and was allowed, "" before
        int port = 0;
        bool admitted = false;
        asio::steady_timer turn;    // cancelled once it is admitted
        asio::cancellation_signal stop;
    };
    struct Sandbox {
        int open = 0;
        std::deque<std::shared_ptr<Connection>> waiting;    // the longest first
    };

    Impl(asio::io_context& context, Options o, std::function<void(Record const&)> a)
        : io(context), options(std::move(o)), audit(std::move(a)), dialer(options.insecure_private_addresses) {}

    void record(Connection const& c, egress::Request const& r, bool allowed, std::string reason) const {
        Record const record{c.workspace_id, r.host, r.port, allowed, std::move(reason)};
        if (audit) audit(record);
        if (c.told) c.told(record);
    }

    void admit_next(Sandbox& sandbox) {
        while (sandbox.open < options.max_connections_per_sandbox && !sandbox.waiting.empty()) {
            auto const next = std::move(sandbox.waiting.front());
            sandbox.waiting.pop_front();
            ++sandbox.open;
            next->admitted = true;
            next->turn.cancel();
        }
    }
    void ended(std::shared_ptr<Connection> const& c) {
        auto const at = sandboxes.find(c->workspace_id);
        auto& sandbox = at->second;
        if (c->admitted)
            --sandbox.open;
        else
            std::erase(sandbox.waiting, c);
        admit_next(sandbox);
        if (sandbox.open == 0 && sandbox.waiting.empty()) sandboxes.erase(at);
    }

    static Task<void> serve(std::shared_ptr<Impl> self, std::shared_ptr<Connection> c);

    asio::io_context& io;
    Options options;
    std::function<void(Record const&)> audit;
    egress::Dialer dialer;
    std::list<std::shared_ptr<Connection>> connections;
    std::map<std::string, Sandbox> sandboxes;    // by workspace, those with a connection
};

Task<void> EgressProxy::Impl::serve(std::shared_ptr<Impl> self, std::shared_ptr<Connection> c) {
    if (!c->admitted) co_await c->turn.async_wait(base::as_tuple);
    if (!c->admitted) co_return;
    auto& stream = *c->stream;
    auto bytes = co_await base::with_timeout(read_head(stream), kHeadLimit, "the request's head did not come in time");
    if (!bytes) {
        if (is(bytes.error(), errc::timed_out)) co_await answer(stream, "408 Request Timeout", bytes.error().context);
        if (is(bytes.error(), errc::limit)) co_await answer(stream, "431 Request Header Fields Too Large", bytes.error().context);
        co_return;
    }
    auto const head_size = bytes->find("\r\n\r\n") + 4;
    auto const request = egress::parse_request(std::string_view(*bytes).substr(0, head_size));
    if (!request) {
        co_await answer(stream, "400 Bad Request", request.error().context);
        co_return;
    }
    if (!c->policy || !c->policy->allows(request->host, request->port)) {
        EgressPolicy const none;
        auto sentence = not_allowed(*request, c->policy ? *c->policy : none);
        self->record(*c, *request, false, "not in the allow-list");
        co_await answer(stream, kNotAllowed, std::move(sentence));
        co_return;
    }
    c->host = request->host;
    c->port = request->port;
    auto socket = co_await self->dialer.dial(request->host, request->port, self->options.connect_limit);
    if (!socket) {
        auto const failed = socket.error();
        self->record(*c, *request, false, failed.message());
        bool const denied = is(failed, errc::denied);
        std::string status = denied ? "403 Forbidden" : is(failed, errc::timed_out) ? "504 Gateway Timeout" : "502 Bad Gateway";
        co_await answer(stream, std::move(status), failed.message());
        co_return;
    }
    auto const server = *socket;
    self->record(*c, *request, true, "");
    std::string early = bytes->substr(head_size);
    bytes->clear();
    if (request->connect) {
        std::string_view const established = "HTTP/1.1 200 Connection established\r\n\r\n";
        auto const written = co_await stream.write(asio::buffer(established));
        if (!written) co_return;
    } else {
        auto const [ec, n] = co_await asio::async_write(*server, asio::buffer(request->head), base::as_tuple);
        if (ec) {
            co_await answer(stream, "502 Bad Gateway", "send to " + request->host + ": " + ec.message());
            co_return;
        }
    }
    co_await egress::relay(stream, *server, *request, std::move(early), self->options.idle_limit);
}

EgressProxy::EgressProxy(asio::io_context& io, Options options, std::function<void(Record const&)> audit)
    : impl_(std::make_shared<Impl>(io, std::move(options), std::move(audit))) {}

EgressProxy::~EgressProxy() {
    impl_->audit = nullptr;    // its owner may go next, while the connections still wind down
    auto const open = impl_->connections;
    for (auto const& c : open) c->stop.emit(asio::cancellation_type::terminal);
}

void EgressProxy::hold_to(std::string const& workspace_id, std::shared_ptr<EgressPolicy const> policy) {
    auto const open = impl_->connections;    // one that ends leaves the list
    for (auto const& c : open) {
        if (c->workspace_id != workspace_id) continue;
        c->policy = policy;
        if (!c->host.empty() && !policy->allows(c->host, c->port)) c->stop.emit(asio::cancellation_type::terminal);
    }
}

void EgressProxy::serve(std::unique_ptr<base::ByteStream> stream, std::string workspace_id,
                        std::shared_ptr<EgressPolicy const> policy, std::function<void(Record const&)> told) {
    auto& sandbox = impl_->sandboxes[workspace_id];
    bool const admitted = sandbox.open < impl_->options.max_connections_per_sandbox;
    // Beyond the bound the stream closes at once: a sentence would need a task, and so would be no bound.
    if (!admitted && sandbox.waiting.size() >= impl_->options.max_waiting_per_sandbox) return;
    auto connection = std::make_shared<Impl::Connection>(impl_->io, impl_->options.turn_limit);
    connection->stream = std::move(stream);
    connection->workspace_id = std::move(workspace_id);
    connection->policy = std::move(policy);
    connection->told = std::move(told);
    connection->admitted = admitted;
    if (admitted)
        ++sandbox.open;
    else
        sandbox.waiting.push_back(connection);
    auto const at = impl_->connections.insert(impl_->connections.end(), connection);
    auto ended = [impl = impl_, at, connection](std::exception_ptr) {
        // An exception is a cancelled wait; either way the connection is over.
        impl->ended(connection);
        impl->connections.erase(at);
    };
    asio::co_spawn(impl_->io, Impl::serve(impl_, connection),
                   asio::bind_cancellation_slot(connection->stop.slot(), std::move(ended)));
}

}  // namespace sandbox
