// What is done while everything inside stands still, between the writing of an image and the end of its sandbox.
#include "hibernation_fixture.hpp"

#include <csignal>

using namespace gvisor_test;
using sandbox::AfterKeep;
using sandbox::Checkpointed;
namespace fs = std::filesystem;

namespace {

struct Kept {
    SleepNode& node;
    std::shared_ptr<sandbox::Sandbox> one;
    std::uint64_t seen = 0;
    int counted = 0;

    explicit Kept(SleepNode& n) : node(n), one(n.fresh()) {
        node.start(*one, "counter", "python3 -u -c 'import sys\nn = 0\nfor line in sys.stdin:\n n += 1\n print(n)'");
        count();
        node.start(*one, "clock", "n=0; while :; do n=$((n+1)); echo $n > /workspace/n; sleep 0.01; done");
        REQUIRE(node.eventually([&] { return fs::exists(file()); }));
    }
    std::string file() const { return node.directory.path + "/v1/workspace/n"; }
    void count() {
        ++counted;
        CHECK(node.ask(*one, "counter", "", seen) == std::to_string(counted) + "\n");
    }
    base::Result<Checkpointed> checkpoint(sandbox::ImageDraft draft, sandbox::Keep keep) {
        return node.io.run(one->checkpoint(draft.directory, std::chrono::seconds(60), std::move(keep)));
    }
    sandbox::ImageDraft draft() {
        auto made = node.io.run(node.store->begin(node.next_ref(), 1 << 20));
        REQUIRE(made);
        return *made;
    }
};

}  // namespace

TEST_CASE("an image is kept while everything inside stands still") {
    BERTH_NEEDS_MEMORY();
    SleepNode node(1);
    Kept world(node);
    auto const draft = world.draft();

    SUBCASE("and the sandbox ends once that is done") {
        std::string before, after;
        sandbox::ImageInfo info;
        auto keep = [&](Checkpointed const& done) -> base::Task<base::Result<AfterKeep>> {
            before = base::read_file(world.file()).value();
            CHECK(world.one->alive());
            auto published = co_await node.store->publish(draft, done.facts);
            if (!published) co_return published.error();
            info = *published;
            co_await base::sleep_for(std::chrono::milliseconds(300));
            after = base::read_file(world.file()).value();
            co_return AfterKeep::end;
        };
        auto done = world.checkpoint(draft, keep);
        REQUIRE(done);
        CHECK(before == after);
        CHECK_FALSE(world.one->alive());
        CHECK(world.one->death().reason == sandbox::Death::Reason::hibernated);
        REQUIRE(node.io.run(world.one->destroy()));
        CHECK(base::read_file(world.file()).value() == after);
        world.one = node.wake(info.ref);
        world.count();
        CHECK(node.eventually([&] { return base::read_file(world.file()).value() != after; }));
    }
    SUBCASE("and a failure of it lets everything go on") {
        auto keep = [&](Checkpointed const&) -> base::Task<base::Result<AfterKeep>> {
            co_await base::sleep_for(std::chrono::milliseconds(50));
            co_return base::error(base::errc::limit, "the disk is full");
        };
        auto done = world.checkpoint(draft, keep);
        REQUIRE_FALSE(done);
        CHECK(done.error().message() == "the disk is full");
        CHECK(fs::is_empty(draft.directory));
        world.count();
        auto const stood = base::read_file(world.file()).value();
        CHECK(node.eventually([&] { return base::read_file(world.file()).value() != stood; }));
        node.io.run(node.store->discard(draft));
        world.one = node.wake(node.sleep(*world.one));
        world.count();
    }
    SUBCASE("and both it and the sandbox go on when that is asked") {
        sandbox::ImageInfo info;
        auto keep = [&](Checkpointed const& done) -> base::Task<base::Result<AfterKeep>> {
            auto published = co_await node.store->publish(draft, done.facts);
            if (!published) co_return published.error();
            info = *published;
            co_return AfterKeep::go_on;
        };
        REQUIRE(world.checkpoint(draft, keep));
        CHECK(world.one->alive());
        world.count();
        world.count();
        // And again, which shows that the first left nothing behind.
        auto const next = world.draft();
        auto again = [&](Checkpointed const& done) -> base::Task<base::Result<AfterKeep>> {
            auto published = co_await node.store->publish(next, done.facts);
            co_return published ? base::Result<AfterKeep>(AfterKeep::go_on) : published.error();
        };
        REQUIRE(world.checkpoint(next, again));
        world.count();
        REQUIRE(node.io.run(world.one->destroy()));
        world.one = node.wake(info.ref);
        world.counted = 1;
        world.seen = 2;    // "1\n"
        world.count();
    }
    SUBCASE("and is whole although the runtime is killed meanwhile") {
        sandbox::ImageInfo info;
        auto const id = world.one->slot_id();
        auto keep = [&](Checkpointed const& done) -> base::Task<base::Result<AfterKeep>> {
            auto const pid = base::read_file(node.options.directory + "/slots/" + id + "/sentry.pid").value();
            ::kill(std::atoi(pid.c_str()), SIGKILL);
            auto published = co_await node.store->publish(draft, done.facts);
            if (!published) co_return published.error();
            info = *published;
            for (int i = 0; i < 2000 && world.one->alive(); ++i) co_await base::sleep_for(std::chrono::milliseconds(5));
            co_return AfterKeep::end;
        };
        REQUIRE(world.checkpoint(draft, keep));
        CHECK_FALSE(world.one->alive());
        REQUIRE(node.io.run(world.one->destroy()));
        CHECK(traces(id, node.options.directory) == std::set<std::string>{});
        world.one = node.wake(info.ref);
        world.count();
    }
}

TEST_CASE("a restore tells its slot before anything is loaded into it") {
    BERTH_NEEDS_MEMORY();
    SleepNode node(1);
    Kept world(node);
    auto const ref = node.sleep(*world.one);
    auto image = node.io.run(node.store->open(ref, node.sandboxes->image_facts("base", kRuntime).value()));
    REQUIRE(image);
    sandbox::RestoreRequest request;
    request.image = *image;
    request.template_name = "base";
    request.runtime = kRuntime;
    request.volume_directory = node.volume();
    request.renewal.setup = SleepNode::setup();
    request.renewal.generation = ref.generation;
    std::string told;
    bool refuse = false;
    request.chosen = [&](std::string slot) -> base::Task<base::Status> {
        told = std::move(slot);
        if (refuse) co_return base::error(base::errc::limit, "not recorded");
        co_return base::Status();
    };
    SUBCASE("and it is that one") {
        auto restored = node.io.run(node.sandboxes->restore(std::move(request)));
        REQUIRE(restored);
        CHECK(restored->sandbox->slot_id() == told);
        world.one = restored->sandbox;
        world.count();
    }
    SUBCASE("and loads nothing when that fails") {
        refuse = true;
        auto restored = node.io.run(node.sandboxes->restore(std::move(request)));
        REQUIRE_FALSE(restored);
        CHECK(restored.error().message() == "not recorded");
        CHECK(traces(told, node.options.directory) == std::set<std::string>{});
    }
}
