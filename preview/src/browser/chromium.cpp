#include "chromium.hpp"

#include <unistd.h>

namespace preview {
namespace {

// Programs, not the scripts of their names in /usr/bin, which read settings that are somebody's.
constexpr char const* kPlaces[] = {"/usr/lib/chromium/chromium", "/usr/lib/chromium-browser/chromium-browser",
                                   "/usr/lib64/chromium-browser/chromium-browser"};

constexpr base::milliseconds kLife{25'000};

}  // namespace

std::string Browser::find_program() {
    for (char const* place : kPlaces)
        if (::access(place, X_OK) == 0) return place;
    return "";
}

sandbox::Jail::Prisoner chromium_for(std::string const& program, std::string const& host, std::uint16_t port,
                                     bool tls) {
    sandbox::Jail::Prisoner out;
    out.port = port;
    out.life = kLife;
    out.env = {"HOME=/tmp",
               "TMPDIR=/tmp",
               "XDG_CONFIG_HOME=/tmp/config",
               "XDG_CACHE_HOME=/tmp/cache",
               "XDG_RUNTIME_DIR=/tmp",
               "LANG=C.UTF-8"};
    out.argv = {
        program,
        "--headless",
        "--remote-debugging-pipe",
        "--user-data-dir=/tmp/profile",
        "--window-size=1024,640",
        "--hide-scrollbars",
        "--mute-audio",
        "--no-first-run",
        "--disable-breakpad",
        "--disable-crash-reporter",
        "--disable-extensions",
        "--disable-component-update",
        "--disable-background-networking",
        "--disable-sync",
        "--no-proxy-server",
        // Pictures of three-dimensional scenes too, drawn by the processor.
        "--use-gl=angle",
        "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader",
        // Nothing else has a name: what asks for one is told so at once, instead of running into the wall.
        "--host-resolver-rules=MAP " + host + " 127.0.0.1, MAP * ~NOTFOUND",
    };
    // Nobody else can answer in the jail, so there is nothing to verify.
    if (tls) out.argv.push_back("--ignore-certificate-errors");
    out.argv.push_back("about:blank");
    return out;
}

std::string why_not(std::string const& words) {
    if (words.find("No usable sandbox") != words.npos || words.find("namespace sandbox") != words.npos)
        return "its own sandbox needs user namespaces (user.max_user_namespaces, "
               "kernel.unprivileged_userns_clone, AppArmor), and it is not "
               "started without";
    for (std::size_t at = 0; at < words.size();) {
        auto const end = words.find('\n', at);
        auto const line = words.substr(at, end - at);
        if (line.find("FATAL") != line.npos || line.find("error while loading") != line.npos)
            return line.substr(0, 300);
        if (end == words.npos) break;
        at = end + 1;
    }
    return "";  // what else it says, it says on every machine
}

}  // namespace preview
