#include <base/launcher.hpp>
#include <base/processes.hpp>
#include <base/syscalls.hpp>

#include <boost/process/v2.hpp>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

namespace base {
namespace {

namespace process = boost::process::v2;

constexpr char const* kPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// Runs in the child between fork and exec: system calls on prepared values only.
struct ChildSetup {
    std::vector<UniqueFd> const& cgroups;

    template <class Launcher>
    boost::system::error_code on_exec_setup(Launcher&, boost::filesystem::path const&, char const* const*&) {
        for (auto const& procs : cgroups)
            if (::write(procs.get(), "0", 1) < 0) return {errno, boost::system::system_category()};
        if (::setsid() < 0) return {errno, boost::system::system_category()};
        ::signal(SIGPIPE, SIG_DFL);
        sigset_t none;
        ::sigemptyset(&none);
        ::sigprocmask(SIG_SETMASK, &none, nullptr);
        // Boost 1.81 closes only what lies above its own error pipe, and sockets that Asio made are not close-on-exec.
        if (::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) < 0) return {errno, boost::system::system_category()};
        return {};
    }
};

struct Capture {
    explicit Capture(asio::any_io_executor ex) : pipe(ex) {}
    asio::readable_pipe pipe;
    std::string text;
    std::size_t max = 0;

    // What is there now, without waiting.
    void drain() {
        char buffer[4096];
        int const fd = pipe.native_handle();
        (void)::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
        for (ssize_t n; (n = ::read(fd, buffer, sizeof buffer)) > 0;) take({buffer, static_cast<std::size_t>(n)});
    }
    void take(std::string_view bytes) { text.append(bytes.substr(0, max - std::min(max, text.size()))); }

    Task<void> read() {
        char buffer[4096];
        for (;;) {
            auto [ec, n] = co_await pipe.async_read_some(asio::buffer(buffer), as_tuple);
            take({buffer, n});
            if (ec) co_return;
        }
    }
};

// Boost's own wait believes the first event that it is given, and would then wait for the end with the thread of the loop.
Task<Status> wait_for_end(asio::posix::stream_descriptor process) {
    do {
        auto const [ec] = co_await process.async_wait(process.wait_read, as_tuple);
        if (ec) co_return Error{ec, "wait for the end of a process"};
    } while (!has_ended(process.native_handle()));
    co_return Status();
}

// The child of `launch`, with these descriptors as its first three.
Result<process::basic_process<asio::any_io_executor>> start(asio::any_io_executor executor, Launch const& launch,
                                                            process::process_stdio stdio) {
    std::string const what = "start " + launch.argv.at(0);
    auto const program = find_program(launch.argv[0]);
    if (program.empty()) return error(errc::unavailable, launch.argv[0] + " is not installed");
    std::vector<UniqueFd> cgroups;
    for (auto const& dir : launch.cgroups) {
        auto procs = sys::open(dir + "/cgroup.procs", O_WRONLY);
        if (!procs) return wrap(procs.error(), what);
        cgroups.push_back(std::move(*procs));
    }
    auto env = launch.env;
    bool const has_path = std::any_of(env.begin(), env.end(), [](auto const& e) { return e.starts_with("PATH="); });
    if (!has_path) env.push_back(std::string("PATH=") + kPath);
    std::vector<std::string> const arguments(launch.argv.begin() + 1, launch.argv.end());
    boost::system::error_code ec;
    ChildSetup setup{cgroups};
    process::process_environment environment(env);
    process::process_start_dir start_dir(launch.cwd);
    process::posix::default_launcher launcher;
    pid_t const us = ::getpid();
    try {
        auto child = launcher(executor, ec, boost::filesystem::path(program), arguments, std::move(stdio),
                              std::move(environment), std::move(start_dir), setup);
        if (ec) return Error{ec, what};
        return child;
    } catch (...) {
        // The launcher prepares Asio in the child too, which can throw: the child must not go on as a second us.
        if (::getpid() != us) ::_exit(127);
        throw;
    }
}

}  // namespace

