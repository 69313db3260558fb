// Workspaces over real sandboxes, with a store of images that fails when it is told to.
#include "../sandbox/gvisor/node_fixture.hpp"
#include <sandbox/image_store.hpp>
#include <workspace/workspaces.hpp>

#include <doctest/doctest.h>

#include <functional>

using base::Result;
using base::Status;
using base::Task;
using namespace workspace;

namespace {

constexpr char const* kOwner = "tester";

/// Passes everything on, unless a step is to fail.
class FaultyImages final : public sandbox::ImageStore {
  public:
    explicit FaultyImages(std::unique_ptr<sandbox::ImageStore> inner) : inner_(std::move(inner)) {}
    std::optional<base::Error> begin_fails, publish_fails, open_fails;
    int opened = 0;

    Task<Result<sandbox::ImageDraft>> begin(sandbox::ImageRef ref, std::uint64_t bytes) override {
        if (begin_fails) co_return *begin_fails;
        auto draft = co_await inner_->begin(std::move(ref), bytes);
        co_return draft;
    }
    Task<Result<sandbox::ImageInfo>> publish(sandbox::ImageDraft draft, sandbox::ImageFacts facts) override {
        if (publish_fails) co_return *publish_fails;
        auto info = co_await inner_->publish(std::move(draft), std::move(facts));
        co_return info;
    }
    Task<void> discard(sandbox::ImageDraft draft) override { return inner_->discard(std::move(draft)); }
    Task<Result<sandbox::OpenImage>> open(sandbox::ImageRef ref, sandbox::ImageFacts here) override {
        ++opened;
        if (open_fails) co_return *open_fails;
        auto image = co_await inner_->open(std::move(ref), std::move(here));
        co_return image;
    }
    Task<Result<sandbox::ImageInfo>> clone(sandbox::ImageRef from, sandbox::ImageRef to) override {
        return inner_->clone(std::move(from), std::move(to));
    }
    Task<Status> remove(std::string workspace, std::string image) override {
        return inner_->remove(std::move(workspace), std::move(image));
    }
    Task<Status> remove_workspace(std::string workspace) override {
        return inner_->remove_workspace(std::move(workspace));
    }
    Task<Result<std::vector<sandbox::ImageInfo>>> list(std::string workspace) override {
        return inner_->list(std::move(workspace));
    }
    Task<Result<int>> sweep() override { return inner_->sweep(); }
    Use use() const override { return inner_->use(); }

  private:
    std::unique_ptr<sandbox::ImageStore> inner_;
};

struct World {
    testing_support::TemporaryDirectory directory;
    testing_support::Io io;
    config::Settings settings;
    std::unique_ptr<registry::Registry> records;
    std::unique_ptr<sandbox::Sandboxes> sandboxes;
    std::unique_ptr<VolumeStore> volumes;
    std::unique_ptr<sandbox::EgressProxy> egress;
    std::unique_ptr<FaultyImages> images;
    std::unique_ptr<Workspaces> workspaces;
    std::string id;
    std::uint64_t seen = 0;
    int counted = 0;

