#pragma once
#include "tree.hpp"
#include <base/files.hpp>
#include <workspace/files.hpp>
#include <workspace/volume.hpp>

#include <doctest/doctest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace volume_test {

using workspace::Volume;
using workspace::VolumeStore;

inline constexpr std::uint64_t kSize = 64 << 20;

/// A store in a directory of its own, which leaves no mount behind.
struct Fixture {
    testing_support::TemporaryDirectory temporary;
    std::string directory = temporary.path + "/volumes";
    testing_support::Io io;
    std::unique_ptr<VolumeStore> store;

    explicit Fixture(bool images = true, int stock = 2) { start(images, stock); }
    ~Fixture() {
        if (store) io.run(store->stop(true));
        store.reset();
        CHECK(mounts() == 0);
    }
    void start(bool images = true, int stock = 2) {
        VolumeStore::Options options;
        options.directory = directory;
        options.default_bytes = kSize;
        options.stock = stock;
        options.use_images = images;
        store = VolumeStore::open(io.context, io.pool, options).value();
    }
    // What the mount table says of our directory.
    int mounts() const {
        auto const table = base::read_file("/proc/self/mounts", 16 << 20).value();
        int n = 0;
        for (auto at = table.find(directory); at != std::string::npos; at = table.find(directory, at + 1))
            ++n;
        return n;
    }
    std::shared_ptr<Volume> create(std::string const& id, std::uint64_t bytes = kSize) {
        return io.run(store->create(id, bytes)).value();
    }
    std::shared_ptr<Volume> take(std::uint64_t bytes = kSize) { return io.run(store->take(bytes)).value(); }
    base::Result<std::shared_ptr<Volume>> open(std::string const& id) {
        return io.run(store->open_volume(id));
    }
    base::Status release(std::string const& id) { return io.run(status(store->release(id))).front(); }
    base::Status remove(std::string const& id) { return io.run(status(store->remove(id))).front(); }
    static base::Task<std::vector<base::Status>> status(base::Task<base::Status> task) {
        std::vector<base::Status> out;
        out.push_back(co_await std::move(task));
        co_return out;
    }
    std::size_t entries(std::string const& prefix) const {
        std::size_t n = 0;
        for (auto const& e : std::filesystem::directory_iterator(directory))
            n += e.path().filename().string().starts_with(prefix);
        return n;
    }
    void until_stocked(std::size_t n) {
        for (int i = 0; i < 600 && (mounts() < static_cast<int>(n) || entries(".stock-") > 0); ++i)
            io.context.restart(), io.context.run_for(std::chrono::milliseconds(50));
    }
};

/// Says SKIPPED where volumes cannot be images.
inline bool no_images() {
    Fixture probe;
    probe.create("probe");
    if (probe.store->quota_enforced()) return false;
    MESSAGE("SKIPPED: volumes are plain directories here (no loop devices, no mkfs.ext4, or not root)");
    return true;
}

inline bool put(Volume const& v, std::string const& name, std::string const& content) {
    return workspace::write_file(v.files(), name, content, workspace::WriteMode::overwrite, std::nullopt)
        .has_value();
}

}  // namespace volume_test
