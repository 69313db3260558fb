// Workspaces over real sandboxes, with stores that fail when they are told to.
#include "world.hpp"

using base::Result;
using base::Task;
using namespace life_test;

TEST_CASE("a workspace that sleeps on disk") {
    BERTH_NEEDS_MEMORY();
    World w;
    w.create();
    w.count();
    auto slept = w.hibernate();
    REQUIRE_MESSAGE(slept, (slept ? "" : slept.error().message()));
    CHECK(slept->fidelity == "memory");
    CHECK(slept->bytes > 0);
    CHECK(w.view().state == "hibernated");
    CHECK(w.recorded().size() == 1);

    SUBCASE("wakes with its memory, its image gone in the same step") {
        CHECK(w.count().way == Arrival::Way::woken);
        CHECK(w.view().state == "running");
        CHECK(w.view().fidelity == "memory");
        CHECK(w.recorded().empty());
        CHECK(w.eventually([&] { return w.images->use().images == 0; }));
        CHECK(w.count().way == Arrival::Way::was_awake);
    }
    SUBCASE("sleeps on over a crash of the server, with nothing of its sandbox left") {
        w.crash();
        CHECK(w.view().state == "hibernated");
        CHECK(w.sandboxes->running() == 0);
        CHECK(w.count().way == Arrival::Way::woken);
    }
    SUBCASE("and was woken is taken back awake after a crash") {
        w.count();
        w.crash();
        CHECK(w.view().state == "running");
        w.count();
    }
    SUBCASE("is woken once for all who call") {
        std::vector<Result<Lease>> leases;
        int done = 0;
        auto one = [](World* world, std::vector<Result<Lease>>* all, int* ended) -> Task<void> {
            auto lease = co_await world->workspaces->awake(kOwner, world->id);
            all->push_back(std::move(lease));
            ++*ended;
        };
        for (int i = 0; i < 8; ++i) asio::co_spawn(w.io.context, one(&w, &leases, &done), asio::detached);
        REQUIRE(w.eventually([&] { return done == 8; }));
        for (auto const& lease : leases) {
            REQUIRE(lease);
            CHECK(lease->arrival().fidelity == "memory");
        }
        CHECK(w.images->opened == 1);
        CHECK(w.workspaces->life_counts().woken == 1);
        CHECK(w.sandboxes->running() == 1);
    }
    SUBCASE("keeps its image when it cannot be loaded at the moment") {
        w.images->open_fails = base::error(base::errc::unavailable, "the store is away");
        auto lease = w.awake();
        REQUIRE_FALSE(lease);
        CHECK(lease.error().message().find("the store is away") != std::string::npos);
        CHECK(w.view().state == "hibernated");
        CHECK(w.recorded().size() == 1);
        w.images->open_fails.reset();
        CHECK(w.count().way == Arrival::Way::woken);
    }
    SUBCASE("starts from its files when its image can never be loaded, and says why") {
        struct {
            base::Error error;
            char const* reason;
        } const cases[] = {
            {sandbox::error(sandbox::image_errc::other_cpu, "it needs avx9"), "other_cpu: it needs avx9"},
            {sandbox::error(sandbox::image_errc::other_runtime, "another build"),
             "other_runtime: another build"},
            {base::error(base::errc::timed_out, "load"), "timed_out: "},
            {base::error(base::errc::not_found, "no such image"), "missing: "},
        };
        bool first = true;
        for (auto const& c : cases) {
            if (!std::exchange(first, false)) REQUIRE(w.hibernate());
            w.images->open_fails = c.error;
            w.opens_from_files(c.reason);
            CHECK(w.recorded().empty());
            w.images->open_fails.reset();
        }
        CHECK(w.eventually([&] { return w.images->use().images == 0; }));
        // What its commands had written is still told.
        auto lost = w.io.run(w.records->process("p-counter")).value();
        REQUIRE(lost);
        CHECK_FALSE(lost->running);
        CHECK(lost->reason == "lost");
        CHECK(lost->tail == "1\n");
    }
    SUBCASE("tells whom it wakes for what was loaded, and what is lost") {
        auto const woken = w.io.run(w.workspaces->wake(kOwner, w.id));
        REQUIRE_MESSAGE(woken, (woken ? "" : woken.error().message()));
        CHECK(woken->arrival.bytes == slept->bytes);
        CHECK(woken->arrival.dropped.empty());
        REQUIRE(w.hibernate());
        w.images->open_fails = sandbox::error(sandbox::image_errc::damaged, "it was changed");
        auto const started = w.io.run(w.workspaces->wake(kOwner, w.id));
        REQUIRE_MESSAGE(started, (started ? "" : started.error().message()));
        CHECK(started->arrival.fidelity == "files");
        CHECK(started->arrival.bytes == 0);
        CHECK(started->arrival.dropped == std::vector<std::string>{"memory and everything that ran"});
    }
    SUBCASE("can give its image up") {
        auto given_up = w.hibernate(true);
        REQUIRE(given_up);
        CHECK(given_up->fidelity == "files");
        CHECK(w.view().state == "stopped");
        CHECK(w.recorded().empty());
        w.opens_from_files("only its files were kept");
    }
    SUBCASE("goes with its image when it is deleted") {
        REQUIRE(w.io.run(w.workspaces->remove(kOwner, w.id)));
        CHECK(w.recorded().empty());
        CHECK(w.images->use().images == 0);
    }
}

