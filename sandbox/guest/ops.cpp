#include "ops.hpp"

#include "hibernation.hpp"
#include "proc.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace guest {
namespace {

constexpr std::size_t kMaxFile = 32 << 20;

struct File {
    explicit File(int descriptor) : fd(descriptor) {}
    File(File const&) = delete;
    File& operator=(File const&) = delete;
    ~File() { if (fd >= 0) ::close(fd); }
    int fd;
};

char const* code_of(int error) {
    switch (error) {
        case ENOENT:
        case ENOTDIR: return "not_found";
        case EACCES:
        case EPERM:
        case EROFS: return "denied";
        case ENOSPC:
        case EDQUOT:
        case EFBIG: return "limit";
        default: return "invalid";
    }
}

void fail(Link& link, std::uint32_t id, int error, std::string const& path) {
    link.fail(id, code_of(error), path + ": " + std::strerror(error));
}

void read_file(Link& link, std::uint32_t id, Json const& j) {
    auto const path = j.value("path", "");
    auto const max = std::min(j.value("max", kMaxFile), kMaxFile);
    File const file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));   // a FIFO must not hang us
    struct stat st{};
    if (file.fd < 0 || ::fstat(file.fd, &st) != 0) return fail(link, id, errno, path);
    if (!S_ISREG(st.st_mode)) return link.fail(id, "invalid", path + ": not a regular file");
    std::string bytes;
    char chunk[64 * 1024];
    for (;;) {                                      // st_size says nothing about /proc and /sys
        ssize_t const n = ::read(file.fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(link, id, errno, path);
        if (n == 0) break;
        bytes.append(chunk, static_cast<std::size_t>(n));
        if (bytes.size() > max)
            return link.fail(id, "limit", path + ": larger than " + std::to_string(max) + " bytes");
    }
    link.reply(id, Json{{"mode", st.st_mode & 07777}}, bytes);
}

void write_file(Link& link, std::uint32_t id, Json const& j, std::string_view bytes) {
    auto const path = j.value("path", "");
    if (bytes.size() > kMaxFile) return link.fail(id, "limit", path + ": larger than 32 MiB");
    if (j.value("parents", false))
        if (auto const failed = make_directories_above(path); !failed.empty()) return link.fail(id, "invalid", failed);
    File const file(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0644));
    struct stat st{};
    if (file.fd < 0 || ::fstat(file.fd, &st) != 0) return fail(link, id, errno, path);
    if (!S_ISREG(st.st_mode)) return link.fail(id, "invalid", path + ": not a regular file");
    if (::ftruncate(file.fd, 0) != 0) return fail(link, id, errno, path);
    while (!bytes.empty()) {
        ssize_t const n = ::write(file.fd, bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(link, id, errno, path);
        bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    link.reply(id, Json::object());
}

}  // namespace

Guest::Guest(SetupOptions options, int in, int out)
    : options_(std::move(options)),
      link_(loop_, in, out),
      streams_(loop_, link_),
      processes_(loop_, link_, options_, setup_) {
    move_local_ports();
    link_.on_request = [this](std::uint32_t id, Json request_json, std::string_view raw) {
        request(id, request_json, raw);
    };
    processes_.on_stream = [this](std::uint32_t request, int fd, std::string id) {
        streams_.take(request, fd, std::move(id));
    };
    link_.on_stream = [this](protocol::Frame const& frame) { streams_.frame(frame); };
    link_.on_attach = [this] {
        processes_.forget_waiters();
        processes_.ready_shells().forget_callers();
        streams_.close_all();
        streams_.accept_again();
    };
    link_.on_parsed = [this] { streams_.pump_touched(); };
    link_.on_drained = [this] { streams_.resume(); };

    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    int const children = ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (children < 0) std::abort();
    loop_.watch(children, EPOLLIN, [this, children](std::uint32_t) {
        signalfd_siginfo info[8];
        while (::read(children, info, sizeof info) > 0) {}
        processes_.child_ended();
    });
}

void Guest::run() { loop_.run(); }

void Guest::request(std::uint32_t id, Json const& j, std::string_view raw) {
    try {
        dispatch(id, j, raw);
    } catch (std::exception const& e) {             // a field of another type, or no memory
        link_.fail(id, "invalid", std::string("request: ") + e.what());
    }
}

