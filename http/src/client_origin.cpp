#include "client_connection.hpp"
#include <base/timeout.hpp>

#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>

#include <deque>
#include <map>

namespace http {

/// What the connections of all origins share.
struct Origins::Pool : std::enable_shared_from_this<Pool> {
    Pool(asio::io_context& io, OriginsOptions o)
        : executor(io.get_executor()), options(std::move(o)), sweep(executor) {}

    struct Kept {
        std::unique_ptr<OriginConnection> connection;
        base::Clock::time_point since;
    };

    std::unique_ptr<OriginConnection> take(std::string const& origin);
    void give_back(std::unique_ptr<OriginConnection>);
    void drop_old();
    base::Result<std::shared_ptr<asio::ssl::context>> tls();

    asio::any_io_executor executor;
    OriginsOptions options;
    asio::steady_timer sweep;
    bool sweeping = false, closed = false;
    std::map<std::string, std::deque<Kept>> idle;
    std::shared_ptr<std::size_t> open = std::make_shared<std::size_t>(0);
    std::shared_ptr<asio::ssl::context> context;
};

std::unique_ptr<OriginConnection> Origins::Pool::take(std::string const& origin) {
    auto const it = idle.find(origin);
    if (it == idle.end()) return nullptr;
    auto const oldest = base::Clock::now() - options.idle_limit;
    while (!it->second.empty()) {
        auto kept = std::move(it->second.back());
        it->second.pop_back();
        if (kept.since >= oldest && kept.connection->quiet()) return std::move(kept.connection);
    }
    return nullptr;
}

void Origins::Pool::give_back(std::unique_ptr<OriginConnection> connection) {
    auto& kept = idle[connection->origin];
    if (closed || kept.size() >= options.max_idle_per_origin) return;
    kept.push_back({std::move(connection), base::Clock::now()});
    if (std::exchange(sweeping, true)) return;
    sweep.expires_after(options.idle_limit);
    sweep.async_wait([weak = weak_from_this()](boost::system::error_code ec) {
        auto const self = weak.lock();
        if (!self || ec) return;
        self->sweeping = false;
        self->drop_old();
    });
}

void Origins::Pool::drop_old() {
    auto const oldest = base::Clock::now() - options.idle_limit;
    for (auto it = idle.begin(); it != idle.end();) {
        while (!it->second.empty() && it->second.front().since <= oldest) it->second.pop_front();
        it = it->second.empty() ? idle.erase(it) : std::next(it);
    }
    if (idle.empty() || std::exchange(sweeping, true)) return;
    sweep.expires_after(options.idle_limit);
    sweep.async_wait([weak = weak_from_this()](boost::system::error_code ec) {
        auto const self = weak.lock();
        if (!self || ec) return;
        self->sweeping = false;
        self->drop_old();
    });
}

base::Result<std::shared_ptr<asio::ssl::context>> Origins::Pool::tls() {
    if (context) return context;
    auto made = make_client_tls(options.ca_file);
    if (made) context = *made;
    return made;
}

namespace {

constexpr std::size_t kPiece = 64 * 1024;

using OriginParser = beast::http::response_parser<beast::http::buffer_body>;

base::Error not_http(OriginConnection const& connection, boost::system::error_code ec) {
    if (ec == beast::http::error::header_limit)
        return base::error(base::errc::limit, connection.origin + " answered with a head that is too large");
    return base::error(base::errc::invalid, connection.origin + " answered with malformed HTTP");
}

base::Result<std::string> request_text(OriginRequest const& request) {
    constexpr std::string_view breakers("\r\n\0", 3);
    std::string out(beast::http::to_string(request.verb));
    out.append(" ")
        .append(request.url.target)
        .append(" HTTP/1.1\r\nHost: ")
        .append(request.url.authority())
        .append("\r\n");
    for (auto const& field : request.fields) {
        auto const name = field.name();
        if (name == beast::http::field::host || name == beast::http::field::content_length ||
            name == beast::http::field::transfer_encoding || name == beast::http::field::connection)
            continue;
        std::string_view const label = field.name_string(), value = field.value();
        if (label.find_first_of(breakers) != label.npos || value.find_first_of(breakers) != value.npos)
            return base::error(base::errc::invalid, "a request field holds a line break");
        out.append(label).append(": ").append(value).append("\r\n");
    }
    if (!request.body.empty() || request.verb == beast::http::verb::post)
        out.append("Content-Length: ").append(std::to_string(request.body.size())).append("\r\n");
    return out.append("\r\n").append(request.body);
}

template <class Pool>
class PooledAnswer final : public OriginAnswer {
  public:
    PooledAnswer(std::shared_ptr<Pool> pool, std::unique_ptr<OriginConnection> connection)
        : pool_(std::move(pool)), connection_(std::move(connection)) {}
    ~PooledAnswer() override {
        if (reusable_) pool_->give_back(std::move(connection_));
    }

