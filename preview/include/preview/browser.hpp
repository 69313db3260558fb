#pragma once
#include <base/asio.hpp>
#include <base/blocking.hpp>
#include <base/result.hpp>
#include <http/site.hpp>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace preview {

/// A line of the page's console, or an exception that nobody caught.
struct Said {
    std::string level;        ///< error, warning
    std::string text, where;  ///< where: "/src/main.jsx:12"
};

struct FailedRequest {
    std::string method, url, reason;  ///< reason: "404", or the browser's words
};

struct Picture {
    std::string type, bytes;  ///< image/png or image/jpeg
    unsigned width = 0, height = 0;
};

/// What a browser made of a page. All texts are the page's own: bounded, UTF-8, and to be believed as far as
/// the page is.
struct Sight {
    std::string url, title, text;  ///< text: what it shows, its beginning
    std::vector<Said> console;     ///< errors and warnings
    std::vector<Said> exceptions;
    std::vector<FailedRequest> failed;
    std::vector<std::string> notes;  ///< what kept it from loading, or from being looked at whole
    bool loaded = false;
    std::optional<Picture> picture;
};

/// This machine's Chromium, started anew for each page in a jail (sandbox/jail.hpp) that reaches one listener
/// of ours, on which nothing but the given site answers. One page at a time; a few wait. Threads: the I/O
/// thread.
class Browser {
  public:
    struct Options {
        std::string directory;     ///< names the jail's control group
        std::string jail_program;  ///< the installed berth-jail
        std::string program;       ///< Chromium itself; "" = there is none
    };
    /// Where distributions put Chromium, "" when there is none.
    static std::string find_program();

    Browser(asio::io_context&, base::BlockingPool&, Options);
    ~Browser();

    /// Whether there is a browser at all.
    bool there() const;

    struct Errand {
        std::string url;   ///< http or https
        std::string host;  ///< its host name; every other one does not exist
        std::uint16_t port = 0;
        bool tls = false;
        http::Site site;  ///< what is there
        bool picture = true;
    };
    /// errc::busy: too many wait; errc::unavailable: no browser, or it does not start here; errc::cancelled.
    /// Cancelling ends the browser.
    base::Task<base::Result<Sight>> look(Errand);
    /// Starts it once, for `berth doctor`: its version.
    base::Task<base::Result<std::string>> version();
    /// At start: ends what an earlier server left.
    base::Task<void> sweep();
    /// Ends the one that runs; later ones are refused.
    base::Task<void> stop();

  private:
    struct Impl;
    std::shared_ptr<Impl> impl_;  // shared with the visit that is under way
};

}  // namespace preview