    World() {
        settings.limits.disk_bytes = 64 << 20;
        open();
    }
    ~World() {
        if (!workspaces) open();
        io.run(workspaces->shut_down(true));
        io.run(sandboxes->stop(true));
        io.run(volumes->stop(true));
        io.run(records->close());
    }
    void open() {
        records = registry::Registry::open(io.context, directory.path).value();
        sandbox::Options o;
        o.directory = directory.path + "/n";
        o.guest_binary = BERTH_GUEST;
        o.templates["base"] = {"base", gvisor_test::kTemplate, "test"};
        o.pool["base"] = {0, 0, 0};
        sandboxes = sandbox::Sandboxes::open(io.context, io.pool, o).value();
        VolumeStore::Options v;
        v.directory = directory.path + "/volumes";
        v.default_bytes = 64 << 20;
        v.stock = 0;
        volumes = VolumeStore::open(io.context, io.pool, v).value();
        egress = std::make_unique<sandbox::EgressProxy>(io.context, sandbox::EgressProxy::Options{},
                                                        [](sandbox::EgressProxy::Record const&) {});
        sandbox::LocalImages local;
        local.directory = directory.path + "/images";
        local.key = base::Secret(std::string(32, 'k'));
        local.keep_free = 0;
        images =
            std::make_unique<FaultyImages>(sandbox::open_local_images(io.pool, std::move(local)).value());
        workspaces = std::make_unique<Workspaces>(io.context, io.pool, settings, *records, *sandboxes,
                                                  *volumes, *egress);
        workspaces->use_images(*images);
        io.run(workspaces->recover());
    }
    /// As when the server is killed, but for its own clean-ups: sandboxes go on running.
    void crash() {
        io.run(workspaces->shut_down(false));
        workspaces.reset();
        images.reset();
        egress.reset();
        volumes.reset();
        sandboxes.reset();
        records.reset();
        io.context.restart();
        open();
    }
    void create() {
        CreateRequest request;
        request.files["kept"] = "kept";
        auto made = io.run(workspaces->create(kOwner, std::move(request)));
        REQUIRE_MESSAGE(made, (made ? "" : made.error().message()));
        id = made->view.id;
        auto lease = awake();
        REQUIRE(lease);
        sandbox::ProcessSpec spec;
        spec.id = "p-counter";
        spec.command = "n=0; while read line; do n=$((n+1)); echo $n; done";
        spec.stdin_open = true;
        auto started = io.run(lease->guest().start(std::move(spec)));
        REQUIRE(started);
        workspaces->remember(record_of(id, lease->generation(), "counter", *started));
    }
    Result<Lease> awake() {
        std::optional<Result<Lease>> lease;
        auto work = [](World* world, std::optional<Result<Lease>>* out) -> Task<void> {
            auto got = co_await world->workspaces->awake(kOwner, world->id);
            out->emplace(std::move(got));
        };
        io.run(work(this, &lease));
        return std::move(*lease);
    }
    View view() { return workspaces->get(kOwner, id).value(); }
    Result<Slept> hibernate(bool files_only = false) {
        HibernateRequest const request{files_only};
        return io.run(workspaces->hibernate(kOwner, id, request));
    }
    /// Wakes it and has it count one further, which memory alone can. How it came back.
    Arrival count() {
        auto lease = awake();
        REQUIRE_MESSAGE(lease, (lease ? "" : lease.error().message()));
        REQUIRE(io.run(lease->guest().input("p-counter", "\n", false)));
        auto const expected = std::to_string(++counted) + "\n";
        auto heard = io.run(lease->guest().read("p-counter", seen, 100, std::chrono::seconds(30)));
        REQUIRE(heard);
        CHECK(heard->output == expected);
        seen += heard->output.size();
        return lease->arrival();
    }
    void opens_from_files(std::string const& reason) {
        auto lease = awake();
        REQUIRE_MESSAGE(lease, (lease ? "" : lease.error().message()));
        CHECK(lease->arrival().way == Arrival::Way::started);
        CHECK(lease->arrival().fidelity == "files");
        CHECK_MESSAGE(lease->arrival().reason.starts_with(reason), lease->arrival().reason);
        CHECK(view().fidelity == "files");
        CHECK(view().fidelity_reason == lease->arrival().reason);
        auto file = io.run(lease->guest().read_file("/workspace/kept", 10));
        REQUIRE(file);
        CHECK(*file == "kept");
    }
    std::vector<registry::ImageRecord> recorded() { return io.run(records->images()).value(); }
    bool eventually(std::function<bool()> const& condition) {
        for (int i = 0; i < 6000 && !condition(); ++i) io.run(base::sleep_for(std::chrono::milliseconds(10)));
        return condition();
    }
};

}  // namespace

TEST_CASE("a workspace that sleeps on disk") {
    BERTH_NEEDS_GVISOR();
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

TEST_CASE("a workspace that cannot be put to sleep goes on") {
    BERTH_NEEDS_GVISOR();
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
    BERTH_NEEDS_GVISOR();
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
        CHECK(w.view().fidelity == "files");
    }
    SUBCASE("forks of an image that cannot be opened start from their files") {
        w.images->open_fails = sandbox::error(sandbox::image_errc::damaged, "it was changed");
        auto const made = fork(2);
        REQUIRE_MESSAGE(made, (made ? "" : made.error().message()));
        CHECK_FALSE(made->memory);
        CHECK(made->why == "it was changed");
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
