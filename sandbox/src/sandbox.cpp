#include "live.hpp"

#include <base/files.hpp>
#include <base/processes.hpp>
#include <base/syscalls.hpp>

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include <cerrno>
#include <charconv>
#include <cstdint>

namespace sandbox {

using base::errc;
using base::error;

namespace {

// How a process that is not our child ended; Linux 6.15 and later tell (linux/pidfd.h).
struct PidfdInfo {
    std::uint64_t mask, cgroup_id;
    std::uint32_t pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
    std::int32_t exit_code;
};
constexpr std::uint64_t kPidfdInfoExit = 1 << 3;
constexpr unsigned long kPidfdGetInfo = _IOWR(0xFF, 11, PidfdInfo);

std::optional<int> wait_status(int pidfd) {
    PidfdInfo info{};
    info.mask = kPidfdInfoExit;
    if (::ioctl(pidfd, kPidfdGetInfo, &info) != 0 || !(info.mask & kPidfdInfoExit)) return std::nullopt;
    return info.exit_code;
}

std::string mebibytes(std::uint64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

}  // namespace

char const* to_string(RuntimeKind kind) { return kind == RuntimeKind::gvisor ? "gvisor" : "native"; }

std::optional<RuntimeKind> runtime_kind(std::string_view name) {
    for (auto kind : {RuntimeKind::gvisor, RuntimeKind::native})
        if (name == to_string(kind)) return kind;
    return std::nullopt;
}

char const* to_string(Death::Reason reason) {
    switch (reason) {
        case Death::Reason::destroyed: return "destroyed";
        case Death::Reason::oom: return "oom";
        case Death::Reason::pids: return "pids";
        case Death::Reason::killed: return "killed";
        case Death::Reason::runtime_error: return "runtime_error";
        case Death::Reason::guest_lost: return "guest_lost";
        case Death::Reason::hibernated: return "hibernated";
    }
    return "unknown";
}

base::Result<std::shared_ptr<Live>> Live::attach(asio::io_context& io, base::BlockingPool& pool, Parts parts) {
    auto const gone = [&] { return error(errc::not_found, "sandbox " + parts.slot.id + " is not running"); };
    if (parts.record.sentry <= 1) return gone();
    auto pidfd = base::sys::pidfd_open(parts.record.sentry);
    if (!pidfd) return gone();
    // Compared after the descriptor is open: from here on the number cannot pass to another process.
    if (base::process_start(parts.record.sentry) != parts.record.sentry_start || parts.record.sentry_start == 0) return gone();
    auto fifos = parts.slot.open_fifos();
    if (!fifos) return base::wrap(fifos.error(), "sandbox " + parts.slot.id);
    auto channel = std::make_shared<Channel>(io, std::move(fifos->first), std::move(fifos->second));
    auto live = std::make_shared<Live>(io, pool, std::move(parts), std::move(channel), std::move(*pidfd));
    live->watch();
    return live;
}

Live::Live(asio::io_context& io, base::BlockingPool& pool, Parts parts, std::shared_ptr<Channel> channel,
           base::UniqueFd pidfd)
    : io_(io), pool_(pool), parts_(std::move(parts)), channel_(channel), guest_(std::move(channel)),
      pidfd_(io, pidfd.release()), oom_event_(io), oom_check_(io),
      finished_(io, asio::steady_timer::time_point::max()) {}

void Live::watch_process() {
    pidfd_.async_wait(pidfd_.wait_read, [weak = weak_from_this()](boost::system::error_code ec) {
        auto const self = weak.lock();
        if (!self || ec) return;
        if (!base::has_ended(self->pidfd_.native_handle())) return self->watch_process();
        self->ended();
    });
}

void Live::watch() {
    watch_process();
    channel_->on_failed([weak = weak_from_this()](std::string reason) {
        auto self = weak.lock();
        if (!self || self->death_ || self->let_go_) return;
        // A dying sentry breaks the wire too; its own death says more.
        if (base::has_ended(self->pidfd_.native_handle())) return self->ended();
        self->die({Death::Reason::guest_lost, "process 1 of the sandbox broke the protocol: " + reason});
        self->kill_now();
    });
    if (auto event = parts_.cgroup.oom_event(); event && *event) {
        oom_event_.assign(event->release());
        watch_memory();
    }
}

void Live::watch_memory() {
    oom_event_.async_wait(oom_event_.wait_read, [weak = weak_from_this()](boost::system::error_code ec) {
        auto self = weak.lock();
        if (!self || ec || self->death_) return;
        std::uint64_t count = 0;
        if (::read(self->oom_event_.native_handle(), &count, sizeof count) < 0) {
            if (errno == EAGAIN) self->watch_memory();    // another descriptor's event (base::has_ended)
            return;
        }
        // The kernel tells before it kills, and it may choose a helper without which the sandbox only hangs.
        self->oom_check_.expires_after(base::milliseconds(200));
        self->oom_check_.async_wait([weak](boost::system::error_code timer_ec) {
            auto again = weak.lock();
            if (!again || timer_ec || again->death_) return;
            if (again->parts_.cgroup.oom_kills() == 0) return again->watch_memory();
            again->ended();
            again->kill_now();
        });
    });
}

void Live::ended() {
    if (death_) return;
    if (parts_.cgroup.oom_kills() > 0)
        return die({Death::Reason::oom, "out of memory: its limit is " + mebibytes(parts_.limits.memory_bytes)});
    // The runtime gives up when the kernel refuses it a thread.
    if (parts_.runtime->ends_without_threads() && parts_.cgroup.refused_processes() > 0)
        return die({Death::Reason::pids, "too many processes and threads: it reached the host's limit of " +
                                             std::to_string(parts_.limits.pids)});
    auto const status = wait_status(pidfd_.native_handle());
    if (status && WIFSIGNALED(*status))
        return die({Death::Reason::killed, "its runtime was ended by signal " + std::to_string(WTERMSIG(*status))});
    die({Death::Reason::runtime_error,
         status ? "its runtime ended with status " + std::to_string(WEXITSTATUS(*status)) : "its runtime ended"});
}

void Live::die(Death death) {
    if (death_) return;
    death_ = std::move(death);
    oom_check_.cancel();
    channel_->close("the sandbox is gone: " + death_->detail);
    auto const self = shared_from_this();
    if (auto died = std::exchange(node_died_, nullptr)) died(*this);
    if (auto handler = std::exchange(handler_, nullptr)) handler(*death_);
}

void Live::kill_now() {
    for (pid_t pid : parts_.cgroup.processes()) ::kill(pid, SIGKILL);
    (void)parts_.cgroup.freezer().thaw();
}

bool Live::doomed() const {
    if (death_) return true;
    auto text = base::read_file("/proc/" + std::to_string(parts_.record.sentry) + "/status", 16 * 1024);
    if (!text) return true;
    for (char const* key : {"\nSigPnd:\t", "\nShdPnd:\t"}) {
        auto const at = text->find(key);
        if (at == text->npos) continue;
        std::uint64_t pending = 0;
        auto const* begin = text->data() + at + 9;
        std::from_chars(begin, begin + 16, pending, 16);
        if (pending & (1u << (SIGKILL - 1))) return true;
    }
    return false;
}

Death const& Live::death() const {
    static Death const none;
    return death_ ? *death_ : none;
}

void Live::on_death(std::function<void(Death const&)> handler) {
    if (!death_) {
        handler_ = std::move(handler);
        return;
    }
    // Not from inside the caller, who does not expect it yet.
    asio::post(io_, [self = shared_from_this(), handler = std::move(handler)] { handler(*self->death_); });
}

void Live::on_node_event(std::function<void(Live&)> died, std::function<void(Live&)> gone) {
    node_died_ = std::move(died);
    node_gone_ = std::move(gone);
}

base::Status Live::freeze() {
    if (death_) return error(errc::unavailable, "the sandbox is gone: " + death_->detail);
    if (frozen_) return {};
    if (auto s = parts_.cgroup.freezer().freeze(); !s) return s;
    frozen_ = true;
    return {};
}

base::Status Live::thaw() {
    if (death_) return error(errc::unavailable, "the sandbox is gone: " + death_->detail);
    if (!frozen_) return {};
    if (auto s = parts_.cgroup.freezer().thaw(); !s) return s;
    frozen_ = false;
    return {};
}

base::Status Live::attach_volume(std::string const& host_directory) {
    if (death_) return error(errc::unavailable, "the sandbox is gone: " + death_->detail);
    if (attached_) return error(errc::exists, "the sandbox has a volume");
    if (auto s = parts_.runtime->attach_volume(parts_.slot, parts_.record.sentry, host_directory); !s) return s;
    attached_ = true;
    return {};
}

base::Status Live::set_limits(Limits const& limits) {
    if (death_) return error(errc::unavailable, "the sandbox is gone: " + death_->detail);
    if (parts_.limits_stand && parts_.limits == limits) return {};
    parts_.limits_stand = false;
    parts_.limits = limits;                      // also when only some of them could be set: a checkpoint sets them again
    if (auto s = parts_.cgroup.set(limits); !s) return s;
    parts_.limits_stand = true;
    return {};
}

base::Result<Usage> Live::usage() const { return parts_.cgroup.usage(); }

base::Task<base::Status> Live::destroy() {
    auto const self = shared_from_this();
    if (gone_) co_return base::Status{};
    if (!taking_apart_) {
        taking_apart_ = true;
        die({Death::Reason::destroyed, "it was destroyed"});
        // Apart from the caller, who may be cancelled: what was begun ends.
        asio::co_spawn(io_, take_apart(self), asio::detached);
    }
    while (taking_apart_) {
        co_await finished_.async_wait(base::as_tuple);
        if ((co_await asio::this_coro::cancellation_state).cancelled() != asio::cancellation_type::none)
            co_return error(errc::cancelled, "destroy");
    }
    co_return taken_apart_;
}

base::Task<void> Live::take_apart(std::shared_ptr<Live> self) {
    auto work = [slot = self->parts_.slot, cgroup = self->parts_.cgroup, runtime = self->parts_.runtime]() -> base::Status {
        if (auto s = dismantle(slot, cgroup); !s) return s;
        runtime->forget(slot.id);
        return base::remove_tree(slot.directory);
    };
    boost::system::error_code ignored;
    self->oom_event_.close(ignored);             // an event descriptor would keep the group
    self->taken_apart_ = co_await base::blocking(self->pool_, std::move(work));
    self->taking_apart_ = false;
    self->pidfd_.close(ignored);
    if (self->taken_apart_) {
        self->gone_ = true;
        if (auto gone = std::exchange(self->node_gone_, nullptr)) gone(*self);
    }
    self->finished_.cancel();
}

void Live::let_go() {
    let_go_ = true;
    node_died_ = nullptr;
    node_gone_ = nullptr;
    boost::system::error_code ignored;
    oom_check_.cancel();
    oom_event_.close(ignored);
    pidfd_.close(ignored);
    channel_->close("the server stops");
}

}  // namespace sandbox
