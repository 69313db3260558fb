// A command that does nothing, beside the least that starting it costs: fork and exec by a small program in
// the same sandbox; and beside the way into a sandbox that runsc itself offers.
#include "../interrupt.hpp"
#include "../rows.hpp"

#include <sstream>

namespace bench {
namespace {

constexpr int kRounds = 10, kWarmUp = 5;

constexpr char const* kTimingLoop = R"(#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv) {
    for (int left = argc > 1 ? atoi(argv[1]) : 1; left > 0; left--) {
        long long const began = now();
        pid_t const child = fork();
        if (child == 0) {
            execl("/bin/true", "true", (char *)0);
            _exit(127);
        }
        int status = 0;
        if (child < 0 || waitpid(child, &status, 0) != child || status != 0) return 1;
        printf("%lld\n", now() - began);
    }
    return 0;
}
)";

std::string run(Lab& lab, std::string const& id, std::string const& command) {
    auto const answer = lab.client().call("run_command", {{"workspace_id", id}, {"command", command}});
    auto const& s = answer.structured();
    if (s.value("exit_code", -1) != 0)
        throw Failure(command + " in a workspace: " + s.value("output", "").substr(0, 300));
    return s.value("output", "");
}

void add_nanoseconds(Samples& samples, std::string const& lines) {
    std::istringstream text(lines);
    for (long long ns; text >> ns;) samples.add(std::chrono::nanoseconds(ns));
}

}  // namespace

void measure_run_true(Lab& lab) {
    int const n = lab.count(200);
    auto const workspace = lab.workspace();
    auto const& id = workspace.id();
    (void)lab.client().call("write_file",
                            {{"workspace_id", id}, {"path", "loop.c"}, {"content", kTimingLoop}});
    (void)run(lab, id, "gcc -O2 -o loop loop.c");
    base::Json const arguments = {{"workspace_id", id}, {"command", "/bin/true"}};

    Samples ours, forked, executed;
    for (int i = 0; i < kWarmUp; ++i) (void)lab.client().call("run_command", arguments);
    (void)run(lab, id, "./loop " + std::to_string(kWarmUp));
    (void)lab.runsc().exec_true();
    int const rounds = std::min(n, kRounds);
    for (int round = 0; round < rounds; ++round) {
        int const until = n * (round + 1) / rounds, here = until - static_cast<int>(ours.count());
        for (int i = 0; i < here; ++i) {
            auto const answer = lab.client().call("run_command", arguments);
            if (answer.structured().value("exit_code", -1) != 0)
                throw Failure("/bin/true in a workspace failed");
            ours.add(answer.took);
        }
        add_nanoseconds(forked, run(lab, id, "./loop " + std::to_string(here)));
        for (int i = 0; i < (here + 3) / 4; ++i) executed.add(lab.runsc().exec_true());
    }
    auto& inside =
        lab.report().add("run_true", "run_command /bin/true", "ms", ours, "fork+exec inside", forked);
    promise(inside, "at most 1.25 x", inside.ratio.value_or(2) <= 1.25);
    auto& outside = lab.report().add("run_true", "run_command /bin/true", "ms", ours, "runsc exec", executed);
    promise(outside, "3 x faster", outside.ratio.value_or(1) <= 1.0 / 3);
    lab.report().note("run_true: in " + std::to_string(rounds) +
                      " rounds by turns with what stands beside; " + std::to_string(kWarmUp) +
                      " warm-up calls");
}

}  // namespace bench
