#include "stdio_peer.hpp"

#include "interrupt.hpp"
#include "mcp_client.hpp"
#include <base/syscalls.hpp>

#include <fcntl.h>
#include <poll.h>

namespace bench {
namespace {

constexpr int kStdioAnswerLimit = 60'000;
constexpr base::milliseconds kStdioLife{600'000};

}  // namespace

StdioPeer::StdioPeer(Children& children, std::vector<std::string> argv, std::vector<std::string> env,
                     std::string const& log)
    : name_(argv.back()) {
    auto in = base::sys::pipe().value();
    auto out = base::sys::pipe().value();
    Streams streams{std::move(in.first), std::move(out.second),
                    base::sys::open(log, O_WRONLY | O_CREAT | O_APPEND, 0600).value()};
    to_ = std::move(in.second);
    from_ = std::move(out.first);
    base::Launch launch;
    launch.argv = std::move(argv);
    launch.env = std::move(env);
    child_ = children.start(std::move(launch), std::move(streams), kStdioLife);
    send(base::dump(initialize_request()) + "\n");
    (void)result_of(receive(), "initialize");
    base::Json const initialized = {{"jsonrpc", "2.0"}, {"method", "notifications/initialized"}};
    send(base::dump(initialized) + "\n");
}

StdioPeer::~StdioPeer() {
    to_.reset();  // the end of its input ends it
    WithoutSignals undisturbed;
    (void)child_->wait(base::milliseconds(2'000));
}

std::string StdioPeer::compose(std::string const& tool, base::Json const& arguments) {
    base::Json const request = {{"jsonrpc", "2.0"},
                                {"id", next_id_++},
                                {"method", "tools/call"},
                                {"params", {{"name", tool}, {"arguments", arguments}}}};
    return base::dump(request) + "\n";
}

void StdioPeer::send(std::string const& composed) {
    if (auto s = base::sys::write_all(to_.get(), composed, "write to " + name_); !s) {
        throw_if_interrupted();
        throw Failure(s.error().message());
    }
}

std::string StdioPeer::line() {
    std::size_t searched = 0;
    for (;;) {
        auto const end = unread_.find('\n', searched);
        if (end != unread_.npos) {
            auto text = unread_.substr(0, end);
            unread_.erase(0, end + 1);
            return text;
        }
        searched = unread_.size();
        pollfd ready{from_.get(), POLLIN, 0};
        auto const polled = ::poll(&ready, 1, kStdioAnswerLimit);
        throw_if_interrupted();
        if (polled == 0) throw Failure(name_ + " did not answer in a minute");
        char buffer[64 * 1024];
        auto const n = ::read(from_.get(), buffer, sizeof buffer);
        if (n == 0) throw Failure(name_ + " ended");
        if (n > 0) unread_.append(buffer, static_cast<std::size_t>(n));
    }
}

// What a server says beside answers (logs, progress, questions) is passed over.
std::string StdioPeer::receive() {
    for (;;) {
        auto text = line();
        if (text.find("\"method\":") == text.npos || text.find("\"result\":") != text.npos ||
            text.find("\"error\":") != text.npos)
            if (text.find("\"id\":") != text.npos) return text;
    }
}

}  // namespace bench
