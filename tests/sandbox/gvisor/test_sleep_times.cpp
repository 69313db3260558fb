// Measurements rather than tests: BERTH_MEASURE=10 asks for that many cycles of each size. BERTH_SIZES="64 1024" are MiB of memory;
// BERTH_OBJECTS=1 fills them with a program's objects instead of random bytes, BERTH_COMPRESSION=zstd has images packed.
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

// About 400 bytes an object.
std::string contents() {
    if (std::getenv("BERTH_OBJECTS"))
        return "[{\"id\": i, \"name\": \"user %d\" % i, \"score\": i * 0.7} for i in range(mb * 2600)]";
    return "os.urandom(mb << 20)";
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
    BERTH_NEEDS_MEMORY();
    int const cycles = std::max(1, std::atoi(std::getenv("BERTH_MEASURE")));
    std::istringstream sizes(std::getenv("BERTH_SIZES") ? std::getenv("BERTH_SIZES") : "0 64 256");
    for (int mb; sizes >> mb;) {
        SleepNode node(1);
        bool const packed = std::string_view(std::getenv("BERTH_COMPRESSION") ? std::getenv("BERTH_COMPRESSION") : "") == "zstd";
        node.open_store(64ull << 30, packed ? sandbox::Compression::zstd : sandbox::Compression::none);
        node.sandboxes->start_filling();
        auto one = node.fresh();
        std::uint64_t seen = 0;
        if (mb == 0)
            node.start(*one, "held", "bash --norc -i 2>&1 | cat");
        else
            node.start(*one, "held", "python3 -u -c 'import os, sys\nmb = " + std::to_string(mb) + "\nx = " + contents() +
                                         "\nprint(1)\nfor l in sys.stdin: print(mb << 20)'");
        if (mb > 0) (void)node.listen(*one, "held", seen, "\n");
        Rows rows;
        for (int i = 0; i < cycles; ++i) {
            REQUIRE(node.eventually([&] { return node.stock().blank == 1; }));
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
            rows.add("MiB on disk", static_cast<double>(node.store->use().bytes) / (1 << 20));

            began = base::Clock::now();
            auto image = node.io.run(node.store->open(info->ref, *node.sandboxes->image_facts("base", kRuntime)));
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

// Whether a stock of sandboxes is better restored from one image of a booted, warmed sandbox than booted.
TEST_CASE("the times of boots and of a golden image" * doctest::skip(std::getenv("BERTH_MEASURE") == nullptr)) {
    BERTH_NEEDS_MEMORY();
    int const rounds = std::max(1, std::atoi(std::getenv("BERTH_MEASURE")));
    SleepNode node;
    auto const mib = [](sandbox::Sandbox& one) {
        return static_cast<double>(one.usage().value().memory_bytes) / (1 << 20);
    };
    auto warmed = node.take();
    REQUIRE(node.io.run(warmed->guest().prepare()));
    auto const ref = node.sleep(*warmed);
    Rows rows;
    for (int i = 0; i < rounds; ++i) {
        auto began = base::Clock::now();
        auto booted = node.take();
        rows.add("boot", since(began));
        REQUIRE(node.io.run(booted->guest().prepare()));
        rows.add("boot, shell ready", since(began));
        rows.add("boot, MiB", mib(*booted));
        REQUIRE(node.io.run(booted->destroy()));

        began = base::Clock::now();
        auto image = node.io.run(node.store->open(ref, *node.sandboxes->image_facts("base", kRuntime)));
        REQUIRE(image);
        sandbox::RestoreRequest request;
        request.image = std::move(*image);
        request.template_name = "base";
        request.runtime = kRuntime;
        request.renewal.setup = SleepNode::setup();
        request.renewal.setup.volume = false;
        request.renewal.forked = true;
        auto restored = node.io.run(node.sandboxes->restore(std::move(request)));
        REQUIRE(restored);
        rows.add("golden", since(began));
        for (auto const& p : restored->phases) rows.add("golden: " + p.name, p.ms);
        REQUIRE(node.io.run(restored->sandbox->guest().prepare()));
        rows.add("golden, shell ready", since(began));
        rows.add("golden, MiB", mib(*restored->sandbox));
        REQUIRE(node.io.run(restored->sandbox->destroy()));
    }
    rows.print("a sandbox for the stock");
}
