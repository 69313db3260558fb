#include "connection.hpp"

#include "reply.hpp"
#include "visitor.hpp"
#include "wire.hpp"

#include <boost/beast/core/string.hpp>

namespace http {
namespace {

using Field = beast::http::field;

constexpr std::size_t head_step = 4 * 1024;  ///< most requests arrive whole in it
constexpr std::size_t body_step = 64 * 1024;
constexpr std::size_t goodbye_bytes = 1024 * 1024;
constexpr base::milliseconds goodbye_limit{2'000};

}  // namespace

Connection::Connection(std::shared_ptr<Core> core, Stream::Socket socket,
                       std::shared_ptr<asio::ssl::context> tls, std::string peer,
                       std::string network, From from)
    : core_(std::move(core)),
      stream_(std::move(socket), std::move(tls)),
      peer_(std::move(peer)),
      network_(std::move(network)),
      from_(from) {
    core_->add(*this);
}

Connection::~Connection() { core_->remove(*this); }

void Connection::cancel() {
    if (phase_ == Phase::handler || in_site_) cancel_.emit(asio::cancellation_type::terminal);
}

void Connection::abandon() {
    gone_ = true;
    deadline_ = write_deadline_ = base::Clock::time_point::max();
    cancel();
    stream_.close();
}

void Connection::limit(base::milliseconds duration) { deadline_ = base::Clock::now() + duration; }

base::Task<void> Connection::run(std::shared_ptr<Connection> self) {
    self->limit(self->core_->options().header_limit);
    if (self->stream_.is_tls()) {
        auto const ready = co_await self->stream_.handshake();
        if (!ready) co_return;
    }
    while (!self->core_->stopping()) {
        bool const more = co_await self->exchange();
        if (!more) break;
        if (self->buffer_.size() == 0 && self->buffer_.capacity() > 4 * head_step)
            self->buffer_.shrink_to_fit();
        self->limit(self->core_->options().idle_limit);
    }
    if (!self->gone_) co_await self->say_goodbye();
}

base::Task<bool> Connection::exchange() {
    phase_ = Phase::head;
    Head head = co_await read_head();
    if (head.refusal) co_return co_await refuse(std::move(*head.refusal), false);
    if (head.size == 0) {
        gone_ = true;
        co_return false;
    }
    phase_ = Phase::body;

    Parser parser;
    boost::system::error_code ec;
    parser.header_limit(static_cast<std::uint32_t>(head.size + 1));
    parser.body_limit(boost::none);  // known only after routing
    auto const taken = parser.put(asio::const_buffer(buffer_.data().data(), head.size), ec);
    buffer_.consume(taken);
    if (ec || !parser.is_header_done()) {
        Refusal refusal{Status::bad_request, "malformed request"};
        co_return co_await refuse(std::move(refusal), false);
    }

    auto& message = parser.get();
    auto const version = message.version();
    std::string_view const target = message.target();
    if (auto const* fault = wire::framing_fault(message, version, target)) {
        Refusal refusal{Status::bad_request, fault};
        co_return co_await refuse(std::move(refusal), false);
    }
    if (wire::too_many_fields(message)) {
        Refusal refusal{Status::request_header_fields_too_large, "too many header fields"};
        co_return co_await refuse(std::move(refusal), false);
    }
    if (from_ != From::local) {
        std::string host;
        if (auto const* site = core_->site_for(message, host))
            co_return co_await serve(*site, std::move(host), parser);
        if (from_ == From::sites) {
            Refusal refusal{Status::not_found, "no such host"};
            co_return co_await refuse(std::move(refusal), false, message.method() == Verb::head);
        }
    }
    Request request;
    auto const question = target.find('?');
    request.verb = message.method();
    request.path = target.substr(0, question);
    if (question != target.npos) request.query = target.substr(question + 1);
    // Moved out before the body is read, so that trailers cannot add to what the gate has seen.
    request.fields = std::move(static_cast<Fields&>(message.base()));
    request.peer = peer_;

    bool const has_body = !parser.is_done();
    bool const keep_alive = parser.keep_alive();
    auto admitted = admit(request.fields, request.verb, request.path);
    if (!admitted) {
        bool const stay = keep_alive && !has_body;
        co_return co_await refuse(std::move(admitted).error(), stay, request.verb == Verb::head);
    }
    request.principal = std::move(admitted->principal);
    if (has_body) {
        auto const max = admitted->route->max_body;
        parser.body_limit(max);
        std::string_view const expect = request.fields[Field::expect];
        std::optional<Refusal> refusal;
        if (parser.content_length() && *parser.content_length() > max)
            refusal.emplace(Refusal{Status::payload_too_large, "body too large"});
        else if (!expect.empty() && !beast::iequals(expect, "100-continue"))
            refusal.emplace(Refusal{Status::expectation_failed, "unsupported expectation"});
        if (refusal) co_return co_await refuse(std::move(*refusal), false);
        if (version >= 11 && !expect.empty() && buffer_.size() == 0) {
            bool const told = co_await proceed();
            if (!told) co_return false;
        }
        if (admitted->route->streams_body) {
            BodyParser body(std::move(parser));
            HttpReply reply(*this, version, request.verb == Verb::head, keep_alive && !core_->stopping(), &body);
            Work work = [&] { return admitted->route->handler(std::move(request), reply); };
            co_return co_await answer(reply, std::move(work));
        }
        refusal = co_await read_body(parser);
        if (refusal) co_return co_await refuse(std::move(*refusal), false);
        if (gone_) co_return false;
        request.body = std::move(message.body());
    }
    HttpReply reply(*this, version, request.verb == Verb::head, keep_alive && !core_->stopping(), nullptr);
    Work work = [&] { return admitted->route->handler(std::move(request), reply); };
    co_return co_await answer(reply, std::move(work));
}

base::Task<bool> Connection::serve(Site const& site, std::string host, Parser& parser) {
    auto& message = parser.get();
    RequestHead head;
    head.verb = message.method();
    head.method = message.method_string();
    head.target = message.target();
    head.version = message.version();
    head.host = std::move(host);
    head.peer = visitor(core_->options().trusted_proxies, message, peer_.substr(0, peer_.rfind(':')));
    head.tls = stream_.is_tls();
    head.has_body = !parser.is_done();
    if (head.has_body && parser.content_length()) head.length = *parser.content_length();
    head.fields = std::move(static_cast<Fields&>(message.base()));
    bool const keep_alive = parser.keep_alive() && !core_->stopping();
    if (head.fields.count(Field::authorization) > 1) {
        Refusal refusal{Status::bad_request, "more than one Authorization"};
        co_return co_await refuse(std::move(refusal), false, head.verb == Verb::head);
    }
    // A credential of the server's own, sent to a site by mistake, is not the site's to see.
    if (core_->gate().authenticate(head.fields)) head.fields.erase(Field::authorization);
    std::string_view const expect = head.fields[Field::expect];
    if (!expect.empty() && !beast::iequals(expect, "100-continue")) {
        Refusal refusal{Status::expectation_failed, "unsupported expectation"};
        co_return co_await refuse(std::move(refusal), false, head.verb == Verb::head);
    }
    std::optional<BodyParser> body;
    if (head.has_body) {
        parser.body_limit(boost::none);
        body.emplace(std::move(parser));
    }
    HttpReply reply(*this, head.version, head.verb == Verb::head, keep_alive, body ? &*body : nullptr);
    reply.belongs_to(head, head.has_body && head.version >= 11 && !expect.empty());
    in_site_ = true;
    Work work = [&] { return site.handler(reply); };
    bool const more = co_await answer(reply, std::move(work));
    in_site_ = false;
    co_return more;
}

/// Both the whole head and its size limit are settled here, so the parser gets a head in one piece.
base::Task<Connection::Head> Connection::read_head() {
    Head head;
    auto const max = core_->options().max_header_bytes;
    if (buffer_.size() > 0) limit(core_->options().header_limit);
    for (std::size_t from = 0;;) {
        std::string_view const bytes(static_cast<char const*>(buffer_.data().data()), buffer_.size());
        auto const scan = wire::scan_head(bytes, from);
        if (scan.state == wire::Scan::malformed)
            head.refusal.emplace(Refusal{Status::bad_request, "malformed request"});
        else if ((scan.state == wire::Scan::complete ? scan.size : bytes.size()) > max)
            head.refusal.emplace(Refusal{Status::request_header_fields_too_large, "request head too large"});
        else if (scan.state == wire::Scan::complete)
            head.size = scan.size;
        if (head.refusal || head.size > 0) co_return head;
        from = scan.size;
        bool const first = bytes.empty();
        bool const filled = co_await fill(head_step);
        if (!filled) co_return head;
        if (first) limit(core_->options().header_limit);
    }
}

boost::system::result<Connection::Admitted, Refusal> Connection::admit(Fields const& fields, Verb verb,
                                                                       std::string_view path) const {
    bool const local = from_ == From::local;
    if (!local) {
        if (auto refusal = core_->gate().admit(fields)) return std::move(*refusal);
    }
    auto const* routes = core_->router().find(path);
    if (!routes) return Refusal{Status::not_found, "no such path"};
    auto const picked = Router::pick(*routes, verb);
    Admitted admitted;
    auto const access = picked ? (*picked)->access : routes->front().access;
    if (local) {
        admitted.principal.name = "local";
    } else if (access == Access::local) {
        return Refusal{Status::not_found, "no such path"};
    } else if (access == Access::token) {
        auto principal = core_->gate().authenticate(fields);
        if (!principal) return std::move(principal).error();
        admitted.principal = std::move(*principal);
    }
    if (!picked) return picked.error();
    admitted.route = *picked;
    return admitted;
}

base::Task<bool> Connection::proceed() {
    Buffers const line{asio::buffer("HTTP/1.1 100 Continue\r\n\r\n", 25)};
    auto const written = co_await write(line);
    if (!written) gone_ = true;
    co_return written.has_value();
}

base::Task<std::optional<Refusal>> Connection::read_body(Parser& parser) {
    std::optional<Refusal> refusal;
    limit(core_->options().body_limit);
    parser.eager(true);
    bool need_more = buffer_.size() == 0;
    while (!parser.is_done()) {
        if (need_more) {
            // What the parser leaves is part of a chunk's head. No sensible one is that long.
            bool filled = buffer_.size() < body_step;
            if (!filled) {
                refusal.emplace(Refusal{Status::bad_request, "malformed body"});
                co_return refusal;
            }
            filled = co_await fill(body_step);
            if (!filled) {
                gone_ = true;
                co_return refusal;
            }
        }
        boost::system::error_code ec;
        buffer_.consume(parser.put(buffer_.data(), ec));
        need_more = ec == beast::http::error::need_more || (!ec && buffer_.size() == 0);
        if (ec == beast::http::error::body_limit)
            refusal.emplace(Refusal{Status::payload_too_large, "body too large"});
        else if (ec && ec != beast::http::error::need_more)
            refusal.emplace(Refusal{Status::bad_request, "malformed body"});
        if (refusal) co_return refusal;
    }
    co_return refusal;
}

base::Task<base::Result<std::string>> Connection::receive(BodyParser& parser) {
    std::string piece(body_step, '\0');
    auto& body = parser.get().body();
    body.data = piece.data();
    body.size = piece.size();
    auto const gone = base::error(base::errc::cancelled, "the client is gone");
    parser.eager(true);
    // What the client does with its sending side is the body's matter for so long.
    struct Receiving {
        explicit Receiving(Connection& c) : connection(c) {
            c.phase_ = Phase::body;
            c.limit(c.core_->options().body_limit);
        }
        ~Receiving() {
            connection.phase_ = Phase::handler;
            connection.deadline_ = base::Clock::time_point::max();
        }
        Connection& connection;
    } const receiving(*this);
    bool need_more = buffer_.size() == 0;
    // Until something came: a piece is handed on when it is there, not when it is full.
    while (!parser.is_done() && body.size == piece.size()) {
        if (need_more) {
            if (buffer_.size() >= body_step) co_return base::error(base::errc::invalid, "malformed body");
            auto const count = co_await stream_.read_some(buffer_.prepare(body_step));
            // A site may stop receiving while it goes on answering.
            bool const stopped = !count && count.error().code == asio::error::operation_aborted;
            bool const came = count && *count > 0;
            if (!came && !stopped) gone_ = true;
            if (!came || gone_) co_return gone;
            buffer_.commit(*count);
        }
        boost::system::error_code ec;
        buffer_.consume(parser.put(buffer_.data(), ec));
        if (ec == beast::http::error::need_buffer) break;
        need_more = ec == beast::http::error::need_more || (!ec && buffer_.size() == 0);
        if (ec == beast::http::error::body_limit)
            co_return base::error(base::errc::limit, "the body is larger than allowed");
        if (ec && ec != beast::http::error::need_more)
            co_return base::error(base::errc::invalid, "malformed body");
    }
    piece.resize(piece.size() - body.size);
    co_return piece;
}

base::Task<bool> Connection::invoke(Work work) {
    try {
        auto task = work();
        co_await std::move(task);
        co_return true;
    } catch (...) {  // the border: the client gets a 500 without detail, the handler logs its own
        co_return false;
    }
}

base::Task<bool> Connection::answer(HttpReply& reply, Work work) {
    deadline_ = base::Clock::time_point::max();  // a handler's time is its own matter
    phase_ = Phase::handler;
    auto executor = co_await asio::this_coro::executor;
    auto task = invoke(std::move(work));
    bool const returned = co_await asio::co_spawn(
        executor, std::move(task), asio::bind_cancellation_slot(cancel_.slot(), asio::use_awaitable));
    cancel_.slot().clear();
    phase_ = Phase::body;
    if (gone_) co_return false;
    if (!reply.begun()) {
        Refusal refusal{Status::internal_server_error, "internal error"};
        if (core_->stopping()) refusal = Refusal{Status::service_unavailable, "the server is stopping"};
        co_return co_await refuse(std::move(refusal), false, reply.head_only());
    }
    // An answer that was cut short must not look complete, so its connection ends without the last chunk.
    co_return returned&& reply.complete() && reply.keep_alive();
}

base::Task<bool> Connection::refuse(Refusal refusal, bool keep_alive, bool head_only) {
    Fields fields;
    fields.set(Field::content_type, "application/json");
    if (!refusal.allow.empty()) fields.set(Field::allow, refusal.allow);
    if (refusal.status == Status::unauthorized) fields.set(Field::www_authenticate, "Bearer");
    keep_alive = keep_alive && !core_->stopping();
    deadline_ = base::Clock::time_point::max();  // from here on, write_limit counts
    std::string const body = std::string("{\"error\":\"") + refusal.text + "\"}";
    auto head = wire::head(refusal.status, fields, wire::Framing::length, body.size(), keep_alive);
    if (!head) co_return false;
    if (!head_only) *head += body;
    Buffers const bytes{asio::buffer(*head)};
    auto const written = co_await write(bytes);
    if (!written) gone_ = true;
    co_return written&& keep_alive;
}

/// Closing with unread input makes the kernel send a reset, which can destroy the answer on its way. So read
/// on for a little.
base::Task<void> Connection::say_goodbye() {
    phase_ = Phase::goodbye;
    limit(goodbye_limit);
    co_await stream_.end_writing();
    if (core_->stopping() || stream_.is_tls()) co_return;
    for (std::size_t read = buffer_.size(); read < goodbye_bytes;) {
        buffer_.clear();
        bool const filled = co_await fill(body_step);
        if (!filled) co_return;
        read += buffer_.size();
    }
}

/// False at the end of input, and when the connection was abandoned meanwhile.
base::Task<bool> Connection::fill(std::size_t size) {
    auto const count = co_await stream_.read_some(buffer_.prepare(size));
    if (!count || gone_) co_return false;
    buffer_.commit(*count);
    co_return *count > 0;
}

base::Task<base::Status> Connection::write(Buffers buffers) {
    if (gone_) co_return base::error(base::errc::cancelled, "the client is gone");
    while (asio::buffer_size(buffers) > 0) {
        write_deadline_ = base::Clock::now() + core_->options().write_limit;
        auto const count = co_await stream_.write_some(buffers);
        if (!count) {
            write_deadline_ = base::Clock::time_point::max();
            co_return count.error();
        }
        std::size_t left = *count;
        for (auto& buffer : buffers) {
            auto const part = std::min(left, buffer.size());
            buffer += part;
            left -= part;
        }
    }
    write_deadline_ = base::Clock::time_point::max();
    co_return base::Status();
}

/// What a connection is after an upgrade. Holds no reference of its own: the handler that has it ends first.
class Tunnel final : public base::ByteStream {
  public:
    explicit Tunnel(Connection& connection) : connection_(connection) {}

    base::Task<base::Result<std::size_t>> read_some(asio::mutable_buffer buffer) override {
        auto& early = connection_.buffer_;
        if (early.size() > 0) {  // sent behind the request
            auto const n = asio::buffer_copy(buffer, early.data());
            early.consume(n);
            co_return n;
        }
        auto const count = co_await connection_.stream_.read_some(buffer);
        bool const ended = !count && count.error().code == asio::error::eof;
        if (ended) co_return std::size_t{0};
        co_return count;
    }
    base::Task<base::Status> write(asio::const_buffer buffer) override {
        Connection::Buffers const buffers{buffer};
        co_return co_await connection_.write(buffers);
    }
    void shutdown_write() override {
        boost::system::error_code ignored;
        if (!connection_.stream_.is_tls())
            connection_.stream_.socket().shutdown(asio::socket_base::shutdown_send, ignored);
    }
    void close() override {
        connection_.gone_ = true;
        connection_.stream_.close();
    }

  private:
    Connection& connection_;
};

std::unique_ptr<base::ByteStream> Connection::tunnel() {
    phase_ = Phase::tunnel;
    return std::make_unique<Tunnel>(*this);
}

}  // namespace http
