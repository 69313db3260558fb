#include "check.hpp"

#include <wire.hpp>

#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include <array>
#include <cstdint>
#include <string>

namespace wire = http::wire;
namespace beast = boost::beast;

namespace {

constexpr std::uint64_t kMaxBody = 4096;

// However the bytes arrive, the head ends at the same place.
wire::Scan scan(std::string_view bytes) {
    auto const whole = wire::scan_head(bytes, 0);
    std::size_t from = 0;
    for (std::size_t n = 1; n <= bytes.size(); ++n) {
        auto const part = wire::scan_head(bytes.substr(0, n), from);
        if (part.state == wire::Scan::partial) {
            FUZZ_CHECK(part.size <= n);
            from = part.size;
            continue;
        }
        FUZZ_CHECK(part.state == whole.state);
        FUZZ_CHECK(part.state == wire::Scan::malformed || part.size == whole.size);
        return whole;
    }
    FUZZ_CHECK(whole.state == wire::Scan::partial);
    return whole;
}

/// What a reader takes of `bytes` as the body behind `head`: its contents and its length on the wire.
struct Body {
    std::string contents;
    std::size_t size = 0;
    bool done = false, bad = false;
    bool operator==(Body const&) const = default;
};

Body at_once(std::string_view head, std::string_view bytes) {
    beast::http::request_parser<beast::http::string_body> parser;
    parser.eager(true);
    parser.body_limit(kMaxBody);
    boost::system::error_code ec;
    parser.put(boost::asio::buffer(head), ec);
    Body body;
    while (!ec && !parser.is_done() && body.size < bytes.size()) {
        auto const taken = parser.put(boost::asio::buffer(bytes.substr(body.size)), ec);
        body.size += taken;
        if (taken == 0) break;
    }
    body.bad = ec && ec != beast::http::error::need_more;
    body.done = !body.bad && parser.is_done();
    body.contents = parser.get().body();
    return body;
}

Body piece_by_piece(std::string_view head, std::string_view bytes) {
    beast::http::request_parser<beast::http::buffer_body> parser;
    parser.eager(true);
    parser.body_limit(kMaxBody);
    boost::system::error_code ec;
    parser.put(boost::asio::buffer(head), ec);
    Body body;
    std::array<char, 7> piece;
    while (!parser.is_done()) {
        auto& out = parser.get().body();
        out.data = piece.data();
        out.size = piece.size();
        ec = {};
        auto const taken = parser.put(boost::asio::buffer(bytes.substr(body.size)), ec);
        body.size += taken;
        body.contents.append(piece.data(), piece.size() - out.size);
        bool const moved = taken > 0 || out.size < piece.size();
        if ((ec && ec != beast::http::error::need_more && ec != beast::http::error::need_buffer) || !moved) break;
    }
    body.bad = ec && ec != beast::http::error::need_more && ec != beast::http::error::need_buffer;
    body.done = !body.bad && parser.is_done();
    return body;
}

void request(std::string_view bytes) {
    auto const scanned = scan(bytes);
    if (scanned.state != wire::Scan::complete) return;
    auto const head = bytes.substr(0, scanned.size);
    // One blank line, at the end: nothing in a head can be read as a second request.
    FUZZ_CHECK(head.find("\r\n\r\n") == head.size() - 4);
    for (auto at = head.find('\n'); at != head.npos; at = head.find('\n', at + 1)) FUZZ_CHECK(head[at - 1] == '\r');

    beast::http::request_parser<beast::http::string_body> parser;
    parser.header_limit(static_cast<std::uint32_t>(head.size() + 1));
    boost::system::error_code ec;
    parser.put(boost::asio::buffer(head), ec);
    if (ec || !parser.is_header_done()) return;
    auto const& message = parser.get();
    std::string_view const target = message.target();
    if (wire::framing_fault(message, message.version(), target)) return;
    using Field = beast::http::field;
    FUZZ_CHECK(target.starts_with('/'));
    FUZZ_CHECK(message.count(Field::host) <= 1 && message.count(Field::content_length) <= 1);
    FUZZ_CHECK(!(message.count(Field::content_length) && message.count(Field::transfer_encoding)));
    if (parser.is_done()) return;

    auto const rest = bytes.substr(scanned.size);
    auto const whole = at_once(head, rest);
    FUZZ_CHECK(whole.size <= rest.size() && whole.contents.size() <= kMaxBody);
    auto const pieces = piece_by_piece(head, rest);
    // Both ways of reading end the body at the same byte, so what follows is the same next request.
    FUZZ_CHECK(pieces.done == whole.done);
    if (whole.done) FUZZ_CHECK(pieces == whole);
}

// No field of an answer can end its line, let alone the head.
void answer(std::string_view bytes) {
    http::Fields fields;
    auto const colon = bytes.find(':');
    if (colon == bytes.npos || colon > 256 || bytes.size() > 4096) return;
    fields.insert("X-Test", bytes.substr(colon + 1));
    auto const head = wire::head(http::Status::ok, fields, wire::Framing::length, 5, true);
    if (!head) return;
    FUZZ_CHECK(head->find("\r\n\r\n") == head->size() - 4);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    std::string_view const bytes(reinterpret_cast<char const*>(data), size);
    request(bytes);
    answer(bytes);
    return 0;
}
