#include <http/client.hpp>

#include "wire.hpp"

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>

#include <charconv>

namespace http {
namespace {

using ResponseParser = beast::http::response_parser<beast::http::buffer_body>;

constexpr std::size_t answer_step = 64 * 1024;
constexpr std::size_t join_piece_below = 16 * 1024;  ///< copying less than this is cheaper than a second write

base::Error answer_invalid(std::string what) { return base::error(base::errc::invalid, std::move(what)); }
base::Error closed_early() { return base::error(base::errc::unavailable, "the server closed the connection"); }
base::Error client_misuse() { return base::error(base::errc::internal, "the client was used out of order"); }

/// The stream of an upgraded connection, whose first bytes came with the answer's head.
class EarlyStream final : public base::ByteStream {
  public:
    EarlyStream(std::unique_ptr<base::ByteStream> stream, std::string early)
        : stream_(std::move(stream)), early_(std::move(early)) {}
    base::Task<base::Result<std::size_t>> read_some(asio::mutable_buffer buffer) override {
        if (early_.empty()) co_return co_await stream_->read_some(buffer);
        auto const n = asio::buffer_copy(buffer, asio::buffer(early_));
        early_.erase(0, n);
        co_return n;
    }
    base::Task<base::Status> write(asio::const_buffer buffer) override { return stream_->write(buffer); }
    void shutdown_write() override { stream_->shutdown_write(); }
    void close() override { stream_->close(); }

