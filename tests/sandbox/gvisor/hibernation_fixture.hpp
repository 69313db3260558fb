#pragma once
#include "node_fixture.hpp"

#include <native/criu_program.hpp>
#include <sandbox/image_store.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

namespace gvisor_test {

/// Files of an image, by what they hold, and where in the first of them something of use stands.
#ifdef BERTH_TEST_NATIVE
constexpr char const *kState = "/core-1.img", *kPages = "/pages-1.img", *kPageIndex = "/pagemap-1.img";
constexpr std::size_t kStateFrom = 0;
#else
constexpr char const *kState = "/checkpoint.img", *kPages = "/pages.img", *kPageIndex = "/pages_meta.img";
constexpr std::size_t kStateFrom = 20'000;
#endif

/// Of the files that hold pages the one with the most: CRIU has one for each process, and numbers them as it likes.
inline std::string most_pages(std::string const& image) {
    std::string found = image + kPages;
    std::uintmax_t most = 0;
    for (auto const& entry : std::filesystem::directory_iterator(image)) {
        bool const pages = entry.path().filename().string().starts_with("pages-");
        if (pages && entry.file_size() > std::exchange(most, std::max(most, entry.file_size()))) found = entry.path();
    }
    return found;
}

/// "" when sandboxes keep their memory here.
inline std::string missing_memory() {
    if (auto why = missing(); !why.empty()) return why;
#ifdef BERTH_TEST_NATIVE
    testing_support::TemporaryDirectory known;
    if (auto criu = sandbox::native::CriuProgram::find(known.path + "/build"); !criu) return criu.error().message();
#endif
    return {};
}

#define BERTH_NEEDS_MEMORY()                                            \
    if (auto const why = gvisor_test::missing_memory(); !why.empty()) { \
        MESSAGE("SKIPPED: " << why);                                    \
        return;                                                         \
    }

/// A node with an image store and volumes beside it.
struct SleepNode : TestNode {
    std::unique_ptr<sandbox::ImageStore> store;
    std::uint64_t generation = 0;

    explicit SleepNode(int blank = 0, int ready = 0) : TestNode(ready, 0, blank) { open_store(); }

    void open_store(std::uint64_t max_bytes = 8ull << 30, sandbox::Compression compression = sandbox::Compression::none) {
        sandbox::LocalImages local;
        local.directory = images();
        local.key = base::Secret(std::string(32, 'k'));
        local.max_bytes = max_bytes;
        local.keep_free = 0;
        local.compression = compression;
        auto opened = sandbox::open_local_images(io.pool, std::move(local));
        REQUIRE_MESSAGE(opened, (opened ? "" : opened.error().message()));
        store = std::move(*opened);
    }
    std::string images() const { return directory.path + "/images"; }
    std::string volume(std::string const& name = "v1") const {
        auto const path = directory.path + "/" + name;
        std::filesystem::create_directories(path + "/workspace");
        std::filesystem::create_directories(path + "/home");
        return path;
    }
    static sandbox::GuestSetup setup(std::string workspace = "w1") {
        sandbox::GuestSetup s;
        s.workspace_id = workspace;
        s.hostname = workspace;
        return s;
    }
    std::shared_ptr<sandbox::Sandbox> fresh(std::string const& name = "v1") {
        auto one = take();
        REQUIRE(one->attach_volume(volume(name)));
        REQUIRE(io.run(one->guest().configure(setup())));
        return one;
    }
    sandbox::ImageRef next_ref() {
        sandbox::ImageRef ref;
        ref.workspace_id = "w1";
        ref.generation = ++generation;
        ref.image_id = "g" + std::to_string(generation);
        return ref;
    }

