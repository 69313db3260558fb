#pragma once
#include <base/byte_stream.hpp>
#include <http/server.hpp>

namespace http {

/// One request as a site gets it: head first, body and answer as streams, and whatever method the client used.
struct RequestHead {
    Verb verb{};                       ///< unknown for methods that have no name here
    std::string method;
    std::string target;                ///< begins with '/'; percent-encoding kept
    Fields fields;                     ///< exactly one Host, at most one Authorization, never the server's own; framing is settled and plays no part any more
    std::string host;                  ///< name in Host, as it was written, without the port
    std::string peer;                  ///< address of the client, without its port; behind a trusted proxy the one it names
    bool tls = false;
    bool has_body = false;
    std::optional<std::uint64_t> length;   ///< of the body; nullopt for a chunked one, and without a body
    unsigned version = 11;
};

/// A request and its answer. Beside Reply's calls, the body may be received while the answer is written: one of either at
/// a time. "100 Continue" is said with the first `receive`.
class Exchange : public Reply {
  public:
    virtual RequestHead const& request() const = 0;    ///< good for the handler's life
    /// Answers 101 with these fields (and "Connection: Upgrade"); the connection then carries the site's bytes until the
    /// handler ends. Only for a request of HTTP/1.1 without a body; errc::invalid otherwise.
    virtual base::Task<base::Result<std::unique_ptr<base::ByteStream>>> upgrade(Fields) = 0;
    /// Ends the client's connection now, and cancels the handler. From outside the handler's coroutine.
    virtual void close() = 0;
};

/// A world of its own on names of its own: chosen by Host before anything else is looked at, so that no route of the
/// server answers there, and no credential of the server counts. Its requests pass no gate: the site has to have one.
struct Site {
    /// Asked for every request with the name in Host, in whatever spelling; true takes it, whether or not it exists.
    std::function<bool(std::string_view host)> serves;
    std::function<base::Task<void>(Exchange&)> handler;
};

}  // namespace http
