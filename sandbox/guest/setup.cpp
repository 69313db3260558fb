#include "setup.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

extern char** environ;

namespace guest {
namespace {

bool same_directory(char const* a, char const* b) {
    struct stat sa{}, sb{};
    return ::stat(a, &sa) == 0 && ::stat(b, &sb) == 0 && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

// Each call costs a claim a round trip to gVisor's file server: none that is not needed.
std::string bind(char const* source, char const* target, bool again) {
    if (again && same_directory(source, target)) return {};
    for (bool made = false;; made = true) {
        if (::mount(source, target, nullptr, MS_BIND | MS_REC, nullptr) == 0) return {};
        if (errno != ENOENT || made) return std::string("bind ") + source + " to " + target + ": " + std::strerror(errno);
        if (::mkdir(target, 0755) != 0 && errno != EEXIST)
            return std::string("make ") + target + ": " + std::strerror(errno);
    }
}

/// As `bind`, below directories that may not exist yet, and for files too.
std::string bind_at(std::string const& source, std::string const& target) {
    struct stat st{};
    if (::stat(source.c_str(), &st) != 0) return source + ": " + std::strerror(errno);
    if (auto failed = make_directories_above(target); !failed.empty()) return failed;
    if (S_ISDIR(st.st_mode)) {
        if (::mkdir(target.c_str(), 0755) != 0 && errno != EEXIST) return "make " + target + ": " + std::strerror(errno);
    } else if (int const fd = ::open(target.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644); fd >= 0) {
        ::close(fd);
    }
    if (::mount(source.c_str(), target.c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0) return {};
    return "bind " + source + " to " + target + ": " + std::strerror(errno);
}

void write_text(char const* path, int flags, std::string const& text) {
    int const fd = ::open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644);
    if (fd < 0) return;
    if (::write(fd, text.data(), text.size()) < 0) errno = 0;
    ::close(fd);
}

void write_host_name(std::string const& hostname) {
    char current[256] = {};
    ::gethostname(current, sizeof current - 1);
    if (hostname == current) return;
    if (::sethostname(hostname.data(), hostname.size()) != 0) errno = 0;
    write_text("/etc/hostname", O_TRUNC, hostname + "\n");
    write_text("/etc/hosts", O_APPEND, "127.0.0.1 localhost " + hostname + "\n");
}

}  // namespace

std::string make_directories_above(std::string const& path) {
    for (auto slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1))
        if (::mkdir(path.substr(0, slash).c_str(), 0755) != 0 && errno != EEXIST)
            return "make " + path.substr(0, slash) + ": " + std::strerror(errno);
    return {};
}

void name_host(Json const& request, SetupOptions const& options) {
    auto const hostname = request.value("hostname", "");
    if (options.test_root.empty() && !hostname.empty()) write_host_name(hostname);
}

std::string home_directory(SetupOptions const& options) {
    return options.test_root.empty() ? "/home/agent" : options.test_root;
}

Environment base_environment(SetupOptions const& options) {
    Environment env;
    for (char** e = environ; e && *e; ++e) {             // the image's own: language roots, PATH
        std::string_view const entry = *e;
        auto const equals = entry.find('=');
        if (equals != entry.npos && equals > 0) env[std::string(entry.substr(0, equals))] = entry.substr(equals + 1);
    }
    auto const home = home_directory(options);
    env["HOME"] = home;
    env["USER"] = env["LOGNAME"] = "root";
    env["SHELL"] = "/bin/bash";
    env["TERM"] = "xterm-256color";
    env["LANG"] = "C.UTF-8";
    // Files that tools write come from outside this kernel, whose inotify says nothing of them: the watchers of
    // development servers (chokidar: Vite, Nuxt, Astro; watchpack: webpack, Next) have to look for themselves.
    env["CHOKIDAR_USEPOLLING"] = "1";
    env["CHOKIDAR_INTERVAL"] = "300";
    env["WATCHPACK_POLLING"] = "500";
    env.erase("LC_ALL");
    auto& path = env["PATH"];
    if (path.empty()) path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    path = home + "/.local/bin:" + path;
    return env;
}

std::string apply_setup(Json const& request, SetupOptions const& options, Setup& setup) {
    if (options.test_root.empty() && request.value("volume", true)) {
        for (auto [source, target] : {std::pair("/berth/volume/workspace", "/workspace"),
                                      std::pair("/berth/volume/home", "/home/agent")})
            if (auto failed = bind(source, target, !setup.workspace_id.empty()); !failed.empty()) return failed;
        if (auto const binds = request.find("binds"); binds != request.end() && setup.workspace_id.empty())
            for (auto const& [target, source] : binds->items())
                if (auto failed = bind_at("/berth/volume/" + source.get<std::string>(), target); !failed.empty()) return failed;
    }
    setup.workspace_id = request.value("workspace_id", "");
    setup.max_processes_kept = static_cast<std::size_t>(std::max(1, request.value("max_processes_kept", 256)));
    setup.max_processes = static_cast<unsigned>(std::max(0, request.value("max_processes", 0)));
    setup.egress = request.contains("egress") && !request["egress"].empty();
    setup.env = base_environment(options);
    if (setup.egress) {
        auto const proxy = "http://127.0.0.1:" + std::to_string(options.proxy_port);
        for (char const* name : {"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy",
                                 "npm_config_proxy", "npm_config_https_proxy"})
            setup.env[name] = proxy;
        setup.env["NO_PROXY"] = setup.env["no_proxy"] = "localhost,127.0.0.1,::1";
        std::string allowed;
        for (auto const& pattern : request["egress"])
            if (pattern.is_string()) allowed += (allowed.empty() ? "" : ",") + pattern.get<std::string>();
        setup.env["BERTH_EGRESS"] = allowed;
    }
    if (auto const env = request.find("env"); env != request.end() && env->is_object())
        for (auto const& [name, value] : env->items())
            if (value.is_string()) setup.env[name] = value.get<std::string>();
    return {};
}

}  // namespace guest