void Guest::dispatch(std::uint32_t id, Json const& j, std::string_view raw) {
    auto const op = j.value("op", "");
    if (op == "start") return processes_.start(id, j, raw);
    if (op == "wait") return processes_.wait(id, j);
    if (op == "read") return processes_.read(id, j);
    if (op == "input") return processes_.input(id, j, raw);
    if (op == "resize") return processes_.resize(id, j);
    if (op == "stop") return processes_.stop(id, j);
    if (op == "processes") return processes_.list(id);
    if (op == "rename") return processes_.rename(id, j);
    if (op == "connect") return streams_.connect(id, j);
    if (op == "attach_stdio") return streams_.attach(id, j);
    if (op == "configure") return configure(id, j);
    if (op == "quiesce") return quiesce(id);
    if (op == "resume") {
        streams_.accept_again();
        return link_.reply(id, Json::object());
    }
    if (op == "renew") return configure(id, j);
    if (op == "configured") return link_.reply(id, Json{{"workspace_id", setup_.workspace_id}});
    if (op == "ping") return link_.reply(id, Json{{"pid", ::getpid()}});
    if (op == "prepare")
        return processes_.ready_shells().prepare([this, id] { link_.reply(id, Json::object()); });
    if (op == "read_file") return read_file(link_, id, j);
    if (op == "write_file") return write_file(link_, id, j, raw);
    if (op == "ports") {
        auto const of = j.value("process", "");     // "" = everyone's
        auto const found = listeners();
        auto const members = of.empty() || found.empty() ? std::vector<pid_t>() : processes_.members(of);
        auto all = Json::array();
        for (auto const& l : found)
            if (of.empty() || std::find(members.begin(), members.end(), l.pid) != members.end())
                all.push_back({{"port", l.port}, {"address", l.address}, {"pid", l.pid}, {"program", l.program}});
        return link_.reply(id, Json{{"ports", std::move(all)}});
    }
    link_.fail(id, "invalid", "unknown operation: " + op);
}

void Guest::configure(std::uint32_t id, Json const& j) {
    if (j.contains("egress") && !j["egress"].empty()) {
        int const port = streams_.listen(options_.test_root.empty() ? options_.proxy_port : 0);
        if (port < 0)
            return link_.fail(id, "unavailable", std::string("listen for the proxy: ") + std::strerror(errno));
        options_.proxy_port = port;
    } else {
        streams_.close_listener();
    }
    if (auto const failed = apply_setup(j, options_, setup_); !failed.empty())
        return link_.fail(id, "unavailable", failed);
    if (j.contains("generation")) {
        move_local_ports();
        auto const directory = options_.test_root.empty() ? "/run/berth" : options_.test_root + "/run-berth";
        announce(directory, j.value("generation", std::uint64_t(0)), j.value("forked", false));
        if (j.value("forked", false)) {
            if (options_.test_root.empty()) renew_boot_id(directory);
            processes_.ready_shells().discard();
        }
    }
    link_.reply(id, Json::object());
    name_host(j, options_);                              // before the next request is looked at
}

void Guest::move_local_ports() {
    if (!options_.test_root.empty()) return;
    loop_.cancel(ports_settle_);
    if (local_ports_.apply(monotonic_ms()))
        ports_settle_ = loop_.after(LocalPorts::kTimeWaitMs, [this] { local_ports_.settle(); });
}

void Guest::quiesce(std::uint32_t id) {
    if (options_.test_root.empty()) local_ports_.rest(monotonic_ms());
    auto const volume = options_.test_root.empty()
                            ? std::vector<std::string>{"/workspace", "/home/agent", "/berth/volume"}
                            : std::vector<std::string>{options_.test_root};
    auto found = Json::array();
    for (auto const& f : deleted_files(volume)) found.push_back({{"path", f.path}, {"pid", f.pid}, {"program", f.program}});
    int const closed = found.empty() ? streams_.quiesce() : 0;      // refused: nothing was touched
    link_.reply(id, Json{{"closed", closed}, {"deleted", std::move(found)}});
}

}  // namespace guest
