// Self-checking programs through many hibernations: the test of the same name, which says so when anything
// inside is not as it was.
#include "../interrupt.hpp"
#include "../rows.hpp"
#include <base/files.hpp>
#include <base/syscalls.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>

namespace bench {
namespace {

constexpr int kCycles = 20;
constexpr base::milliseconds kStart{120'000}, kEach{10'000};

struct Cycles {
    Samples hibernate, wake;
};

// Of each cycle a line: phases and their sum of the one, a bar, those of the other.
Cycles read_cycles(std::string const& said) {
    Cycles out;
    std::istringstream lines(said);
    for (std::string line; std::getline(lines, line);) {
        auto const bar = line.find(" | ");
        auto const first = line.find("= "), second = line.rfind("= ");
        if (bar == line.npos || first == line.npos || first > bar || second < bar) continue;
        out.hibernate.add(std::atof(line.c_str() + first + 2));
        out.wake.add(std::atof(line.c_str() + second + 2));
    }
    return out;
}

}  // namespace

void measure_cycles(Lab& lab) {
    int const wanted = lab.options().cycles > 0 ? lab.options().cycles : lab.count(kCycles);
    auto const test = std::filesystem::path(lab.options().berth).parent_path() / "test_hibernation";
    if (::access(test.c_str(), X_OK) != 0) throw Failure("there is no " + test.string() + ": build it first");
    lab.close_server();
    auto const log = lab.file("cycles.log");
    Streams streams;
    streams.out = base::sys::open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600).value();
    streams.err = base::sys::open(log, O_WRONLY | O_APPEND).value();
    base::Launch launch;
    launch.argv = {test.string(), "-tc=what runs inside*"};
    launch.env = {"BERTH_CYCLES=" + std::to_string(wanted), "BERTH_MEASURE=1"};
    auto const limit = kStart + kEach * wanted;
    auto const child = lab.children().start(std::move(launch), std::move(streams), limit);
    while (!child->ended()) pause(std::chrono::milliseconds(100));
    auto const end = child->wait(base::milliseconds(0));
    auto const said = base::read_file(log, 64u << 20).value();
    auto const seen = read_cycles(said);
    bool const whole = end && *end && (*end)->exit_code == 0 && static_cast<int>(seen.wake.count()) == wanted;
    if (seen.wake.count() == 0) throw Failure("the self-checking cycles did not run: " + said.substr(0, 500));
    auto& e = lab.report().add("cycles/hibernate", "self-checking programs to disk, by phases", "ms",
                               seen.hibernate);
    promise(e, std::to_string(wanted) + " of " + std::to_string(wanted) + ", no difference", whole);
    lab.report().add("cycles/wake", "and back", "ms", seen.wake);
    if (!whole) lab.report().note("cycles: " + said.substr(said.size() > 2000 ? said.size() - 2000 : 0));
}

}  // namespace bench