TEST_CASE("a request for a workspace that there is already") {
    BERTH_NEEDS_GVISOR();
    World w;
    auto const ask = [&](std::string name, std::string key, std::string hash) {
        CreateRequest request;
        request.name = std::move(name);
        request.idempotency_key = std::move(key);
        request.request_hash = std::move(hash);
        return w.io.run(w.workspaces->create(kOwner, std::move(request)));
    };
    auto const first = ask("named", "key", "these arguments");
    REQUIRE_MESSAGE(first, (first ? "" : first.error().message()));
    CHECK_FALSE(first->existed);
    CHECK_FALSE(first->repeat);

    SUBCASE("with its key and its arguments is a repeat, also after a restart of the server") {
        for (int round = 0; round < 2; ++round) {
            auto const again = ask("named", "key", "these arguments");
            REQUIRE_MESSAGE(again, (again ? "" : again.error().message()));
            CHECK(again->view.id == first->view.id);
            CHECK(again->existed);
            CHECK(again->repeat);
            w.crash();
        }
    }
    SUBCASE("with its key and other arguments is refused, and makes nothing") {
        auto const other = ask("other", "key", "other arguments");
        REQUIRE_FALSE(other);
        CHECK(base::is(other.error(), base::errc::invalid));
        CHECK(other.error().message().find("other arguments for " + first->view.id) != std::string::npos);
        CHECK(w.workspaces->count() == 1);
    }
    SUBCASE("with its name alone is the same one, and no repeat") {
        for (auto const* key : {"", "another key"}) {
            auto const named = ask("named", key, "other arguments");
            REQUIRE_MESSAGE(named, (named ? "" : named.error().message()));
            CHECK(named->view.id == first->view.id);
            CHECK(named->existed);
            CHECK_FALSE(named->repeat);
        }
    }
}

TEST_CASE("a workspace that cannot be put to sleep goes on") {
    BERTH_NEEDS_MEMORY();
    World w;
    w.create();
    w.count();
    SUBCASE("without room for its image") {
        w.images->begin_fails = base::error(base::errc::limit, "no room");
    }
    SUBCASE("when its image cannot be kept") {
        w.images->publish_fails = base::error(base::errc::limit, "no room");
    }
    auto slept = w.hibernate();
    REQUIRE_FALSE(slept);
    auto const text = slept.error().message();
    INFO(text);
    CHECK(text.find("no room") != std::string::npos);
    CHECK(text.find("files_only: true") != std::string::npos);
    CHECK(w.view().state == "running");
    CHECK(w.recorded().empty());
    CHECK(w.count().way == Arrival::Way::was_awake);
    CHECK(w.workspaces->life_counts().refused == 1);
    // And its record says so too.
    w.crash();
    CHECK(w.view().state == "running");
    w.count();
    REQUIRE(w.hibernate());
    CHECK(w.count().way == Arrival::Way::woken);
}

