#include "reply.hpp"

#include <charconv>

namespace http {
namespace {

constexpr std::size_t join_below = 16 * 1024;  ///< copying less than this is cheaper than a second TLS record

bool forbids_body(Status status) {
    return status == Status::no_content || status == Status::not_modified ||
           static_cast<unsigned>(status) < 200;
}

base::Error misuse() { return base::error(base::errc::internal, "the reply was used out of order"); }

}  // namespace

HttpReply::HttpReply(Connection& connection, unsigned version, bool head_only, bool keep_alive,
                     Connection::BodyParser* body)
    : connection_(connection), version_(version), head_only_(head_only), keep_alive_(keep_alive), body_(body) {}

base::Task<base::Result<std::string>> HttpReply::receive() {
    if (!body_) co_return std::string();
    if (std::exchange(expects_, false) && state_ == State::fresh) {
        bool const told = co_await connection_.proceed();
        if (!told) co_return base::error(base::errc::cancelled, "the client is gone");
    }
    co_return co_await connection_.receive(*body_);
}

base::Task<base::Status> HttpReply::send(Status status, Fields fields, std::string body) {
    if (state_ != State::fresh) co_return misuse();
    auto const framing = forbids_body(status) ? wire::Framing::none : wire::Framing::length;
    auto head = wire::head(status, fields, framing, body.size(), keep_alive());
    if (!head) co_return head.error();
    state_ = State::sending;
    if (head_only_ || framing == wire::Framing::none) body.clear();
    Connection::Buffers buffers{};
    if (body.size() < join_below) {
        *head += body;
        buffers[0] = asio::buffer(*head);
    } else {
        buffers[0] = asio::buffer(*head);
        buffers[1] = asio::buffer(body);
    }
    auto written = co_await connection_.write(buffers);
    if (written) state_ = State::complete;
    co_return written;
}

base::Task<base::Status> HttpReply::begin(Status status, Fields fields, std::optional<std::uint64_t> length) {
    if (state_ != State::fresh) co_return misuse();
    bodiless_ = head_only_ || forbids_body(status);
    auto framing = wire::Framing::chunked;
    if (forbids_body(status))
        framing = wire::Framing::none;
    else if (length)
        framing = wire::Framing::length;
    else if (version_ < 11)
        framing = wire::Framing::until_close;
    if (framing == wire::Framing::until_close) keep_alive_ = false;
    chunked_ = framing == wire::Framing::chunked;
    if (framing == wire::Framing::length && !bodiless_) left_ = length;
    auto const head = wire::head(status, fields, framing, length.value_or(0), keep_alive());
    if (!head) co_return head.error();
    state_ = State::sending;
    Connection::Buffers const buffers{asio::buffer(*head)};
    auto written = co_await connection_.write(buffers);
    if (written) state_ = State::streaming;
    co_return written;
}

base::Task<base::Status> HttpReply::write(std::string bytes) {
    if (state_ != State::streaming) co_return misuse();
    if (bytes.empty() || bodiless_) co_return base::Status();  // an empty chunk would end the body
    Connection::Buffers buffers{};
    std::string frame;
    if (left_) {
        if (bytes.size() > *left_) co_return misuse();
        *left_ -= bytes.size();
    }
    if (!chunked_) {
        buffers[0] = asio::buffer(bytes);
    } else {
        char size[20];
        auto const end = std::to_chars(size, size + sizeof(size), bytes.size(), 16).ptr;
        frame.assign(size, end).append("\r\n");
        if (bytes.size() < join_below) {
            frame.append(bytes).append("\r\n");
            buffers[0] = asio::buffer(frame);
        } else {
            buffers[0] = asio::buffer(frame);
            bytes += "\r\n";
            buffers[1] = asio::buffer(bytes);
        }
    }
    state_ = State::sending;  // stays so when the write is cancelled half-way: the stream is no longer usable
    auto written = co_await connection_.write(buffers);
    if (written) state_ = State::streaming;
    co_return written;
}

base::Task<base::Result<std::unique_ptr<base::ByteStream>>> HttpReply::upgrade(Fields fields) {
    if (state_ != State::fresh) co_return misuse();
    if (version_ < 11 || body_) co_return base::error(base::errc::invalid, "this request cannot be upgraded");
    auto const head = wire::head(Status::switching_protocols, fields, wire::Framing::upgrade, 0, false);
    if (!head) co_return head.error();
    state_ = State::sending;  // stays so: the connection ends with the handler
    Connection::Buffers const buffers{asio::buffer(*head)};
    auto const written = co_await connection_.write(buffers);
    if (!written) co_return written.error();
    co_return connection_.tunnel();
}

base::Task<base::Status> HttpReply::finish() {
    if (state_ != State::streaming) co_return misuse();
    state_ = State::sending;
    if (left_ && *left_ > 0) co_return misuse();  // stays incomplete: the connection ends
    base::Status written;
    if (chunked_ && !bodiless_) {
        Connection::Buffers const last{asio::buffer("0\r\n\r\n", 5)};
        written = co_await connection_.write(last);
    }
    if (written) state_ = State::complete;
    co_return written;
}

}  // namespace http
