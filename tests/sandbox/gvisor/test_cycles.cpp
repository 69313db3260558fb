#include "hibernation_fixture.hpp"
#include "self_check.hpp"
#include "self_check_more.hpp"

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>

using namespace gvisor_test;

namespace {

int number(char const* name, int otherwise) {
    char const* const text = std::getenv(name);
    return text ? std::atoi(text) : otherwise;
}

double total(sandbox::Phases const& phases) {
    double ms = 0;
    for (auto const& p : phases) ms += p.ms;
    return ms;
}

}  // namespace

// BERTH_CYCLES asks for more than the few that fit a test, BERTH_CYCLE_MB for more memory, BERTH_MEASURE for the times.
TEST_CASE("what runs inside goes through sleep after sleep and notices nothing") {
    BERTH_NEEDS_MEMORY();
    SleepNode node(1);
    node.sandboxes->start_filling();
    int const cycles = number("BERTH_CYCLES", 4), mb = number("BERTH_CYCLE_MB", 64);
    auto const volume = node.volume();
    std::ofstream(volume + "/workspace/check.py") << kSelfCheck;
    std::ofstream(volume + "/workspace/check.js") << kSelfCheckNode;
    std::ofstream(volume + "/workspace/check.c") << kSelfCheckC;
    auto one = node.fresh();
    node.start(*one, "node", "exec node /workspace/check.js");
    node.start(*one, "c", "cc -O1 -pthread -o /tmp/check /workspace/check.c && exec /tmp/check");
    node.start(*one, "check", "python3 /workspace/check.py " + std::to_string(mb));
    node.start(*one, "shell", "bash --norc -i", true);
    std::uint64_t seen = 0, shown = 0;
    std::map<std::string, std::uint64_t> heard{{"node", 0}, {"c", 0}};
    std::map<std::string, std::string> pids;
    for (auto& [name, offset] : heard) {
        auto const first = node.listen(*one, name, offset, "\n");
        REQUIRE_MESSAGE(first.starts_with("ready "), first);
        pids[name] = first.substr(6);
    }
    auto const ready = node.listen(*one, "check", seen, "\n");
    REQUIRE(ready.starts_with("ready "));
    auto const pid = ready.substr(6, ready.find('\n') - 6);
    REQUIRE(node.io.run(one->guest().input("shell", "secret=$((6 * 7)); cd /tmp; echo set:$secret\n", false)));
    CHECK(node.listen(*one, "shell", shown, "set:42").find("set:42") != std::string::npos);

    std::set<std::string> slots{one->slot_id()};
    for (int cycle = 1; cycle <= cycles; ++cycle) {
        CAPTURE(cycle);
        auto const ref = node.sleep(*one);
        auto const slept = node.phases;
        one = node.wake(ref);
        CHECK(slots.insert(one->slot_id()).second);
        if (std::getenv("BERTH_MEASURE")) {
            for (auto const& p : slept) std::cout << p.name << " " << p.ms << "  ";
            std::cout << "= " << total(slept) << " | ";
            for (auto const& p : node.phases) std::cout << p.name << " " << p.ms << "  ";
            std::cout << "= " << total(node.phases) << "\n";
        }
        auto const looked = node.ask(*one, "check", "look", seen);
        auto const expected =
            "ok " + std::to_string(cycle) + " told " + std::to_string(cycle) + " pid " + pid + "\n";
        if (looked != expected) (void)node.listen(*one, "check", seen, "no more");    // the rest of what it says
        auto const said = node.io.run(one->guest().read("check", seen - std::min<std::uint64_t>(seen, 4096), 4096, std::chrono::seconds(0)));
        REQUIRE_MESSAGE(looked == expected, said->output);
        for (auto& [name, offset] : heard)
            CHECK(node.ask(*one, name, "look", offset) == "ok " + std::to_string(cycle) + " pid " + pids.at(name));
        auto const marker = "is:42:/tmp:" + std::to_string(cycle);
        REQUIRE(node.io.run(one->guest().input("shell", "echo is:$secret:$PWD:" + std::to_string(cycle) + "\n", false)));
        CHECK(node.listen(*one, "shell", shown, marker).find(marker) != std::string::npos);
        CHECK(node.output_of(*one, "cat /run/berth/generation") == std::to_string(ref.generation) + " restored\n");
        CHECK(node.output_of(*one, "grep -c ' /workspace ' /proc/mounts") == "1\n");
        // The whole output is there, from the first byte on.
        auto all = node.io.run(one->guest().read("check", 0, 65536, std::chrono::seconds(0)));
        REQUIRE(all);
        CHECK(all->output.starts_with(ready));
        auto ports = node.io.run(one->guest().ports());
        REQUIRE(ports);
        CHECK(std::any_of(ports->begin(), ports->end(), [](auto const& p) { return p.port == 8000; }));
        REQUIRE(node.io.run(node.store->remove("w1", ref.image_id)));
    }
    CHECK(node.store->use().images == 0);
}
