// An image of a sandbox that goes on running: what snapshots and forks are made from.
#include "hibernation_fixture.hpp"
#include "self_check.hpp"

#include <cstdlib>
#include <fstream>
#include <iostream>

using namespace gvisor_test;

namespace {

// Copies the volume while everything stands still.
sandbox::Keep copying(std::string from, std::string to) {
    return [from, to](sandbox::Checkpointed const&) -> base::Task<base::Result<sandbox::AfterKeep>> {
        std::filesystem::copy(from, to,
                              std::filesystem::copy_options::recursive | std::filesystem::copy_options::overwrite_existing);
        co_return sandbox::AfterKeep::go_on;
    };
}

}  // namespace

TEST_CASE("a sandbox goes on after an image of it, and the image is of the moment between") {
    BERTH_NEEDS_MEMORY();
    SleepNode node(1);
    node.sandboxes->start_filling();
    std::ofstream(node.volume() + "/workspace/check.py") << kSelfCheck;
    auto const one = node.fresh();
    node.start(*one, "check", "python3 /workspace/check.py 16");
    node.start(*one, "shell", "bash --norc -i", true);
    std::uint64_t seen = 0, shown = 0;
    auto const ready = node.listen(*one, "check", seen, "\n");
    REQUIRE(ready.starts_with("ready "));
    auto const pid = ready.substr(6, ready.find('\n') - 6);

    std::vector<sandbox::ImageRef> images;
    std::vector<std::uint64_t> seen_then;
    constexpr int kRounds = 4;
    for (int round = 1; round <= kRounds; ++round) {
        CAPTURE(round);
        auto draft = node.io.run(node.store->begin(node.next_ref(), 256 << 20));
        REQUIRE(draft);
        auto const copy = "copy" + std::to_string(round);
        auto const begun = base::Clock::now();
        auto written = node.io.run(one->checkpoint(draft->directory, std::chrono::seconds(40),
                                                   copying(node.volume(), node.volume(copy))));
        REQUIRE_MESSAGE(written, (written ? "" : written.error().message()));
        if (std::getenv("BERTH_MEASURE")) {
            for (auto const& p : written->phases) std::cout << p.name << " " << p.ms << "  ";
            std::cout << "= " << std::chrono::duration<double, std::milli>(base::Clock::now() - begun).count() << "\n";
        }
        auto info = node.io.run(node.store->publish(std::move(*draft), std::move(written->facts)));
        REQUIRE(info);
        images.push_back(info->ref);
        seen_then.push_back(seen);
        CHECK(one->alive());
        // All it holds, once more; nobody told it of a restore.
        CHECK(node.ask(*one, "check", "look", seen) == "ok " + std::to_string(round) + " told 0 pid " + pid + "\n");
        CHECK(node.output_of(*one, "echo new >> /workspace/new; wc -l < /workspace/new") == std::to_string(round) + "\n");
        auto const marker = "here" + std::to_string(round);
        REQUIRE(node.io.run(one->guest().input("shell", "echo he''re" + std::to_string(round) + "\n", false)));
        CHECK(node.listen(*one, "shell", shown, marker).find(marker) != std::string::npos);
    }
    // Each image is of its own moment, while the first sandbox runs on.
    for (int round = kRounds; round >= 1; round -= 3) {
        CAPTURE(round);
        auto const i = static_cast<std::size_t>(round - 1);
        auto restored = node.try_wake(images[i], "copy" + std::to_string(round), "w2", true);
        REQUIRE_MESSAGE(restored, (restored ? "" : restored.error().message()));
        auto at = seen_then[i];
        CHECK(node.ask(*restored->sandbox, "check", "look", at) ==
              "ok " + std::to_string(round) + " told 1 pid " + pid + "\n");
        CHECK(node.output_of(*restored->sandbox, "cat /workspace/new 2>/dev/null | wc -l") == std::to_string(round - 1) + "\n");
        REQUIRE(node.io.run(restored->sandbox->destroy()));
    }
    CHECK(node.ask(*one, "check", "look", seen) == "ok " + std::to_string(kRounds + 1) + " told 0 pid " + pid + "\n");
    // And it can still be put to sleep.
    (void)node.sleep(*one);
}

TEST_CASE("a sandbox goes on when its image could not be kept") {
    BERTH_NEEDS_MEMORY();
    SleepNode node;
    auto const one = node.fresh();
    node.start(*one, "cat", "cat");
    std::uint64_t seen = 0;
    CHECK(node.ask(*one, "cat", "before", seen) == "before\n");
    auto draft = node.io.run(node.store->begin(node.next_ref(), 256 << 20));
    REQUIRE(draft);
    sandbox::Keep const full = [](sandbox::Checkpointed const&) -> base::Task<base::Result<sandbox::AfterKeep>> {
        co_return base::error(base::errc::limit, "no space for the files");
    };
    auto const written = node.io.run(one->checkpoint(draft->directory, std::chrono::seconds(40), full));
    REQUIRE_FALSE(written);
    CHECK(base::is(written.error(), base::errc::limit));
    CHECK(std::filesystem::is_empty(draft->directory));
    node.io.run(node.store->discard(*draft));
    CHECK(one->alive());
    CHECK(node.ask(*one, "cat", "after", seen) == "after\n");
}
