#pragma once
#include <http/server.hpp>

namespace http::wire {

/// What a look at the bytes received so far says about a request's head.
struct Scan {
    enum State { partial, complete, malformed } state = partial;
    std::size_t size = 0;  ///< complete: the head's length; partial: how far the next look can skip
};
/// Beast's parser waits for an empty line that ends in CRLF; a head with bare line feeds would never end for
/// it, and is what request smuggling is made of. `from` is the last answer's `size`.
Scan scan_head(std::string_view bytes, std::size_t from);

/// What the parser lets through and a strict server must not: repeated or unknown framing, and targets that
/// are not a path. The fixed text says what is wrong; null when nothing is.
char const* framing_fault(Fields const&, unsigned version, std::string_view target);

enum class Framing { length, chunked, until_close, none, upgrade };

/// The head of an answer. The connection owns Content-Length, Transfer-Encoding and Connection: the caller's
/// are dropped. A field that would break out of its line is errc::invalid.
base::Result<std::string> head(Status, Fields const&, Framing, std::uint64_t length, bool keep_alive);


/// The head of a request to a server behind us, under the same rules. One with an Upgrade field asks for it on its
/// connection. errc::invalid also for a method or target that would break the line.
base::Result<std::string> request_head(std::string_view method, std::string_view target, Fields const&, Framing,
                                       std::uint64_t length);
/// What no sensible message has, and what would make work of each of them.
bool too_many_fields(Fields const&);
/// What makes an answer's body end in two places at once; null when nothing does.
char const* answer_fault(Fields const&, unsigned version);

}  // namespace http::wire
