#include "request.hpp"

#include "address.hpp"

#include <algorithm>
#include <charconv>
#include <vector>

namespace sandbox::egress {
namespace {

base::Error bad(std::string what) { return base::error(base::errc::invalid, std::move(what)); }

bool is_token(std::string_view s) {
    return !s.empty() && std::all_of(s.begin(), s.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
    });
}

std::string lower(std::string_view s) {
    std::string out(s);
    for (char& c : out)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
    return out;
}

std::string_view trim(std::string_view s) {
    while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
    while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
    return s;
}

template <class Number>
bool whole_number(std::string_view s, Number& n) {
    if (s.empty() || s.front() < '0' || s.front() > '9') return false;
    auto const [end, ec] = std::from_chars(s.data(), s.data() + s.size(), n);
    return ec == std::errc{} && end == s.data() + s.size();
}

// "host:port", "host" or the same with an IPv6 literal in brackets.
bool split_authority(std::string_view s, Request& r) {
    std::string_view host = s;
    auto const bracket = s.rfind(']');
    auto const colon = s.rfind(':');
    if (colon != s.npos && (bracket == s.npos || colon > bracket)) {
        if (!whole_number(s.substr(colon + 1), r.port) || r.port < 1 || r.port > 65535) return false;
        host = s.substr(0, colon);
    }
    // An IPv6 literal stands in brackets here; a second colon outside of them means something else.
    if (!host.starts_with('[') && host.find(':') != host.npos) return false;
    r.host = canonical_name(host);
    if (r.host.empty()) r.host = canonical_literal(host);
    return !r.host.empty();
}

struct Field {
    std::string name;    // lower case
    std::string_view raw_name, value;
};

base::Result<std::vector<Field>> split_fields(std::string_view rest) {
    std::vector<Field> fields;
    while (!rest.empty()) {
        auto const end = rest.find("\r\n");
        auto const line = rest.substr(0, end);
        rest.remove_prefix(end + 2);
        if (line.empty()) break;
        auto const colon = line.find(':');
        auto const name = line.substr(0, colon);
        // A name that is no token covers folded lines and "Name : value" too.
        if (colon == line.npos || !is_token(name)) return bad("the request has a malformed header line");
        fields.push_back({lower(name), name, trim(line.substr(colon + 1))});
    }
    return fields;
}

// Fields that speak of one connection only (RFC 9110, section 7.6.1), and those that the proxy writes itself.
bool is_hop_by_hop(std::string const& name, std::string const& named_in_connection) {
    static constexpr std::string_view kNames[] = {"connection", "keep-alive", "te",     "trailer",
                                                  "upgrade",    "host",       "http2-settings"};
    if (name.starts_with("proxy-") || std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames)) return true;
    // The framing of the body cannot be taken away by naming it.
    if (name == "transfer-encoding" || name == "content-length") return false;
    return named_in_connection.find("," + name + ",") != std::string::npos;
}

base::Status read_framing(std::vector<Field> const& fields, bool http_1_0, Request& r) {
    int lengths = 0, encodings = 0;
    for (auto const& f : fields) {
        if (f.name == "content-length") {
            if (++lengths > 1 || !whole_number(f.value, r.content_length))
                return bad("the request has a malformed Content-Length");
        } else if (f.name == "transfer-encoding") {
            if (++encodings > 1 || http_1_0 || lower(f.value) != "chunked")
                return bad("the request has a Transfer-Encoding other than chunked");
            r.chunked = true;
        }
    }
    if (lengths && encodings) return bad("the request has both Content-Length and Transfer-Encoding");
    return {};
}

}  // namespace