std::string find_program(std::string const& name) {
    if (name.find('/') != name.npos) return ::access(name.c_str(), X_OK) == 0 ? name : "";
    std::string_view rest = kPath;
    while (!rest.empty()) {
        auto const colon = rest.find(':');
        auto const candidate = std::string(rest.substr(0, colon)) + "/" + name;
        if (::access(candidate.c_str(), X_OK) == 0) return candidate;
        rest = colon == rest.npos ? std::string_view{} : rest.substr(colon + 1);
    }
    return "";
}

Task<Result<Finished>> run(Launch launch, milliseconds limit, std::size_t max_output) {
    auto executor = co_await asio::this_coro::executor;
    std::string const what = "start " + launch.argv.at(0);
    auto null = sys::open("/dev/null", O_RDWR);
    if (!null) co_return wrap(null.error(), what);

    // The reading coroutines own their captures too: they may end after a cancelled caller.
    auto out = std::make_shared<Capture>(executor);
    auto err = std::make_shared<Capture>(executor);
    out->max = err->max = max_output;
    UniqueFd out_end, err_end;
    for (auto [given, capture, end] : {std::tuple(launch.out, out, &out_end), std::tuple(launch.err, err, &err_end)}) {
        if (given >= 0) continue;
        auto ends = sys::pipe();
        if (!ends) co_return wrap(ends.error(), what);
        capture->pipe.assign(ends->first.release());
        *end = std::move(ends->second);
    }

    int const in_fd = launch.in >= 0 ? launch.in : null->get();
    int const out_fd = launch.out >= 0 ? launch.out : out_end.get();
    int const err_fd = launch.err >= 0 ? launch.err : err_end.get();
    auto started = start(executor, launch, process::process_stdio{in_fd, out_fd, err_fd});
    out_end.reset();
    err_end.reset();
    if (!started) co_return started.error();
    auto child = std::move(*started);

    for (auto const& capture : {out, err})
        if (capture->pipe.is_open())
            asio::co_spawn(executor, [](std::shared_ptr<Capture> c) -> Task<void> { co_await c->read(); }(capture),
                           asio::detached);

    asio::steady_timer timer(executor, limit);
    auto pidfd = sys::pidfd_open(child.id());    // its number is its own until it has been waited for
    if (!pidfd) co_return wrap(pidfd.error(), what);
    asio::posix::stream_descriptor process(executor, pidfd->release());
    auto race = asio::experimental::make_parallel_group(asio::co_spawn(executor, wait_for_end(std::move(process)), asio::deferred),
                                                        timer.async_wait(asio::deferred));
    co_await asio::this_coro::throw_if_cancelled(false);
    auto const [order, thrown, ended, timer_ec] =
        co_await race.async_wait(asio::experimental::wait_for_one(), asio::as_tuple(asio::use_awaitable));
    boost::system::error_code wait_ec;
    bool exited = order[0] == 0 && !thrown && ended;
    if (exited) {
        child.wait(wait_ec);
        exited = !wait_ec;
    }
    if (!exited) {
        // Nobody else knows this child: kill it and reap it here, which a killed process makes quick.
        co_await asio::this_coro::reset_cancellation_state();
        boost::system::error_code ignored;
        child.terminate(ignored);
    }
    boost::system::error_code ignored;
    for (auto const& capture : {out, err})
        if (capture->pipe.is_open()) {
            capture->drain();
            capture->pipe.close(ignored);
        }
    if (!exited) {
        if (order[0] == 1 && !timer_ec)
            co_return error(errc::timed_out, launch.argv[0] + " did not end within " + std::to_string(limit.count()) + " ms and was killed");
        co_return error(errc::cancelled, launch.argv[0] + " was killed, because its caller went away");
    }
    int const status = child.native_exit_code();
    int const code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    co_return Finished{code, std::move(out->text), std::move(err->text)};
}

Result<pid_t> start_detached(Launch launch) {
    auto null = sys::open("/dev/null", O_RDWR);
    if (!null) return wrap(null.error(), "start " + launch.argv.at(0));
    auto const or_null = [&](int fd) { return fd >= 0 ? fd : null->get(); };
    asio::io_context unused;
    auto child = start(unused.get_executor(), launch,
                       process::process_stdio{or_null(launch.in), or_null(launch.out), or_null(launch.err)});
    if (!child) return child.error();
    pid_t const pid = child->id();
    child->detach();
    return pid;
}

}  // namespace base