TEST_CASE("snapshots and forks over a store that fails") {
    BERTH_NEEDS_MEMORY();
    World w;
    w.create();
    w.count();
    auto const snapshot = [&](std::string name) {
        return w.io.run(w.workspaces->snapshot(kOwner, w.id, std::move(name)));
    };
    auto const fork = [&](int count) { return w.io.run(w.workspaces->fork(kOwner, w.id, count, {})); };

    SUBCASE("a snapshot without memory has the files, says why, and is in nobody's way") {
        auto const full = base::error(base::errc::limit, "the disk is full");
        SUBCASE("when there is no room") { w.images->begin_fails = full; }
        SUBCASE("when it cannot be sealed") { w.images->publish_fails = full; }
        auto const made = snapshot("files");
        REQUIRE_MESSAGE(made, (made ? "" : made.error().message()));
        CHECK_FALSE(made->snapshot.memory);
        CHECK(made->snapshot.note == "the disk is full");
        CHECK(w.recorded().empty());
        CHECK(w.count().way == Arrival::Way::was_awake);
        auto const back = w.io.run(w.workspaces->restore(kOwner, w.id, "files", std::nullopt));
        REQUIRE_MESSAGE(back, (back ? "" : back.error().message()));
        CHECK_FALSE(back->memory);
        CHECK(back->why == "the disk is full");
        CHECK(back->files_bytes > 0);
        CHECK(back->memory_bytes == 0);
        CHECK(back->dropped.empty());    // it had none to lose
        CHECK(w.view().fidelity == "files");
    }
    SUBCASE("forks of an image that cannot be opened start from their files") {
        w.images->open_fails = sandbox::error(sandbox::image_errc::damaged, "it was changed");
        auto const made = fork(2);
        REQUIRE_MESSAGE(made, (made ? "" : made.error().message()));
        CHECK_FALSE(made->memory);
        CHECK(made->why == "it was changed");
        CHECK(made->files_bytes > 0);
        CHECK(made->memory_bytes == 0);
        for (auto const& one : made->workspaces) CHECK(one.state == "stopped");
        CHECK(w.images->use().images == 0);
        CHECK(w.count().way == Arrival::Way::was_awake);
    }
    SUBCASE("a fork of what was taken back after a crash has all that was written, flushed or not") {
        w.crash();
        std::string const late(1 << 20, 'x');
        {
            auto lease = w.awake();
            REQUIRE(lease);
            REQUIRE(w.io.run(lease->guest().write_file("/workspace/late", late)));
        }
        auto const made = fork(1);
        REQUIRE_MESSAGE(made, (made ? "" : made.error().message()));
        auto const origin = std::exchange(w.id, made->workspaces.front().id);
        {
            auto lease = w.awake();
            REQUIRE_MESSAGE(lease, (lease ? "" : lease.error().message()));
            auto const there = w.io.run(lease->guest().read_file("/workspace/late", 2 << 20));
            REQUIRE_MESSAGE(there, (there ? "" : there.error().message()));
            CHECK(*there == late);
        }
        w.id = origin;
        w.count();
    }
    SUBCASE("another owner sees none of it") {
        REQUIRE(snapshot("mine"));
        auto const as_if_absent = [](base::Error const& e) { CHECK(base::is(e, base::errc::not_found)); };
        as_if_absent(w.io.run(w.workspaces->snapshot("mallory", w.id, "x")).error());
        as_if_absent(w.workspaces->snapshots("mallory", w.id).error());
        as_if_absent(w.io.run(w.workspaces->restore("mallory", w.id, "mine", std::nullopt)).error());
        as_if_absent(w.io.run(w.workspaces->delete_snapshot("mallory", w.id, "mine")).error());
        as_if_absent(w.io.run(w.workspaces->fork("mallory", w.id, 1, {})).error());
        CHECK(w.workspaces->snapshots(kOwner, w.id).value().size() == 1);
    }
    SUBCASE("a snapshot outlives the server and its workspace's sleep, and can be gone back to") {
        auto const made = snapshot("kept");
        REQUIRE(made);
        CHECK(made->snapshot.memory);
        auto const then_seen = w.seen;
        int const then = w.counted;
        w.count();
        w.crash();
        w.count();
        REQUIRE(w.hibernate());
        CHECK(w.recorded().size() == 2);
        for (int round = 0; round < 2; ++round) {
            auto const back = w.io.run(w.workspaces->restore(kOwner, w.id, made->snapshot.id, std::nullopt));
            REQUIRE_MESSAGE(back, (back ? "" : back.error().message()));
            CHECK(back->memory);
            CHECK(back->files_bytes > 0);
            CHECK(back->memory_bytes == made->snapshot.memory_bytes);
            CHECK(back->dropped.empty());
            w.seen = then_seen;
            w.counted = then;
            w.count();
            w.count();
        }
        CHECK(w.recorded().size() == 1);
        REQUIRE(w.io.run(w.workspaces->remove(kOwner, w.id)));
        CHECK(w.recorded().empty());
        CHECK(w.images->use().images == 0);
    }
}