    /// To disk; the sandbox is gone afterwards.
    base::Result<sandbox::ImageInfo> try_sleep(sandbox::Sandbox& one) {
        auto draft = io.run(store->begin(next_ref(), 256 << 20));
        REQUIRE(draft);
        auto written = io.run(one.checkpoint(draft->directory, std::chrono::seconds(40)));
        if (!written) {
            CHECK(std::filesystem::is_empty(draft->directory));
            io.run(store->discard(*draft));
            return written.error();
        }
        phases = written->phases;
        dropped = written->dropped;
        return io.run(store->publish(std::move(*draft), std::move(written->facts)));
    }
    sandbox::ImageRef sleep(sandbox::Sandbox& one) {
        auto info = try_sleep(one);
        REQUIRE_MESSAGE(info, (info ? "" : info.error().message()));
        CHECK_FALSE(one.alive());
        CHECK(one.death().reason == sandbox::Death::Reason::hibernated);
        REQUIRE(io.run(one.destroy()));
        CHECK(traces(one.slot_id(), options.directory) == std::set<std::string>{});
        return info->ref;
    }
    base::Result<sandbox::Restored> try_wake(sandbox::ImageRef ref, std::string const& name = "v1",
                                             std::string workspace = "w1", bool forked = false) {
        auto here = sandboxes->image_facts("base", kRuntime);
        REQUIRE(here);
        auto image = io.run(store->open(ref, *here));
        if (!image) return image.error();
        return try_restore(*image, name, std::move(workspace), forked);
    }
    base::Result<sandbox::Restored> try_restore(sandbox::OpenImage image, std::string const& name = "v1",
                                                std::string workspace = "w1", bool forked = false) {
        sandbox::RestoreRequest request;
        request.renewal.generation = image.info.ref.generation;
        request.image = std::move(image);
        request.template_name = "base";
        request.runtime = kRuntime;
        request.volume_directory = volume(name);
        request.renewal.setup = setup(std::move(workspace));
        request.renewal.forked = forked;
        return io.run(sandboxes->restore(std::move(request)));
    }
    std::shared_ptr<sandbox::Sandbox> wake(sandbox::ImageRef ref) {
        auto restored = try_wake(std::move(ref));
        REQUIRE_MESSAGE(restored, (restored ? "" : restored.error().message()));
        phases = restored->phases;
        return restored->sandbox;
    }

    /// Sends a line to a process and returns what it answers, up to and with a line end.
    std::string ask(sandbox::Sandbox& one, std::string const& id, std::string const& line, std::uint64_t& offset) {
        auto sent = io.run(one.guest().input(id, line + "\n", false));
        REQUIRE_MESSAGE(sent, (sent ? "" : sent.error().message()));
        return listen(one, id, offset, "\n");
    }
    std::string listen(sandbox::Sandbox& one, std::string const& id, std::uint64_t& offset, std::string const& until) {
        std::string got;
        auto const end = base::Clock::now() + std::chrono::seconds(30);
        while (got.find(until) == got.npos && base::Clock::now() < end) {
            auto view = io.run(one.guest().read(id, offset, 65536, std::chrono::seconds(10)));
            REQUIRE_MESSAGE(view, (view ? "" : view.error().message()));
            CHECK(view->offset == offset);
            offset += view->output.size();
            got += view->output;
            if (!view->running && view->output.empty()) break;
        }
        return got;
    }
    void start(sandbox::Sandbox& one, std::string id, std::string command, bool pty = false) {
        sandbox::ProcessSpec spec;
        spec.id = std::move(id);
        spec.command = std::move(command);
        spec.stdin_open = true;
        spec.pty = pty;
        auto started = io.run(one.guest().start(std::move(spec)));
        REQUIRE_MESSAGE(started, (started ? "" : started.error().message()));
    }
    int live_slots() const {
        int n = 0;
        for (auto const& entry : std::filesystem::directory_iterator(options.directory + "/slots")) n += entry.exists();
        return n;
    }

    sandbox::Phases phases;
    std::vector<std::string> dropped;
};

/// Bytes flipped, cut or added somewhere in a published image's file.
inline void damage(std::string const& path, std::size_t at) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    REQUIRE(file);
    file.seekg(static_cast<std::streamoff>(at));
    char const old = static_cast<char>(file.get());
    file.seekp(static_cast<std::streamoff>(at));
    file.put(static_cast<char>(old ^ 1));
}

}  // namespace gvisor_test
