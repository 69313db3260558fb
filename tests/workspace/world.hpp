#pragma once
// Workspaces over real sandboxes, whose steps can be watched, made to fail, and be died at.
#include "../sandbox/gvisor/hibernation_fixture.hpp"
#include "watched.hpp"
#include <workspace/workspaces.hpp>

#include <doctest/doctest.h>

#include <functional>
#include <optional>

namespace life_test {

using namespace workspace;

inline constexpr char const* kOwner = "tester";

struct World {
    std::optional<testing_support::TemporaryDirectory> own;    ///< none: somebody else's directory, left as it is
    std::string directory;
    testing_support::Io io;
    Steps steps;
    config::Settings settings;
    std::unique_ptr<WatchedRecords> records;
    std::unique_ptr<sandbox::Sandboxes> sandboxes;
    std::unique_ptr<WatchedVolumes> volumes;
    std::unique_ptr<sandbox::EgressProxy> egress;
    std::unique_ptr<WatchedImages> images;
    std::unique_ptr<Workspaces> workspaces;
    std::string id, counter;
    std::uint64_t seen = 0;
    int counted = 0;

    World() : own(std::in_place), directory(own->path) {
        configure();
        open();
    }
    explicit World(std::string theirs) : directory(std::move(theirs)) {
        configure();
        open();
    }
    ~World() {
        if (!own) return;
        if (!workspaces) open();
        steps = {};
        io.run(workspaces->shut_down(true));
        io.run(sandboxes->stop(true));
        io.run(volumes->stop(true));
        io.run(records->close());
    }
    void configure() {
        settings.limits.disk_bytes = 64 << 20;
        if (gvisor_test::kRuntime != sandbox::RuntimeKind::native) return;
        settings.native.allow = true;
        settings.native.templates = {"base"};
    }
    void open() {
        io.context.restart();
        records = std::make_unique<WatchedRecords>(registry::Registry::open(io.context, directory).value(), steps);
        sandbox::Options o;
        o.directory = directory + "/n";
        o.guest_binary = BERTH_GUEST;
        o.templates["base"] = {"base", gvisor_test::kTemplate, "test"};
        o.pool["base"] = {0, 0, 0};
#ifdef BERTH_TEST_NATIVE
        o.native.allowed = true;
        o.native.program = BERTH_CONTAIN;
        o.native.pool = o.pool;
#endif
        sandboxes = sandbox::Sandboxes::open(io.context, io.pool, o).value();
        VolumeStore::Options v;
        v.directory = directory + "/volumes";
        v.default_bytes = 64 << 20;
        v.stock = 0;
        volumes = std::make_unique<WatchedVolumes>(VolumeStore::open(io.context, io.pool, v).value(), steps);
        egress = std::make_unique<sandbox::EgressProxy>(io.context, sandbox::EgressProxy::Options{},
                                                        [](sandbox::EgressProxy::Record const&) {});
        sandbox::LocalImages local;
        local.directory = directory + "/images";
        local.key = base::Secret(std::string(32, 'k'));
        local.keep_free = 0;
        images = std::make_unique<WatchedImages>(sandbox::open_local_images(io.pool, std::move(local)).value(), steps);
        workspaces = std::make_unique<Workspaces>(io.context, io.pool, settings, *records, *sandboxes,
                                                  *volumes, *egress);
        workspaces->use_images(*images);
        report = io.run(workspaces->recover());
    }
    /// As when the server is killed, but for its own clean-ups: sandboxes go on running.
    void leave() {
        io.run(workspaces->shut_down(false));
        workspaces.reset();
        images.reset();
        egress.reset();
        volumes.reset();
        sandboxes.reset();
        records.reset();
    }
    void crash() {
        leave();
        open();
    }
    void create() {
        CreateRequest request;
        request.files["kept"] = "kept";
        auto made = io.run(workspaces->create(kOwner, std::move(request)));
        REQUIRE_MESSAGE(made, (made ? "" : made.error().message()));
        id = made->view.id;
        REQUIRE(made->view.runtime == gvisor_test::kRuntime);
        start_counter("p-counter");
    }
    void start_counter(std::string name) {
        auto lease = awake();
        REQUIRE(lease);
        counter = std::move(name);
        seen = 0;
        counted = 0;
        sandbox::ProcessSpec spec;
        spec.id = counter;
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
        REQUIRE(io.run(lease->guest().input(counter, "\n", false)));
        auto const expected = std::to_string(++counted) + "\n";
        auto heard = io.run(lease->guest().read(counter, seen, 100, std::chrono::seconds(30)));
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
    RecoveryReport report;
};

}  // namespace life_test
