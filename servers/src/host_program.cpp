#include "program.hpp"
#include <base/launcher.hpp>
#include <base/syscalls.hpp>
#include <base/timeout.hpp>

#include <boost/asio/posix/stream_descriptor.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

namespace servers {
namespace {

constexpr base::milliseconds kGrace{500};

/// Reads stderr into the log until its end.
Task<void> follow_errors(asio::posix::stream_descriptor from, std::shared_ptr<LogBuffer> log,
                         std::shared_ptr<bool> over) {
    std::string chunk(16 * 1024, '\0');
    for (;;) {
        auto [ec, n] = co_await from.async_read_some(asio::buffer(chunk), base::as_tuple);
        if (ec) break;
        log->append(std::string_view(chunk).substr(0, n));
    }
    *over = true;
}

class HostProgram final : public Program {
  public:
    HostProgram(asio::io_context& io, pid_t pid, base::UniqueFd watch)
        : io_(io), pid_(pid), watch_(std::move(watch)) {}

    std::unique_ptr<base::ByteStream> take_stream() override { return std::move(stream); }
    std::string where() const override { return "host, insecure: process " + std::to_string(pid_); }
    Result<sandbox::Usage> usage() const override {
        return base::error(base::errc::unavailable, "usage is known for sandboxes only");
    }
    Task<std::string> cause() override {
        co_return *over ? std::string("it closed its output") : std::string();
    }
    Task<void> end() override {
        if (std::exchange(ended_, true)) co_return;
        stream.reset();
        // It leads a session of its own; who left that one is not found again, which is one reason why this
        // is insecure.
        (void)base::sys::pidfd_signal(watch_.get(), SIGTERM);
        co_await base::sleep_for(kGrace);
        if (::kill(-pid_, SIGKILL) != 0) (void)base::sys::pidfd_signal(watch_.get(), SIGKILL);
        for (int i = 0; i < 100 && ::waitpid(pid_, nullptr, WNOHANG) == 0; ++i)
            co_await base::sleep_for(base::milliseconds(10));
    }

    std::unique_ptr<base::ByteStream> stream;
    std::shared_ptr<bool> over = std::make_shared<bool>(false);

  private:
    asio::io_context& io_;
    pid_t pid_;
    base::UniqueFd watch_;
    bool ended_ = false;
};

}  // namespace

Task<Result<std::unique_ptr<Program>>> start_on_host_insecurely(Launchpad& pad,
                                                                config::ServerEntry const& entry,
                                                                std::shared_ptr<LogBuffer> log) {
    auto in = base::sys::pipe(), out = base::sys::pipe(), err = base::sys::pipe();
    for (auto const* pipe : {&in, &out, &err})
        if (!*pipe) co_return pipe->error();
    base::Launch launch;
    launch.argv.push_back(entry.command);
    for (auto const& arg : entry.args) launch.argv.push_back(arg);
    launch.env = {"HOME=/root", "LANG=C.UTF-8", "TERM=dumb"};
    for (auto const& [name, value] : entry.env) launch.env.push_back(name + "=" + value.value.reveal());
    launch.cwd = entry.cwd.empty() ? "/" : entry.cwd;
    launch.in = in->first.get();
    launch.out = out->second.get();
    launch.err = err->second.get();
    auto pid = base::start_detached(std::move(launch));
    if (!pid) co_return pid.error();
    auto watch = base::sys::pidfd_open(*pid);
    if (!watch) co_return watch.error();
    for (int fd : {in->second.get(), out->first.get(), err->first.get()})
        if (::fcntl(fd, F_SETFL, O_NONBLOCK) != 0) co_return base::errno_error("fcntl");
    auto program = std::make_unique<HostProgram>(pad.io, *pid, std::move(*watch));
    program->stream =
        mcp::descriptor_stream(pad.io.get_executor(), std::move(out->first), std::move(in->second));
    asio::posix::stream_descriptor errors(pad.io, err->first.release());
    asio::co_spawn(pad.io, follow_errors(std::move(errors), std::move(log), program->over), asio::detached);
    co_return std::unique_ptr<Program>(std::move(program));
}

}  // namespace servers
