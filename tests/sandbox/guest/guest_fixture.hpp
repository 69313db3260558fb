#pragma once
#include <base/syscalls.hpp>
#include <sandbox/channel.hpp>
#include <sandbox/guest.hpp>
#include <testing/io.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <string>

namespace guest_test {

using base::milliseconds;
using testing_support::Io;
using testing_support::TemporaryDirectory;

/// A fresh Channel on the FIFOs in `directory`, as a starting server opens them.
inline std::shared_ptr<sandbox::Channel> open_channel(Io& io, std::string const& directory) {
    auto in = base::sys::open(directory + "/in", O_RDWR | O_NONBLOCK).value();
    auto out = base::sys::open(directory + "/out", O_RDWR | O_NONBLOCK).value();
    return std::make_shared<sandbox::Channel>(io.context, std::move(in), std::move(out));
}

/// `berth-guest` as a normal process, its home in a temporary directory.
struct GuestProcess {
    explicit GuestProcess(std::string path) : directory(std::move(path)) {
        base::sys::mkfifo(directory + "/in", 0600).value();
        base::sys::mkfifo(directory + "/out", 0600).value();
        in = base::sys::open(directory + "/in", O_RDWR).value();
        out = base::sys::open(directory + "/out", O_RDWR).value();
        pid = ::fork();
        if (pid == 0) {
            ::dup2(in.get(), 0);
            ::dup2(out.get(), 1);
            ::execl(BERTH_GUEST, "berth-guest", "--test-root", directory.c_str(), nullptr);
            ::_exit(127);
        }
    }
    GuestProcess(GuestProcess const&) = delete;
    GuestProcess& operator=(GuestProcess const&) = delete;
    ~GuestProcess() {
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
    }
    std::string directory;
    base::UniqueFd in, out;      // so that a FIFO always has both ends
    pid_t pid = -1;
};

struct Fixture {
    ~Fixture() {                 // what a test left running must not outlive it
        channel->close("the test is over");      // two readers of one FIFO would steal from each other
        auto const last = open_channel(io, directory.path);
        sandbox::Guest stopper(last);
        auto const all = io.run(stopper.processes());
        if (!all) return;
        for (auto const& p : *all) (void)io.run(stopper.stop(p.id, SIGKILL, milliseconds(0)));
    }
    Io io;
    TemporaryDirectory directory;
    GuestProcess process{directory.path};
    std::shared_ptr<sandbox::Channel> channel = open_channel(io, directory.path);
    sandbox::Guest guest{channel};

    sandbox::ProcessSpec spec(std::string command, milliseconds wait = milliseconds(30'000)) {
        sandbox::ProcessSpec s;
        s.id = "p-" + std::to_string(++serial);
        s.command = std::move(command);
        s.cwd = directory.path;
        s.wait = wait;
        return s;
    }
    base::Result<sandbox::ProcessView> start(sandbox::ProcessSpec s) { return io.run(guest.start(std::move(s))); }
    sandbox::ProcessView run(std::string command) { return start(spec(std::move(command))).value(); }

    /// Reads until `text` was seen or the process ended; everything from `offset` on.
    std::string read_until(std::string const& id, std::string const& text, std::uint64_t offset = 0) {
        std::string all;
        while (all.find(text) == all.npos) {
            auto v = io.run(guest.read(id, offset, 65536, milliseconds(20'000))).value();
            all += v.output;
            offset = v.offset + v.output.size();
            if (!v.running && v.output.empty()) break;
        }
        return all;
    }
    int serial = 0;
};

}  // namespace guest_test
