#pragma once
#include <base/json.hpp>
#include <http/site.hpp>
#include <registry/registry.hpp>

#include <map>
#include <memory>
#include <preview/backend.hpp>
#include <preview/browser.hpp>
#include <string>
#include <vector>

namespace preview {

using base::Result;
using base::Status;
using base::Task;

enum class Access { by_link, open };  ///< "private" and "public" for users

/// What keeps a workspace awake while it is open, beside the wait for an answer, which always does.
enum class KeepAwake {
    traffic,   ///< answers and sockets
    requests,  ///< answers; WebSockets do not, and wake nothing
    never,     ///< neither
};

struct Options {
    bool allow_public = true;
    KeepAwake keep_awake = KeepAwake::traffic;
    std::vector<std::string> domains;  ///< that previews may be given: "shop.example.com", "*.apps.example.com"
    int max_per_visitor = 256;  ///< requests and sockets at once, of one address
    int max_per_preview = 512;
    int max_per_node = 2048;
    int max_held_per_workspace = 64;  ///< requests that wait for a workspace to wake
    int max_held = 512;
    base::milliseconds wake_limit{60'000};
    base::milliseconds answer_limit{600'000};  ///< to the first byte of an answer
    base::milliseconds silence_limit{
        3'600'000};  ///< no byte in either direction ends a socket or an endless answer
    /// A request waits so long for the port of a program that just began, and a page about a silent port tries again by
    /// itself until the newest command is so old: installing may come first.
    base::milliseconds starting_limit{5'000}, starting_page_limit{600'000};
};

struct LinkRequest {
    std::string workspace;  ///< id or name
    int port = 0;
    std::string path = "/";
    std::optional<Access> access;  ///< nullopt: as it is; private at first, and once it was revoked or has ended
    std::chrono::seconds expires{3600};
    /// Path prefixes that other ports of the workspace answer: {"/api", 8000}. Replaces earlier ones when
    /// given.
    std::optional<std::map<std::string, int>> rules;
    std::string domain;  ///< a name for this preview beside its own, until it is revoked; "" = as it is
};

struct Link {
    std::string preview_id, workspace;
    int port = 0;
    std::string url;     ///< a private one holds its credential
    std::string origin;  ///< "http://5173-ws-x.localhost:7777", or of its domain
    std::string token;   ///< for programs, in Berth-Preview-Token or as a bearer token; "" when public
    Access access{};
    std::int64_t expires_ms = 0;  ///< Unix time
};

struct View {
    std::string preview_id, workspace, origin;
    int port = 0;
    Access access{};
    std::map<std::string, int> rules;
    std::int64_t created_ms = 0, expires_ms = 0;  ///< expires_ms: of the last link that was given
    bool revoked = false;
    int open = 0;                ///< requests and sockets at this moment
    std::uint64_t requests = 0;  ///< since the server started
};

struct LogEntry {
    std::int64_t at_ms = 0;
    std::string visitor, method, path;     ///< path without its query
    unsigned status = 0;                   ///< 0: it ended before an answer began
    std::string by;                        ///< public, link, token, cookie, or why it was refused
    std::uint64_t sent = 0, received = 0;  ///< bytes of bodies, as the visitor sees them
    std::int64_t took_ms = 0;
    bool socket = false;
};

/// How a port looks from outside.
struct Readiness {
    bool awake = false;  ///< false: asleep, and left so; the first request wakes it
    bool ready = false;
    unsigned status = 0;  ///< of the answer, when one was waited for
    std::vector<Listener> listening;
    std::string hint;  ///< what to do when it is not ready
};

/// What a visitor gets at a path.
struct Visit {
    unsigned status = 0;
    std::string type, location, body;  ///< body: its beginning, at most 256 KiB
    bool cut = false;
};

/// The previews of a node: records, links, and the site that answers on their names.
/// Threads: the I/O thread. Lifetime: outlives the http::Server that its site was given to.
class Previews {
  public:
    Previews(asio::io_context&, registry::Registry&, Backend&, Options);
    ~Previews();
    /// At start: what was recorded, and the key of the links.
    Task<Status> open();
    /// "https://preview.example.com": where visitors reach this server. errc::invalid. Before the first link.
    Status reached_at(std::string const& url);

    /// Recorded once it returns. errc::not_found: no such workspace; errc::denied: public is not allowed
    /// here, or the domain is not; errc::exists: another preview has the domain; errc::invalid: a port, path or rule;
    /// errc::unavailable: there is no listener.
    Task<Result<Link>> link(std::string owner, LinkRequest request);
    /// Newest first; of one workspace or, with "", of all.
    std::vector<View> list(std::string const& owner, std::string const& workspace) const;
    /// The newest requests that ended, the newest last, as far as they are kept in memory.
    std::vector<LogEntry> log(std::string const& preview_id, std::size_t newest) const;
    /// All links, cookies and tokens are void once it returns, open sockets are ended and domains free. `port` 0: all of
    /// the workspace's. How many there were.
    Task<Result<int>> revoke(std::string owner, std::string workspace, int port);

    /// With `wait`, wakes it and waits until the port answers; without, only looks at one that is awake.
    /// `port` 0 looks for the likeliest and puts it there. What is looked at is the port that answers at `path`, by `rules` when
    /// they are given and else by those that the preview has.
    Task<Result<Readiness>> look(std::string owner, std::string workspace, int& port, std::string path,
                                 base::milliseconds wait, std::optional<std::map<std::string, int>> rules);
    /// A link for a visit of our own: good for a minute, and nothing is recorded unless the port has no
    /// preview yet (a revoked one is private again then). errc as `link`.
    Task<Result<Link>> pass(std::string owner, std::string workspace, int port);
    /// A GET as a visitor with this link would send it, through gate and proxy.
    Task<Result<Visit>> visit(Link const& link, std::string path, base::milliseconds limit);

    /// The same path as a browser shows it. Nothing but this workspace's previews can be reached from there, behind their gate.
    Task<Result<Sight>> see(Browser&, Link const& link, std::string path, bool picture);

    http::Site site();            ///< for http::Server::add_site; refers to this object
    std::string metrics() const;  ///< Prometheus text
    /// Ends what is open.
    void stop();

  private:
    struct Impl;
    std::shared_ptr<Impl> impl_;
};

}  // namespace preview