  private:
    std::unique_ptr<base::ByteStream> stream_;
    std::string early_;
};

}  // namespace

struct ClientConnection::Answer {
    beast::flat_buffer buffer;
    std::optional<ResponseParser> parser;
    bool keep_alive = false;
};

ClientConnection::ClientConnection(std::unique_ptr<base::ByteStream> stream, ClientLimits limits)
    : stream_(std::move(stream)), limits_(limits), answer_(std::make_unique<Answer>()) {}
ClientConnection::~ClientConnection() = default;

void ClientConnection::close() {
    if (stream_) stream_->close();
}

bool ClientConnection::reusable() const {
    // Bytes behind an answer answer nothing that was asked.
    return stream_ && !upgraded_ && sent_ && answer_->keep_alive && answer_->parser && answer_->parser->is_done() &&
           answer_->buffer.size() == 0;
}

base::Task<base::Status> ClientConnection::begin(ClientRequest request) {
    if (!sent_ || !stream_ || upgraded_) co_return client_misuse();
    auto framing = wire::Framing::none;
    if (request.has_body) framing = request.length ? wire::Framing::length : wire::Framing::chunked;
    auto const head = wire::request_head(request.method, request.target, request.fields, framing,
                                         request.length.value_or(0));
    if (!head) co_return head.error();
    method_ = std::move(request.method);
    wants_upgrade_ = request.fields.count(beast::http::field::upgrade) > 0;
    chunked_ = framing == wire::Framing::chunked;
    left_ = request.has_body ? request.length : std::nullopt;
    sent_ = !request.has_body;
    answered_ = false;
    answer_->parser.reset();
    answer_->keep_alive = false;
    co_return co_await stream_->write(asio::buffer(*head));
}

base::Task<base::Status> ClientConnection::write(std::string_view piece) {
    if (sent_) co_return client_misuse();
    if (piece.empty()) co_return base::Status();  // an empty chunk would end the body
    if (!chunked_) {
        if (!left_ || piece.size() > *left_) co_return client_misuse();
        *left_ -= piece.size();
        co_return co_await stream_->write(asio::buffer(piece));
    }
    char size[20];
    auto const end = std::to_chars(size, size + sizeof(size), piece.size(), 16).ptr;
    std::string frame(size, end);
    frame += "\r\n";
    bool const joined = piece.size() < join_piece_below;
    if (joined) frame.append(piece).append("\r\n");
    auto written = co_await stream_->write(asio::buffer(frame));
    if (!joined && written) {
        written = co_await stream_->write(asio::buffer(piece));
        if (written) written = co_await stream_->write(asio::buffer("\r\n", 2));
    }
    co_return written;
}

base::Task<base::Status> ClientConnection::finish() {
    if (sent_ || (left_ && *left_ > 0)) co_return client_misuse();
    base::Status written;
    if (chunked_) written = co_await stream_->write(asio::buffer("0\r\n\r\n", 5));
    if (written) sent_ = true;
    co_return written;
}

base::Task<base::Result<std::size_t>> ClientConnection::fill() {
    auto const space = answer_->buffer.prepare(answer_step);
    auto const count = co_await stream_->read_some(space);
    if (!count) co_return count.error();
    answer_->buffer.commit(*count);
    if (*count > 0) answered_ = true;
    co_return *count;
}

base::Task<base::Result<ResponseHead>> ClientConnection::response() {
    auto& buffer = answer_->buffer;
    for (int interim = 0; interim <= limits_.max_interim; ++interim) {
        std::size_t size = 0;
        for (std::size_t from = 0; size == 0;) {
            std::string_view const bytes(static_cast<char const*>(buffer.data().data()), buffer.size());
            auto const scan = wire::scan_head(bytes, from);
            if (scan.state == wire::Scan::malformed) co_return answer_invalid("the answer is not HTTP");
            if ((scan.state == wire::Scan::complete ? scan.size : bytes.size()) > limits_.max_head_bytes)
                co_return base::error(base::errc::limit, "the answer's head is too large");
            if (scan.state == wire::Scan::complete) {
                size = scan.size;
                break;
            }
            from = scan.size;
            auto const count = co_await fill();
            if (!count) co_return count.error();
            if (*count == 0) co_return closed_early();
        }
        auto& parser = answer_->parser.emplace();
        parser.header_limit(static_cast<std::uint32_t>(size + 1));
        parser.body_limit(boost::none);
        if (method_ == "HEAD") parser.skip(true);
        boost::system::error_code ec;
        auto const taken = parser.put(asio::const_buffer(buffer.data().data(), size), ec);
        buffer.consume(taken);
        if (ec || !parser.is_header_done()) co_return answer_invalid("the answer's head is malformed");
        auto& message = parser.get();
        auto const status = message.result_int();
        if (auto const* fault = wire::answer_fault(message, message.version()))
            co_return answer_invalid(std::string("the answer is ambiguous: ") + fault);
        if (status == 101) {
            if (!wants_upgrade_) co_return answer_invalid("the server switched protocols without being asked");
            upgraded_ = true;
        } else if (status < 200) {
            continue;
        }
        ResponseHead head;
        head.status = static_cast<Status>(status);
        head.has_body = !parser.is_done() && !upgraded_;
        if (parser.content_length()) head.length = *parser.content_length();
        // HEAD's is not a body's, and the parser keeps it from itself.
        std::string_view const said = message[beast::http::field::content_length];
        std::uint64_t length = 0;
        if (!head.has_body && !said.empty() &&
            std::from_chars(said.data(), said.data() + said.size(), length).ec == std::errc())
            head.length = length;
        answer_->keep_alive = parser.keep_alive() && !upgraded_;
        head.fields = std::move(static_cast<Fields&>(message.base()));
        head.fields.erase(beast::http::field::content_length);
        head.fields.erase(beast::http::field::transfer_encoding);
        co_return head;
    }
    co_return answer_invalid("too many interim answers");
}

base::Task<base::Result<std::string>> ClientConnection::receive() {
    if (!answer_->parser) co_return client_misuse();
    auto& parser = *answer_->parser;
    auto& buffer = answer_->buffer;
    parser.eager(true);
    std::string piece;
    bool need_more = buffer.size() == 0;
    while (!parser.is_done()) {
        if (need_more) {
            // What the parser leaves is part of a chunk's head. No sensible one is that long.
            if (buffer.size() >= answer_step) co_return answer_invalid("the answer's body is malformed");
            auto const count = co_await fill();
            if (!count) co_return count.error();
            boost::system::error_code ec;
            if (*count == 0) {
                parser.put_eof(ec);
                if (ec) co_return closed_early();
                break;
            }
        }
        piece.resize(std::min(buffer.size(), answer_step));
        auto& body = parser.get().body();
        body.data = piece.data();
        body.size = piece.size();
        body.more = true;
        boost::system::error_code ec;
        buffer.consume(parser.put(buffer.data(), ec));
        piece.resize(piece.size() - body.size);
        bool const wants_more = ec == beast::http::error::need_more || (!ec && buffer.size() == 0);
        if (ec && ec != beast::http::error::need_more && ec != beast::http::error::need_buffer)
            co_return answer_invalid("the answer's body is malformed");
        if (!piece.empty()) co_return piece;
        need_more = wants_more;
    }
    co_return piece;
}

std::unique_ptr<base::ByteStream> ClientConnection::upgraded() {
    if (!upgraded_ || !stream_) return nullptr;
    auto& buffer = answer_->buffer;
    std::string early(static_cast<char const*>(buffer.data().data()), buffer.size());
    return std::make_unique<EarlyStream>(std::move(stream_), std::move(early));
}

base::Task<base::Result<Client::Taken>> Client::take(Connect connect, bool may_reuse) {
    prune();
    Taken taken;
    if (may_reuse && !idle_.empty()) {
        taken.connection = std::move(idle_.back().connection);
        taken.reused = true;
        idle_.pop_back();
        co_return taken;
    }
    auto stream = co_await connect();
    if (!stream) co_return stream.error();
    taken.connection = std::make_shared<ClientConnection>(std::move(*stream), options_.limits);
    co_return taken;
}

void Client::give_back(std::shared_ptr<ClientConnection> connection) {
    if (!connection->reusable() || options_.max_idle == 0) return;
    if (idle_.size() >= options_.max_idle) idle_.pop_front();
    idle_.push_back({std::move(connection), base::Clock::now() + options_.idle_limit});
}

bool Client::prune() {
    auto const now = base::Clock::now();
    while (!idle_.empty() && idle_.front().until <= now) idle_.pop_front();
    return idle_.empty();
}

}  // namespace http
