#pragma once
#include <base/result.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace sandbox::egress {

inline constexpr std::size_t kMaxHead = 32 * 1024;

/// What a program inside asked the proxy for.
struct Request {
    bool connect = false;           ///< a tunnel; else one exchange in plain HTTP
    std::string host;               ///< canonical, without brackets
    int port = 0;
    std::string head;               ///< of a plain request, as it goes to the server: origin form, hop-by-hop fields gone
    bool chunked = false;
    std::uint64_t content_length = 0;
};

/// A whole head up to and with its empty line. Strict, because two readers of one request must not differ (RFC 9112,
/// section 11.2): CRLF only, no folding, one Content-Length or one "Transfer-Encoding: chunked" but never both.
/// errc::invalid with a sentence for the program inside.
base::Result<Request> parse_request(std::string_view head);

/// Finds the end of a request's body in the bytes that pass, so that nothing after it reaches the server.
class Body {
  public:
    explicit Body(Request const& r) : chunked_(r.chunked), left_(r.content_length), done_(!r.chunked && r.content_length == 0) {}
    /// How many of these bytes belong to the body. Fewer than all only at its end, or when `bad` became true.
    std::size_t take(std::string_view bytes);
    bool done() const { return done_; }
    bool bad() const { return bad_; }

  private:
    enum class State { size, extension, size_lf, data, data_cr, data_lf, trailer, trailer_line, trailer_lf, last_lf };
    void step(char c);

    bool chunked_;
    std::uint64_t left_ = 0;
    bool done_ = false, bad_ = false;
    State state_ = State::size;
    int digits_ = 0;
    std::size_t line_ = 0;          ///< bytes of extensions and trailers, which are bounded as the head is
};

}  // namespace sandbox::egress