TEST_CASE("idle workspaces go to sleep a few at a time, and all of them in the end") {
    BERTH_NEEDS_MEMORY();
    World w;
    w.settings.idle.hibernate_after = std::chrono::milliseconds(100);
    constexpr int kAll = 5, kAtOnce = 2;
    for (int i = 0; i < kAll; ++i) {
        CreateRequest request;
        auto made = w.io.run(w.workspaces->create(kOwner, std::move(request)));
        REQUIRE_MESSAGE(made, (made ? "" : made.error().message()));
    }
    int now = 0, most = 0;
    w.steps.before = [&](std::string const& step) {
        if (step == "registry: hibernating") most = std::max(most, ++now);
        if (step == "registry: hibernated and images") --now;
    };
    w.workspaces->start_idle_policy();
    CHECK(w.eventually([&] { return w.workspaces->life_counts().hibernated == kAll; }));
    CHECK(most > 0);
    CHECK(most <= kAtOnce);
    w.steps = {};
}

TEST_CASE("workspaces that grow into the last of the memory, with nobody asking for more") {
    BERTH_NEEDS_MEMORY();
    World w;
    w.settings.idle.freeze_after = std::chrono::milliseconds(600'000);
    w.settings.idle.hibernate_after = std::chrono::milliseconds(0);
    std::vector<std::string> ids;
    for (int i = 0; i < 3; ++i) {
        CreateRequest request;
        auto made = w.io.run(w.workspaces->create(kOwner, std::move(request)));
        REQUIRE_MESSAGE(made, (made ? "" : made.error().message()));
        ids.push_back(made->view.id);
    }
    auto const asleep = [&](std::string const& id) {
        return w.workspaces->get(kOwner, id).value().state == "hibernated";
    };
    auto const pass = [&](int seconds) { w.io.run(base::sleep_for(std::chrono::milliseconds(1'000 * seconds))); };
    auto const one_too_many = [&] {
        std::uint64_t all = 0, least = UINT64_MAX;
        for (auto const& id : ids) {
            auto const used = w.workspaces->usage(kOwner, id).value().memory_bytes;
            all += used;
            least = std::min(least, used);
        }
        w.settings.hibernation.memory_ceiling = all - least / 2;
    };
    w.settings.hibernation.memory_ceiling = 8ull << 30;
    int recorded = 0;
    w.steps.before = [&](std::string const&) { ++recorded; };
    w.workspaces->start_idle_policy();

    SUBCASE("nothing is over: nothing is done, however idle they are") {
        pass(12);
        CHECK(recorded == 0);
    }
    SUBCASE("the one that was idle longest sleeps, and it alone") {
        CHECK(w.eventually([&] {
            if (w.workspaces->get(kOwner, ids[0]).value().state == "running") one_too_many();  // what they use moves by more than a small one has
            return asleep(ids[0]);
        }));
        pass(3);
        CHECK_FALSE(asleep(ids[1]));
        CHECK_FALSE(asleep(ids[2]));
        CHECK(w.workspaces->life_counts().hibernated == 1);
    }
    SUBCASE("one that is at work stays, and so does one that was used just now") {
        w.id = ids[0];
        auto lease = w.awake();
        REQUIRE(lease);
        w.settings.hibernation.memory_ceiling = 1 << 20;
        for (int second = 0; second < 12; ++second) {
            for (auto const& id : {ids[1], ids[2]}) {
                w.id = id;
                REQUIRE(w.awake().has_value());
            }
            pass(1);
        }
        CHECK(w.workspaces->life_counts().hibernated == 0);
        CHECK(w.eventually([&] { return asleep(ids[1]); }));
        CHECK_FALSE(asleep(ids[0]));
    }
    SUBCASE("one that cannot be saved is not asked again and again: the next one sleeps") {
        w.images->begin_fails = base::error(base::errc::limit, "no room");
        w.settings.hibernation.memory_ceiling = 1 << 20;
        CHECK(w.eventually([&] { return w.workspaces->life_counts().refused == 3; }));
        pass(3);
        CHECK(w.workspaces->life_counts().refused == 3);
        CHECK(w.workspaces->life_counts().hibernated == 0);
    }
    w.steps = {};
}

TEST_CASE("a deletion that could not be finished is finished later") {
    BERTH_NEEDS_GVISOR();
    World w;
    w.create();
    w.steps.dead = {"remove volume"};
    CHECK_FALSE(w.io.run(w.workspaces->remove(kOwner, w.id)));
    CHECK(w.workspaces->list(kOwner).empty());
    CHECK(w.workspaces->count() == 1);
    w.steps = {};
    w.workspaces->start_idle_policy();
    CHECK(w.eventually([&] { return w.workspaces->count() == 0; }));
    CHECK(w.io.run(w.records->workspaces()).value().empty());
}
