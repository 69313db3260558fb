#include "hibernation_fixture.hpp"

#include <sys/mount.h>

#include <csignal>
#include <cstdlib>
#include <fstream>

using namespace gvisor_test;
using sandbox::image_errc;
namespace fs = std::filesystem;

namespace {

// A process whose counting would show a stop, and one whose memory would show a loss.
void start_counter(SleepNode& node, sandbox::Sandbox& one) {
    node.start(one, "counter", "python3 -u -c 'import sys\nn = 0\nfor line in sys.stdin:\n n += 1\n print(n)'");
}

pid_t sentry_of(SleepNode const& node, std::string const& id) {
    auto const pid = base::read_file(node.options.directory + "/slots/" + id + "/sentry.pid");
    REQUIRE(pid);
    return std::atoi(pid->c_str());
}

/// Runs `work` while something else happens to it.
template <class T>
struct Meanwhile {
    std::optional<T> result;
    Meanwhile(SleepNode& node, base::Task<T> work) {
        auto run = [](base::Task<T> inner, std::optional<T>* out) -> base::Task<void> {
            out->emplace(co_await std::move(inner));
        };
        asio::co_spawn(node.io.context, run(std::move(work), &result), asio::detached);
    }
};

}  // namespace

TEST_CASE("a checkpoint that cannot be") {
    BERTH_NEEDS_MEMORY();
    SleepNode node;
    auto one = node.fresh();
    start_counter(node, *one);
    std::uint64_t seen = 0;
    CHECK(node.ask(*one, "counter", "", seen) == "1\n");

    SUBCASE("names the deleted file and who has it open, and works once it is closed") {
        node.start(*one, "holder", "exec 9> /workspace/db; rm /workspace/db; echo held; read line");
        std::uint64_t held = 0;
        CHECK(node.listen(*one, "holder", held, "\n") == "held\n");
        auto refused = node.try_sleep(*one);
        REQUIRE_FALSE(refused);
        CHECK(is(refused.error(), image_errc::open_deleted_file));
        CHECK(std::string(sandbox::image_reason(refused.error())) == "open_deleted_file");
        auto const text = refused.error().message();
        INFO(text);
        CHECK(text.find("/workspace/db") != text.npos);
        CHECK(text.find("bash (process ") != text.npos);
        CHECK(node.ask(*one, "counter", "", seen) == "2\n");
        auto stopped = node.io.run(one->guest().stop("holder", SIGKILL, std::chrono::seconds(0)));
        REQUIRE(stopped);
        one = node.wake(node.sleep(*one));
        CHECK(node.ask(*one, "counter", "", seen) == "3\n");
    }
    SUBCASE("names the deleted file that no process has, but a message on its way") {
        node.start(*one, "holder",
                   "python3 -u -c 'import os, socket\na, b = socket.socketpair()\nf = open(\"/workspace/sent\", \"w\")\n"
                   "socket.send_fds(a, [b\"x\"], [f.fileno()])\nf.close()\nos.unlink(\"/workspace/sent\")\n"
                   "print(\"held\")\ninput()'");
        std::uint64_t held = 0;
        CHECK(node.listen(*one, "holder", held, "\n") == "held\n");
        auto refused = node.try_sleep(*one);
        if (kRuntime == sandbox::RuntimeKind::native) {
            // CRIU keeps such a file with the message, or refuses in its own words.
            if (refused) one = node.wake(refused->ref);
            else CHECK(is(refused.error(), image_errc::refused));
            CHECK(node.ask(*one, "counter", "", seen) == "2\n");
            return;
        }
        REQUIRE_FALSE(refused);
        CHECK(is(refused.error(), image_errc::open_deleted_file));
        CHECK_MESSAGE(refused.error().message().starts_with("/workspace/sent, which was deleted"), refused.error().message());
        CHECK(node.ask(*one, "counter", "", seen) == "2\n");
    }
    SUBCASE("for want of space leaves it running") {
        auto const small = node.directory.path + "/small";
        fs::create_directory(small);
        REQUIRE(::mount("small", small.c_str(), "tmpfs", 0, "size=256k") == 0);
        fs::create_directory(small + "/image");
        auto written = node.io.run(one->checkpoint(small + "/image", std::chrono::seconds(30)));
        CHECK(fs::is_empty(small + "/image"));
        REQUIRE(::umount(small.c_str()) == 0);
        REQUIRE_FALSE(written);
        INFO(written.error().message());
        CHECK(is(written.error(), base::errc::limit));
        CHECK(node.ask(*one, "counter", "", seen) == "2\n");
        one = node.wake(node.sleep(*one));
        CHECK(node.ask(*one, "counter", "", seen) == "3\n");
    }
    SUBCASE("within its time leaves it running") {
        auto draft = node.io.run(node.store->begin(node.next_ref(), 1 << 20));
        REQUIRE(draft);
        auto written = node.io.run(one->checkpoint(draft->directory, std::chrono::milliseconds(1)));
        REQUIRE_FALSE(written);
        CHECK(is(written.error(), base::errc::timed_out));
        CHECK(fs::is_empty(draft->directory));
        CHECK(node.ask(*one, "counter", "", seen) == "2\n");
        one = node.wake(node.sleep(*one));
        CHECK(node.ask(*one, "counter", "", seen) == "3\n");
    }
    SUBCASE("into a directory in use leaves it running") {
        auto const used = node.directory.path + "/used";
        fs::create_directory(used);
        std::ofstream(used + "/checkpoint.img") << "x";
        auto written = node.io.run(one->checkpoint(used, std::chrono::seconds(30)));
        REQUIRE_FALSE(written);
        CHECK(node.ask(*one, "counter", "", seen) == "2\n");
    }
    SUBCASE("because its runtime is killed meanwhile leaves nothing") {
        auto const id = one->slot_id();
        auto draft = node.io.run(node.store->begin(node.next_ref(), 1 << 20));
        REQUIRE(draft);
        Meanwhile saving(node, one->checkpoint(draft->directory, std::chrono::seconds(30)));
        REQUIRE(node.eventually([&] { return fs::exists(draft->directory + kPages) || saving.result; }));
        ::kill(sentry_of(node, id), SIGKILL);
        REQUIRE(node.eventually([&] { return saving.result.has_value(); }));
        // It may have been quicker than the signal.
        if (!*saving.result) {
            CHECK(is(saving.result->error(), base::errc::unavailable));
            CHECK_FALSE(one->alive());
        }
        REQUIRE(node.io.run(one->destroy()));
        CHECK(traces(id, node.options.directory) == std::set<std::string>{});
    }
    SUBCASE("twice at once is refused for the second") {
        auto draft = node.io.run(node.store->begin(node.next_ref(), 1 << 20));
        REQUIRE(draft);
        Meanwhile saving(node, one->checkpoint(draft->directory, std::chrono::seconds(30)));
        REQUIRE(node.eventually([&] { return fs::exists(draft->directory + kState) || saving.result; }));
        if (!saving.result) {
            auto second = node.io.run(one->checkpoint(draft->directory, std::chrono::seconds(30)));
            REQUIRE_FALSE(second);
            CHECK((is(second.error(), base::errc::busy) || is(second.error(), base::errc::unavailable)));
        }
        REQUIRE(node.eventually([&] { return saving.result.has_value(); }));
        CHECK(*saving.result);
    }
}

