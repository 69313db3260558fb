#include "nginx.hpp"

#include "http_connection.hpp"
#include "interrupt.hpp"
#include "stats.hpp"
#include <base/files.hpp>
#include <base/syscalls.hpp>

#include <signal.h>

namespace bench {
namespace {

constexpr base::milliseconds kNginxLife{600'000}, kNginxStop{5'000};
constexpr std::chrono::seconds kNginxStart{10};

std::string configuration(std::string const& directory, std::uint16_t port, std::uint16_t upstream) {
    std::string text = "worker_processes auto;\npid " + directory + "/pid;\nuser root;\n" +
                       "events { worker_connections 1024; }\nhttp {\n    access_log off;\n";
    for (auto const* kind : {"client_body", "proxy", "fastcgi", "uwsgi", "scgi"})
        text += "    " + std::string(kind) + "_temp_path " + directory + "/" + kind + ";\n";
    // 1 MiB and a thousand requests a connection are its defaults, and not what is measured.
    return text + "    client_max_body_size 0;\n    keepalive_requests 1000000;\n" +
           "    upstream program { server 127.0.0.1:" + std::to_string(upstream) +
           "; keepalive 64; keepalive_requests 1000000; }\n" +
           "    server {\n        listen 127.0.0.1:" + std::to_string(port) +
           ";\n        location / {\n            proxy_pass http://program;\n" +
           "            proxy_http_version 1.1;\n            proxy_set_header Connection \"\";\n" +
           "            proxy_set_header Host $host;\n            proxy_request_buffering off;\n        }\n  "
           "  }\n}\n";
}

}  // namespace

Nginx::Nginx(Children& children, std::string const& program, std::string directory, std::uint16_t upstream)
    : directory_(std::move(directory)), port_(free_port()) {
    base::sys::mkdir(directory_, 0700).value();
    auto const file = directory_ + "/nginx.conf";
    base::replace_file(file, configuration(directory_, port_, upstream), 0600).value();
    base::Launch launch;
    launch.argv = {program, "-p", directory_, "-e", directory_ + "/log", "-c", file, "-g", "daemon off;"};
    child_ = children.start(std::move(launch), {}, kNginxLife);
    if (wait_until_reached(port_, *child_, kNginxStart)) return;
    stop();
    throw_if_interrupted();
    auto const said = base::read_file(directory_ + "/log", 1 << 20);
    throw Failure("nginx does not start: " + (said ? said->substr(0, 300) : std::string("it said nothing")));
}

Nginx::~Nginx() { stop(); }

// Its workers end with the master only when that is asked to, not when it is killed.
void Nginx::stop() noexcept {
    WithoutSignals undisturbed;
    try {
        auto const pid = base::read_file(directory_ + "/pid", 64);
        if (pid && !child_->ended()) ::kill(std::atoi(pid->c_str()), SIGTERM);
        (void)child_->wait(kNginxStop);
    } catch (std::exception const&) {
        // Whatever is left, the scratch directory's owner finds and names.
    }
}

}  // namespace bench
