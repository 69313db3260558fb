#include "cgroup.hpp"
#include <id_ranges.hpp>
#include <base/launcher.hpp>
#include <base/timeout.hpp>
#include <sandbox/jail.hpp>

#include <sys/socket.h>

#include <cstring>

namespace sandbox {

using base::errc;

namespace {

constexpr base::milliseconds kOpenLimit{5'000}, kKillLimit{5'000};
constexpr char const* kGroup = "jail";

/// The descriptor that comes with the first byte; EAGAIN until then. errc::unavailable: the other side ended
/// without one.
base::Result<base::UniqueFd> take_over(int wire) {
    char word = 0;
    iovec part{&word, 1};
    alignas(cmsghdr) char room[CMSG_SPACE(sizeof(int))]{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = room;
    message.msg_controllen = sizeof room;
    ssize_t const n = ::recvmsg(wire, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n < 0) return base::errno_error("read from the jail");
    auto const* const header = CMSG_FIRSTHDR(&message);
    if (n == 0 || !header || header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(sizeof(int)))
        return base::error(errc::unavailable, "the jail did not open");
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return base::UniqueFd(fd);
}

base::Status end_group(Cgroup const& group) {
    if (auto s = group.kill_all(kKillLimit); !s) return s;
    return group.remove(kKillLimit);
}

}  // namespace

struct Jail::State {
    State(base::BlockingPool& p, Options o) : pool(p), options(std::move(o)) {}

    base::BlockingPool& pool;
    Options options;
    std::optional<CgroupTree> tree;
    Cgroup group;
    bool open = false, runs = false;
    std::string failure;  // why it never ran
    End end;

    base::Status prepare() {
        auto found = CgroupTree::prepare(options.directory + "/jail");
        if (!found) return found.error();
        tree = std::move(*found);
        group = Cgroup(*tree, kGroup);
        if (auto s = end_group(group); !s) return s;
        return group.create(options.limits);
    }
    void clear() {
        end.out_of_memory = group.oom_kills() > 0;
        (void)end_group(group);
        tree->remove();
    }
    static base::Task<void> run(std::shared_ptr<State> self, base::Launch launch, base::UniqueFd in,
                                base::milliseconds life) {
        launch.in = in.get();
        auto ended = co_await base::run(std::move(launch), life);
        if (ended) self->end.words = std::move(ended->err);
        if (ended && ended->exit_code != 0)
            self->failure = "it ended with status " + std::to_string(ended->exit_code);
        if (!ended) self->failure = ended.error().message();
        self->runs = false;
    }
};

Jail::Jail(base::BlockingPool& pool, Options options)
    : state_(std::make_shared<State>(pool, std::move(options))) {}

Jail::End const& Jail::end() const { return state_->end; }

base::Task<base::Result<Jail::Opened>> Jail::open(Prisoner prisoner) {
    auto const state = state_;
    if (state->open) co_return base::error(errc::busy, "the jail is taken");
    state->open = true;
    state->end = {};
    state->failure.clear();
    auto prepare = [state] { return state->prepare(); };
    auto prepared = co_await base::blocking(state->pool, std::move(prepare));
    if (!prepared) {
        state->open = false;
        co_return base::wrap(prepared.error(), "make a jail");
    }
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        auto failed = base::errno_error("socketpair");
        co_await close();
        co_return failed;
    }
    Opened opened;
    opened.wire.reset(ends[0]);
    base::UniqueFd theirs(ends[1]);
    base::Launch launch;
    launch.argv = {state->options.program, std::to_string(native::IdRanges::kJailed),
                   std::to_string(prisoner.port)};
    launch.argv.insert(launch.argv.end(), prisoner.argv.begin(), prisoner.argv.end());
    launch.env = std::move(prisoner.env);
    launch.cgroups = state->group.directories();
    auto const executor = co_await asio::this_coro::executor;
    state->runs = true;
    auto running = State::run(state, std::move(launch), std::move(theirs), prisoner.life);
    asio::co_spawn(executor, std::move(running), asio::detached);
    auto const until = base::Clock::now() + kOpenLimit;
    // No thread waits: the socket is looked at until it has something, which takes milliseconds.
    while (base::Clock::now() < until) {
        auto socket = take_over(opened.wire.get());
        if (socket) {
            opened.listener = std::move(*socket);
            co_return std::move(opened);
        }
        if (socket.error().code.value() != EAGAIN) break;
        co_await base::sleep_for(base::milliseconds(2));
    }
    opened.wire.reset();
    co_await close();
    auto const words = state->end.words.substr(0, state->end.words.find('\n'));
    co_return base::error(errc::unavailable, "make a jail: " + (words.empty() ? state->failure : words));
}

base::Task<void> Jail::sweep() {
    auto const state = state_;
    if (state->open) co_return;
    auto clear = [state] {
        auto const found = CgroupTree::prepare(state->options.directory + "/jail");
        if (!found) return false;
        (void)end_group(Cgroup(*found, kGroup));
        found->remove();
        return true;
    };
    (void)co_await base::blocking(state->pool, std::move(clear));
}

base::Task<void> Jail::close() {
    auto const state = state_;
    if (!state->open) co_return;
    auto clear = [state] {
        state->clear();
        return true;
    };
    (void)co_await base::blocking(state->pool, std::move(clear));
    while (state->runs) co_await base::sleep_for(base::milliseconds(2));
    state->open = false;
}

}  // namespace sandbox
