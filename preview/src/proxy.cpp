#include "proxy.hpp"

#include <base/timeout.hpp>

#include <boost/asio/experimental/awaitable_operators.hpp>

#include <stdexcept>

namespace preview {
namespace {

using Field = boost::beast::http::field;
using base::errc;

constexpr std::uint64_t kWholeBelow = 64 * 1024;  ///< a shorter answer goes out in one write
constexpr std::size_t kTunnelBytes = 32 * 1024;
constexpr base::milliseconds kStartingLook{150};
constexpr base::milliseconds kYoung{15'000};  ///< a program that began since then may open its port at any moment
constexpr base::milliseconds kFarewell{
    5'000};  ///< what one side of a socket may still say after the other has ended

bool safe(http::Verb verb) {
    return verb == http::Verb::get || verb == http::Verb::head || verb == http::Verb::options;
}

/// Waits for being cancelled.
base::Task<void> park() {
    asio::steady_timer timer(co_await asio::this_coro::executor, base::Clock::time_point::max());
    co_await timer.async_wait(base::as_tuple);
}

}  // namespace

base::Task<void> Proxied::answer(Problem problem) {
    if (visitor.begun()) co_return;  // the connection ends without the answer's end, so that the cut is seen
    auto page = render(problem, style_of(visitor.request().fields));
    if (!cookie.empty()) page.fields.insert("Set-Cookie", cookie);
    if (!sibling.empty()) let_read(page.fields, sibling);
    passage.entry.status = static_cast<unsigned>(page.status);
    passage.entry.sent = page.body.size();
    (void)co_await visitor.send(page.status, std::move(page.fields), std::move(page.body));
}

base::Task<std::optional<http::Client::Taken>> Proxied::connected(http::Client& client, int port, bool may_reuse) {
    auto const give_up = base::Clock::now() + options.starting_limit;
    for (;;) {
        http::Client::Connect connect = [this, port] { return awake->connect(port); };
        auto taken = co_await client.take(std::move(connect), may_reuse);
        if (taken) co_return std::move(*taken);
        std::optional<base::milliseconds> youngest;
        if (base::is(taken.error(), errc::unavailable)) youngest = co_await awake->youngest();
        if (youngest && *youngest < kYoung && base::Clock::now() < give_up) {
            co_await base::sleep_for(kStartingLook);
            continue;
        }
        std::vector<Listener> list;
        std::optional<Crash> crash;
        if (sees_output) {
            auto listening = co_await awake->listeners();
            if (listening) list = std::move(*listening);
            crash = co_await awake->last_crash();
        }
        auto problem = nothing_listens(port, awake->restarted(), std::move(list), std::move(crash));
        if (youngest && *youngest < options.starting_page_limit) problem = may_come(std::move(problem));
        co_await answer(std::move(problem));
        co_return std::nullopt;
    }
}

base::Task<void> Proxied::run(std::shared_ptr<http::Client> client, int port) {
    using namespace asio::experimental::awaitable_operators;
    auto const& request = visitor.request();
    bool const repeatable = safe(request.verb) && !request.has_body && !forwarded.upgrade;
    std::string first;
    if (request.has_body &&
        request.fields.count(Field::expect)) {  // "100 Continue" goes before anything else
        auto piece = co_await visitor.receive();
        if (!piece) {
            auto problem = bad_request("The body is malformed.");
            co_await answer(std::move(problem));
            co_return;
        }
        first = std::move(*piece);
    }
    for (bool reuse = repeatable;; reuse = false) {
        auto taken = co_await connected(*client, port, reuse);
        if (!taken) co_return;
        auto const connection = taken->connection;
        http::ClientRequest outgoing;
        outgoing.method = request.method;
        outgoing.target = target;
        outgoing.fields = fields_for_app(request.fields, forwarded);
        outgoing.has_body = request.has_body;
        outgoing.length = request.length;
        passage.waits(connection, options.answer_limit);
        auto begun = co_await connection->begin(std::move(outgoing));
        if (!begun && base::is(begun.error(), errc::invalid)) {
            auto problem = bad_request("Its method or target cannot be passed on.");
            co_await answer(std::move(problem));
            co_return;
        }
        if (!request.has_body) {
            bool const answered = co_await send_answer(connection, taken->reused);
            if (!answered) continue;  // the program had closed an idle connection: once more, on a new one
        } else {
            // An answer may come while the body still goes, and may end the need for it.
            auto body = send_body(*connection, std::move(first));
            auto back = send_answer(connection, false);
            auto const done = co_await (std::move(body) || std::move(back));
            if (done.index() == 0) {
                auto problem = bad_request("The body is malformed, or ended early.");
                co_await answer(std::move(problem));
            }
        }
        client->give_back(connection);
        co_return;
    }
}

/// Ends only when the visitor's side failed: whatever the program does, its answer is what counts.
base::Task<bool> Proxied::send_body(http::ClientConnection& to, std::string piece) {
    for (base::Status written; written;) {
        if (piece.empty()) {
            auto next = co_await visitor.receive();
            if (!next) co_return false;
            piece = std::move(*next);
        }
        passage.moved();
        if (piece.empty()) {
            (void)co_await to.finish();
            break;
        }
        passage.entry.received += piece.size();
        written = co_await to.write(piece);
        piece.clear();
    }
    co_await park();
    co_return true;
}

/// False when nothing of an answer came on a connection that may have been closed before: then nothing was
/// said to the visitor either.
base::Task<bool> Proxied::send_answer(std::shared_ptr<http::ClientConnection> from, bool may_repeat) {
    // A program must not be able to leave the exchange without an end by what it sends.
    try {
        auto passing = pass_answer(from, may_repeat);
        co_return co_await std::move(passing);
    } catch (std::length_error const&) {  // Beast's: a field larger than it can hold
    }
    passage.waits_end();
    auto problem = app_failed("What it sent cannot be passed on.");
    co_await answer(std::move(problem));
    co_return true;
}

base::Task<bool> Proxied::pass_answer(std::shared_ptr<http::ClientConnection> from, bool may_repeat) {
    auto head = co_await from->response();
    passage.waits_end();
    passage.moved();
    if (!head) {
        if (passage.ran_out()) {
            auto problem = app_too_slow();
            co_await answer(std::move(problem));
        } else if (may_repeat && !from->answered()) {
            co_return false;
        } else {
            bool const odd = base::is(head.error(), errc::invalid) || base::is(head.error(), errc::limit);
            auto problem =
                app_failed(odd ? "What it sent is not a proper HTTP answer: " + head.error().context + "."
                               : "It closed the connection without an answer.");
            co_await answer(std::move(problem));
        }
        co_return true;
    }
    bool const upgraded = head->status == http::Status::switching_protocols;
    if (options.keep_awake == KeepAwake::never || (upgraded && options.keep_awake == KeepAwake::requests)) awake.reset();
    if (upgraded) {
        co_await tunnel(*from, std::move(*head));
        co_return true;
    }
    auto fields = fields_for_visitor(head->fields);
    if (!cookie.empty()) fields.insert("Set-Cookie", cookie);
    auto& entry = passage.entry;
    bool const small = head->has_body && head->length && *head->length <= kWholeBelow;
    if (small || !head->has_body) {
        std::string body;
        while (head->has_body) {
            auto piece = co_await from->receive();
            if (!piece) {
                auto problem = app_failed("Its answer ended early.");
                co_await answer(std::move(problem));
                co_return true;
            }
            if (piece->empty()) break;
            body += *piece;
        }
        entry.status = static_cast<unsigned>(head->status);
        entry.sent = body.size();
        if (head->has_body || visitor.request().verb != http::Verb::head) {
            (void)co_await visitor.send(head->status, std::move(fields), std::move(body));
        } else {
            auto const begun = co_await visitor.begin(head->status, std::move(fields), head->length);
            if (begun) (void)co_await visitor.finish();
        }
        co_return true;
    }
    entry.status = static_cast<unsigned>(head->status);
    auto written = co_await visitor.begin(head->status, std::move(fields), head->length);
    while (written) {
        auto piece = co_await from->receive();
        if (!piece) co_return true;  // cut, and seen to be
        if (piece->empty()) {
            (void)co_await visitor.finish();
            break;
        }
        passage.moved();
        entry.sent += piece->size();
        written = co_await visitor.write(std::move(*piece));
    }
    co_return true;
}

base::Task<void> Proxied::tunnel(http::ClientConnection& from, http::ResponseHead head) {
    using namespace asio::experimental::awaitable_operators;
    auto const& request = visitor.request();
    auto const expected = websocket_accept(request.fields[Field::sec_websocket_key]);
    if (head.fields[Field::sec_websocket_accept] != expected) {
        auto problem = app_failed("It answered to another WebSocket handshake than this one.");
        co_await answer(std::move(problem));
        co_return;
    }
    auto fields = fields_for_visitor(head.fields);
    fields.set(Field::upgrade, "websocket");
    auto out = co_await visitor.upgrade(std::move(fields));
    if (!out) co_return;
    passage.entry.status = 101;
    passage.entry.socket = true;
    auto const in = from.upgraded();
    auto up = carry(**out, *in, passage.entry.received);
    auto down = carry(*in, **out, passage.entry.sent);
    co_await (std::move(up) || std::move(down));
    in->close();
}

base::Task<void> Proxied::carry(base::ByteStream& from, base::ByteStream& to, std::uint64_t& count) {
    std::string bytes(kTunnelBytes, '\0');
    for (;;) {
        auto const n = co_await from.read_some(asio::buffer(bytes));
        if (!n) co_return;
        if (*n == 0) break;
        passage.moved();
        count += *n;
        auto const written = co_await to.write(asio::buffer(bytes.data(), *n));
        if (!written) co_return;
    }
    to.shutdown_write();
    co_await base::sleep_for(kFarewell);  // the other direction ends it sooner
}

}  // namespace preview