base::Result<Request> parse_request(std::string_view head) {
    if (head.size() > kMaxHead || !head.ends_with("\r\n\r\n")) return bad("the request's head is incomplete or too long");
    for (std::size_t i = 0; i < head.size(); ++i) {
        auto const c = static_cast<unsigned char>(head[i]);
        bool const pair = (c == '\r' && head[i + 1] == '\n') || (c == '\n' && i > 0 && head[i - 1] == '\r');
        if ((c < 0x20 && c != '\t' && !pair) || c == 0x7F) return bad("the request's head has control characters");
    }
    auto const line_end = head.find("\r\n");
    auto const line = head.substr(0, line_end);
    auto const first = line.find(' '), last = line.rfind(' ');
    if (first == line.npos || first == last) return bad("the request line is malformed");
    auto const method = line.substr(0, first), target = line.substr(first + 1, last - first - 1), version = line.substr(last + 1);
    bool const visible = std::all_of(target.begin(), target.end(), [](char c) { return c > 0x20 && c < 0x7F; });
    if (!is_token(method) || target.empty() || !visible || (version != "HTTP/1.1" && version != "HTTP/1.0"))
        return bad("the request line is malformed");

    auto fields = split_fields(head.substr(line_end + 2));
    if (!fields) return fields.error();
    Request r;
    if (auto s = read_framing(*fields, version == "HTTP/1.0", r); !s) return s.error();

    if (method == "CONNECT") {
        r.connect = true;
        if (!split_authority(target, r) || r.port == 0) return bad("CONNECT needs host:port");
        if (r.chunked || r.content_length) return bad("CONNECT has no body");
        return r;
    }
    constexpr std::string_view kScheme = "http://";
    if (lower(target.substr(0, 8)) == "https://") return bad("https goes through CONNECT");
    if (lower(target.substr(0, kScheme.size())) != kScheme)
        return bad("this is a proxy: it needs a target such as http://example.com/");
    auto rest = target.substr(kScheme.size());
    auto const slash = std::min(rest.find_first_of("/?#"), rest.size());
    auto const authority = rest.substr(0, slash);
    rest.remove_prefix(slash);
    if (rest.find('#') != rest.npos || authority.find('@') != authority.npos || !split_authority(authority, r))
        return bad("the target is malformed");
    bool const default_port = r.port == 0 || r.port == 80;
    if (r.port == 0) r.port = 80;

    std::string named = ",";
    for (auto const& f : *fields)
        if (f.name == "connection")
            for (char c : lower(f.value) + ",")
                if (c != ' ' && c != '\t') named += c;
    r.head = std::string(method) + " " + (rest.starts_with('/') ? "" : "/") + std::string(rest) + " HTTP/1.1\r\n";
    // The server is told the host that was checked, whatever the program's own Host field says.
    bool const v6 = r.host.find(':') != r.host.npos;
    r.head += "Host: " + (v6 ? "[" + r.host + "]" : r.host) + (default_port ? "" : ":" + std::to_string(r.port)) + "\r\n";
    for (auto const& f : *fields)
        if (!is_hop_by_hop(f.name, named)) r.head += std::string(f.raw_name) + ": " + std::string(f.value) + "\r\n";
    r.head += "Connection: close\r\n\r\n";
    return r;
}

std::size_t Body::take(std::string_view bytes) {
    std::size_t taken = 0;
    while (!done_ && !bad_ && taken < bytes.size()) {
        if (!chunked_ || state_ == State::data) {
            auto const n = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size() - taken));
            taken += n;
            left_ -= n;
            if (left_ > 0) continue;
            if (chunked_) state_ = State::data_cr;
            else done_ = true;
            continue;
        }
        step(bytes[taken]);
        if (!bad_) ++taken;
    }
    return taken;
}

// One byte of the chunked framing (RFC 9112, section 7.1).
void Body::step(char c) {
    auto const expect = [&](char wanted, State next) {
        if (c == wanted) state_ = next;
        else bad_ = true;
    };
    auto const bounded = [&] {
        if (++line_ > kMaxHead || (static_cast<unsigned char>(c) < 0x20 && c != '\t')) bad_ = true;
    };
    switch (state_) {
        case State::size: {
            int const digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
            if (digit >= 0 && digits_ < 15) {
                left_ = left_ * 16 + static_cast<unsigned>(digit);
                ++digits_;
            } else if (digits_ > 0 && c == ';') {
                state_ = State::extension;
            } else if (digits_ > 0 && c == '\r') {
                state_ = State::size_lf;
            } else {
                bad_ = true;
            }
            return;
        }
        case State::extension:
            if (c == '\r') state_ = State::size_lf;
            else bounded();
            return;
        case State::size_lf:
            digits_ = 0;
            return expect('\n', left_ ? State::data : State::trailer);
        case State::data: return;
        case State::data_cr: return expect('\r', State::data_lf);
        case State::data_lf: return expect('\n', State::size);
        case State::trailer:
            if (c == '\r') {
                state_ = State::last_lf;
                return;
            }
            state_ = State::trailer_line;
            return bounded();
        case State::trailer_line:
            if (c == '\r') state_ = State::trailer_lf;
            else bounded();
            return;
        case State::trailer_lf: return expect('\n', State::trailer);
        case State::last_lf:
            if (c == '\n') done_ = true;
            else bad_ = true;
            return;
    }
}

}  // namespace sandbox::egress
