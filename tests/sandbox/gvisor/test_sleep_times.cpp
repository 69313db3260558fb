// A measurement rather than a test: BERTH_MEASURE=10 asks for that many cycles of each size.
#include "hibernation_fixture.hpp"

#include <algorithm>
#include <cstdlib>
#include <iomanip>
#include <iostream>
#include <map>
#include <sstream>

using namespace gvisor_test;

namespace {

double since(base::Clock::time_point began) {
    return std::chrono::duration<double, std::milli>(base::Clock::now() - began).count();
}

struct Rows {
    std::map<std::string, std::vector<double>> by_name;
    std::vector<std::string> order;

    void add(std::string const& name, double ms) {
        if (!by_name.contains(name)) order.push_back(name);
        by_name[name].push_back(ms);
    }
    void print(std::string const& title) {
        std::cout << title << ":\n" << std::fixed << std::setprecision(1);
        for (auto const& name : order) {
            auto& all = by_name[name];
            std::sort(all.begin(), all.end());
            std::cout << "  " << std::setw(18) << std::left << name << " p50 " << all[all.size() / 2] << "  p95 "
                      << all[all.size() * 95 / 100] << "  max " << all.back() << " ms\n";
        }
    }
};

}  // namespace

TEST_CASE("the times of sleep and wake" * doctest::skip(std::getenv("BERTH_MEASURE") == nullptr)) {
    BERTH_NEEDS_GVISOR();
    int const cycles = std::max(1, std::atoi(std::getenv("BERTH_MEASURE")));
    std::istringstream sizes(std::getenv("BERTH_SIZES") ? std::getenv("BERTH_SIZES") : "0 64 256");
    for (int mb; sizes >> mb;) {
        SleepNode node(1);
        node.open_store(64ull << 30);
        node.sandboxes->start_filling();
        auto one = node.fresh();
        std::uint64_t seen = 0;
        if (mb == 0)
            node.start(*one, "held", "bash --norc -i 2>&1 | cat");
        else
            node.start(*one, "held", "python3 -u -c 'import os, sys\nx = os.urandom(" + std::to_string(mb) +
                                         " << 20)\nprint(1)\nfor l in sys.stdin: print(len(x))'");
        if (mb > 0) (void)node.listen(*one, "held", seen, "\n");
        Rows rows;
        for (int i = 0; i < cycles; ++i) {
            REQUIRE(node.eventually([&] { return node.sandboxes->stock().at("base").blank == 1; }));
            node.io.run(base::sleep_for(std::chrono::milliseconds(200)));
            auto draft = node.io.run(node.store->begin(node.next_ref(), 1 << 20));
            REQUIRE(draft);
            auto began = base::Clock::now();
            auto written = node.io.run(one->checkpoint(draft->directory, std::chrono::seconds(40)));
            REQUIRE(written);
            for (auto const& p : written->phases) rows.add("sleep: " + p.name, p.ms);
            auto const sealing = base::Clock::now();
            auto info = node.io.run(node.store->publish(*draft, written->facts));
            REQUIRE(info);
            rows.add("sleep: publish", since(sealing));
            rows.add("sleep", since(began));
            rows.add("MiB", static_cast<double>(info->bytes) / (1 << 20));

            began = base::Clock::now();
            auto image = node.io.run(node.store->open(info->ref, *node.sandboxes->image_facts("base")));
            REQUIRE(image);
            rows.add("wake: verify", since(began));
            auto woken = node.try_restore(std::move(*image));
            REQUIRE(woken);
            CHECK(woken->warm);
            for (auto const& p : woken->phases) rows.add("wake: " + p.name, p.ms);
            rows.add("wake", since(began));
            one = woken->sandbox;
            if (mb > 0) {
                auto const asking = base::Clock::now();
                CHECK(node.ask(*one, "held", "", seen) == std::to_string(static_cast<long>(mb) << 20) + "\n");
                rows.add("wake: answer", since(asking));
            }
            REQUIRE(node.io.run(node.store->remove("w1", info->ref.image_id)));
        }
        rows.print(mb == 0 ? "idle shell" : "Python with " + std::to_string(mb) + " MiB");
    }
}