    base::Task<base::Result<bool>> read_head() {
        for (int informational = 0;; ++informational) {
            parser_.emplace();
            parser_->header_limit(static_cast<std::uint32_t>(pool_->options.max_header_bytes));
            parser_->body_limit(boost::none);
            while (!parser_->is_header_done()) {
                boost::system::error_code ec;
                if (connection_->buffer.size() > 0)
                    connection_->buffer.consume(parser_->put(connection_->buffer.data(), ec));
                if (ec && ec != beast::http::error::need_more) co_return not_http(*connection_, ec);
                if (parser_->is_header_done()) break;
                if (connection_->buffer.size() > pool_->options.max_header_bytes)
                    co_return not_http(*connection_, beast::http::error::header_limit);
                auto filled = co_await connection_->fill(kPiece);
                if (!filled) co_return filled.error();
                if (*filled == 0)
                    co_return base::error(base::errc::unavailable,
                                          connection_->origin + " closed without an answer");
            }
            status = parser_->get().result_int();
            // 100 and 103 may precede the answer (RFC 9110, 15.2); nobody asked for a 101.
            if (status >= 200) break;
            if (status == 101 || informational >= 4)
                co_return not_http(*connection_, beast::http::error::bad_status);
        }
        auto& message = parser_->get();
        if (message.count(beast::http::field::content_length) > 1 ||
            (message.count(beast::http::field::transfer_encoding) > 0 &&
             message.count(beast::http::field::content_length) > 0))
            co_return not_http(*connection_, beast::http::error::bad_content_length);
        fields = message.base();
        if (parser_->is_done()) finish();
        co_return true;
    }

    base::Task<base::Result<std::string>> receive(base::milliseconds silence) override {
        if (done_) co_return std::string();
        auto reading = receive_piece();
        co_return co_await base::with_timeout(std::move(reading), silence,
                                              connection_->origin + " went silent");
    }

  private:
    base::Task<base::Result<std::string>> receive_piece() {
        std::string piece(kPiece, '\0');
        auto& body = parser_->get().body();
        body.data = piece.data();
        body.size = piece.size();
        body.more = true;
        parser_->eager(true);
        bool need_more = connection_->buffer.size() == 0;
        while (!parser_->is_done() && body.size == piece.size()) {
            boost::system::error_code ec;
            if (need_more) {
                if (connection_->buffer.size() >= kPiece)
                    co_return not_http(*connection_, beast::http::error::bad_chunk);
                auto filled = co_await connection_->fill(kPiece);
                if (!filled) co_return filled.error();
                if (*filled == 0) {
                    parser_->put_eof(ec);
                    if (ec || !parser_->is_done())
                        co_return base::error(base::errc::unavailable,
                                              connection_->origin + " closed in the middle of an answer");
                    ended_by_close_ = true;
                    break;
                }
            }
            connection_->buffer.consume(parser_->put(connection_->buffer.data(), ec));
            if (ec == beast::http::error::need_buffer) break;
            need_more = ec == beast::http::error::need_more || (!ec && connection_->buffer.size() == 0);
            if (ec && ec != beast::http::error::need_more) co_return not_http(*connection_, ec);
        }
        piece.resize(piece.size() - body.size);
        if (parser_->is_done()) finish();
        if (piece.empty() && !done_) co_return not_http(*connection_, beast::http::error::bad_chunk);
        co_return piece;
    }

    void finish() {
        done_ = true;
        reusable_ = !ended_by_close_ && parser_->keep_alive() && connection_->buffer.size() == 0;
    }

    std::shared_ptr<Pool> pool_;
    std::unique_ptr<OriginConnection> connection_;
    std::optional<OriginParser> parser_;
    bool done_ = false, reusable_ = false, ended_by_close_ = false;
};

}  // namespace

std::string_view OriginAnswer::field(std::string_view name) const {
    auto const it = fields.find(name);
    if (it == fields.end()) return {};
    return {it->value().data(), it->value().size()};
}

base::Task<base::Result<std::string>> OriginAnswer::all(std::size_t max_bytes, base::milliseconds silence) {
    std::string out;
    for (;;) {
        auto piece = co_await receive(silence);
        if (!piece) co_return piece;
        if (piece->empty()) co_return out;
        if (out.size() + piece->size() > max_bytes)
            co_return base::error(base::errc::limit,
                                  "the answer is larger than " + std::to_string(max_bytes) + " bytes");
        out += *piece;
    }
}

Origins::Origins(asio::io_context& io, OriginsOptions options)
    : pool_(std::make_shared<Pool>(io, std::move(options))) {}

Origins::~Origins() {
    pool_->closed = true;
    pool_->idle.clear();
    pool_->sweep.cancel();
}

std::size_t Origins::connections() const { return *pool_->open; }

base::Task<base::Result<std::unique_ptr<OriginAnswer>>> Origins::send(OriginRequest request,
                                                                      base::milliseconds head_limit,
                                                                      bool* sent) {
    auto const pool = pool_;
    auto text = request_text(request);
    if (!text) co_return text.error();
    auto const origin = request.url.origin();
    auto connection = pool->take(origin);
    if (!connection) {
        if (*pool->open >= pool->options.max_connections)
            co_return base::error(base::errc::busy, "too many connections are open (" +
                                                        std::to_string(pool->options.max_connections) + ")");
        std::shared_ptr<asio::ssl::context> context;
        if (request.url.tls) {
            auto tls = pool->tls();
            if (!tls) co_return tls.error();
            context = *tls;
        }
        connection =
            std::make_unique<OriginConnection>(pool->executor, origin, std::move(context), pool->open);
        auto opening = connection->open(request.url, pool->options.may_dial);
        auto opened = co_await base::with_timeout(std::move(opening), pool->options.connect_limit,
                                                  "connect to " + origin);
        if (!opened) co_return opened.error();
    }
    if (sent) *sent = true;
    auto writing = connection->write(std::move(*text));
    auto written =
        co_await base::with_timeout(std::move(writing), pool->options.write_limit, "send to " + origin);
    if (!written) co_return written.error();
    auto answer = std::make_unique<PooledAnswer<Pool>>(pool, std::move(connection));
    auto reading = answer->read_head();
    auto head =
        co_await base::with_timeout(std::move(reading), head_limit, "wait for an answer of " + origin);
    if (!head) co_return head.error();
    std::unique_ptr<OriginAnswer> out = std::move(answer);
    co_return out;
}

}  // namespace http
