#include "web_program.hpp"

#include "http_connection.hpp"
#include "interrupt.hpp"
#include <base/files.hpp>
#include <base/syscalls.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <sstream>

namespace bench {
namespace {

constexpr base::milliseconds kWebLife{600'000}, kWebLimit{120'000};
constexpr std::chrono::seconds kWebStart{10};
constexpr std::size_t kMostPrinted = 64u << 20;

}  // namespace

Asked read_asked(std::string const& printed) {
    std::istringstream text(printed);
    long long ns = 0, all = 0;
    if (!(text >> all) || all <= 0) throw Failure("berth-bench-web said: " + printed.substr(0, 300));
    Asked asked;
    while (text >> ns) asked.took.add(Clock::duration(std::chrono::nanoseconds(ns)));
    asked.per_second = static_cast<double>(asked.took.count()) * 1e9 / static_cast<double>(all);
    return asked;
}

double read_rate(std::string const& printed, std::uint64_t bytes) {
    auto const ns = std::atof(printed.c_str());
    if (ns <= 0) throw Failure("berth-bench-web said: " + printed.substr(0, 300));
    return static_cast<double>(bytes) * 1e3 / ns;
}

WebProgram::WebProgram(Children& children, std::string file, std::string directory)
    : children_(children), file_(std::move(file)), directory_(std::move(directory)) {
    if (::access(file_.c_str(), X_OK) != 0)
        throw Failure("there is no program " + file_ + ": build it first");
}

WebProgram::Server WebProgram::serve() {
    Server server;
    server.port = free_port();
    base::Launch launch;
    launch.argv = {file_, "serve", std::to_string(server.port)};
    server.child = children_.start(std::move(launch), {}, kWebLife);
    auto const end = Clock::now() + kWebStart;
    for (;;) {
        throw_if_interrupted();
        try {
            HttpConnection const reached(server.port);
            return server;
        } catch (Failure const&) {
            if (server.child->ended() || Clock::now() > end) throw Failure("berth-bench-web does not start");
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
}

std::string WebProgram::run(std::vector<std::string> words, std::vector<std::string> const& fields) {
    auto const printed = directory_ + "/web.txt";
    base::Launch launch;
    launch.argv = std::move(words);
    launch.argv.insert(launch.argv.begin(), file_);
    launch.argv.insert(launch.argv.end(), fields.begin(), fields.end());
    auto const out = base::sys::open(printed, O_WRONLY | O_CREAT | O_TRUNC, 0600).value();
    launch.out = out.get();
    auto const done = children_.run(std::move(launch), kWebLimit);
    throw_if_interrupted();
    if (done.exit_code != 0) throw Failure("berth-bench-web: " + done.err.substr(0, 300));
    return base::read_file(printed, kMostPrinted).value();
}

Asked WebProgram::ask(std::uint16_t port, int connections, int requests,
                      std::vector<std::string> const& fields) {
    return read_asked(
        run({"ask", std::to_string(port), std::to_string(connections), std::to_string(requests)}, fields));
}

double WebProgram::move(bool down, std::uint16_t port, std::uint64_t bytes,
                        std::vector<std::string> const& fields) {
    return read_rate(run({down ? "down" : "up", std::to_string(port), std::to_string(bytes)}, fields), bytes);
}

}  // namespace bench