TEST_CASE("a restore that cannot be leaves no slot") {
    BERTH_NEEDS_MEMORY();
    SleepNode node(1);
    auto one = node.fresh();
    start_counter(node, *one);
    std::uint64_t seen = 0;
    CHECK(node.ask(*one, "counter", "", seen) == "1\n");
    auto const ref = node.sleep(*one);
    auto const directory = node.images() + "/w1/" + ref.image_id;
    auto here = node.sandboxes->image_facts("base", kRuntime);
    REQUIRE(here);
    auto image = node.io.run(node.store->open(ref, *here));
    REQUIRE(image);
    auto const slots = node.live_slots();
    auto const pages = most_pages(directory);

    SUBCASE("sealed: the store finds every change before the runtime sees it") {
        damage(pages, 100);
        auto woken = node.try_wake(ref);
        REQUIRE_FALSE(woken);
        CHECK(is(woken.error(), image_errc::damaged));
        CHECK(node.live_slots() == slots);
        damage(pages, 100);
        one = node.wake(ref);
        CHECK(node.ask(*one, "counter", "", seen) == "2\n");
    }
    SUBCASE("unsealed: whatever the runtime makes of it") {
        SUBCASE("an empty state") { fs::resize_file(directory + kState, 0); }
        SUBCASE("half a state") { fs::resize_file(directory + kState, fs::file_size(directory + kState) / 2); }
        SUBCASE("a changed state") {
            for (std::size_t at = kStateFrom; at < kStateFrom + 100; ++at) damage(directory + kState, at);
        }
        SUBCASE("no page index") { fs::resize_file(directory + kPageIndex, 0); }
        SUBCASE("half the pages") { fs::resize_file(pages, fs::file_size(pages) / 2 / 4096 * 4096); }
        SUBCASE("no pages file") { fs::remove(pages); }
        auto woken = node.try_restore(*image);
        REQUIRE_FALSE(woken);
        INFO(woken.error().message());
        CHECK((is(woken.error(), image_errc::damaged) || is(woken.error(), image_errc::refused)));
        CHECK(woken.error().message().size() < 500);
        CHECK(node.live_slots() == slots);
    }
    SUBCASE("of another build, template or processor is not even tried") {
        auto other = *image;
        other.info.facts.runtime_build = "another";
        auto woken = node.try_restore(other);
        REQUIRE_FALSE(woken);
        CHECK(is(woken.error(), image_errc::other_runtime));
        other = *image;
        other.info.facts.guest_build = std::string(64, '0');
        woken = node.try_restore(other);
        REQUIRE_FALSE(woken);
        CHECK(is(woken.error(), image_errc::other_runtime));
        other = *image;
        other.info.facts.template_stamp = "another";
        woken = node.try_restore(other);
        REQUIRE_FALSE(woken);
        CHECK(is(woken.error(), image_errc::other_template));
        other = *image;
        other.info.facts.cpu.features.push_back("zz_of_the_future");
        woken = node.try_restore(other);
        REQUIRE_FALSE(woken);
        CHECK(is(woken.error(), image_errc::other_cpu));
        CHECK(node.live_slots() == slots);
    }
    SUBCASE("with less memory than it needs says so") {
        sandbox::RestoreRequest request;
        request.image = *image;
        request.template_name = "base";
        request.runtime = kRuntime;
        request.limits.memory_bytes = 8 << 20;
        request.renewal.setup = SleepNode::setup();
        request.renewal.setup.volume = false;
        auto woken = node.io.run(node.sandboxes->restore(std::move(request)));
        REQUIRE_FALSE(woken);
        INFO(woken.error().message());
        CHECK(node.eventually([&] { return node.live_slots() == slots; }));
    }
    SUBCASE("because its runtime is killed meanwhile") {
        sandbox::RestoreRequest request;
        request.image = *image;
        request.template_name = "base";
        request.runtime = kRuntime;
        request.renewal.setup = SleepNode::setup();
        request.volume_directory = node.volume();
        Meanwhile waking(node, node.sandboxes->restore(std::move(request)));
        std::string id;
        REQUIRE(node.eventually([&] {
            for (auto const& entry : fs::directory_iterator(node.options.directory + "/slots"))
                if (fs::exists(entry.path() / "claimed")) id = entry.path().filename();
            return !id.empty() || waking.result;
        }));
        REQUIRE_FALSE(id.empty());
        ::kill(sentry_of(node, id), SIGKILL);
        REQUIRE(node.eventually([&] { return waking.result.has_value(); }));
        if (*waking.result) REQUIRE(node.io.run((*waking.result)->sandbox->destroy()));
        CHECK(traces(id, node.options.directory) == std::set<std::string>{});
    }
    // Nothing of the failure is left in the way of the next.
    CHECK(node.sandboxes->running() == node.live_slots());
}
