// A second volume of the same content: VolumeStore::clone.
#include "volumes.hpp"
#include <base/ids.hpp>
#include <base/launcher.hpp>

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>

using namespace workspace;
using namespace volume_test;
using base::errc;

namespace {

base::Result<VolumeCopy> clone(Fixture& f, std::string const& from, std::string const& to) {
    return f.io.run(f.store->clone(from, to));
}

std::string at(Volume const& v, std::string const& path) { return v.host_directory() + "/" + path; }

struct stat look(std::string const& path) {
    struct stat st {};
    REQUIRE_MESSAGE(::lstat(path.c_str(), &st) == 0, path);
    return st;
}

void write(std::string const& path, std::string const& bytes, off_t where = 0) {
    int const fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    REQUIRE(fd >= 0);
    REQUIRE(::pwrite(fd, bytes.data(), bytes.size(), where) == static_cast<ssize_t>(bytes.size()));
    ::close(fd);
}

std::string read(std::string const& path) { return base::read_file(path, 64 << 20).value(); }

bool stands_still(std::string const& mount_point) {
    int const fd = ::open(mount_point.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    REQUIRE(fd >= 0);
    bool const still = ::ioctl(fd, FITHAW, 0) == 0;
    ::close(fd);
    return still;
}

}  // namespace

TEST_CASE("a clone has what its origin had, and is a volume of its own") {
    bool images = true;
    SUBCASE("images") {
        if (no_images()) return;
    }
    SUBCASE("plain directories") { images = false; }
    CAPTURE(images);
    Fixture f(images);
    auto const v = f.create("origin");
    REQUIRE(put(*v, "a", "hello"));
    std::filesystem::create_directories(at(*v, "workspace/deep/er"));
    write(at(*v, "workspace/deep/er/file"), "x");
    REQUIRE(::chmod(at(*v, "workspace/deep/er/file").c_str(), 04751) == 0);
    REQUIRE(::chown(at(*v, "workspace/deep").c_str(), 1234, 4321) == 0);
    REQUIRE(::link(at(*v, "workspace/a").c_str(), at(*v, "workspace/deep/hard").c_str()) == 0);
    REQUIRE(::symlink("/etc/shadow", at(*v, "workspace/out").c_str()) == 0);
    REQUIRE(::symlink("nowhere", at(*v, "workspace/dangling").c_str()) == 0);
    REQUIRE(::mkfifo(at(*v, "workspace/fifo").c_str(), 0640) == 0);
    bool const attributes = ::setxattr(at(*v, "workspace/a").c_str(), "user.note", "kept", 4, 0) == 0;
    write(at(*v, "workspace/sparse"), "end", 40 << 20);
    write(at(*v, "home/.profile"), "home");
    timespec const times[] = {{1'000'000, 5}, {2'000'000, 6}};
    REQUIRE(::utimensat(AT_FDCWD, at(*v, "workspace/deep").c_str(), times, 0) == 0);

    auto const made = clone(f, "origin", "copy");
    REQUIRE_MESSAGE(made, (made ? "" : made.error().message()));
    CHECK(f.entries(".") == 0);
    CHECK(made->bytes > 0);
    if (!made->shared) CHECK(made->bytes < (30u << 20));  // holes stay holes

    // Both at once.
    auto const c = f.open("copy").value();
    CHECK(c->files().read("a", 10).value() == "hello");
    CHECK(look(at(*c, "workspace/deep/er/file")).st_mode == look(at(*v, "workspace/deep/er/file")).st_mode);
    CHECK(look(at(*c, "workspace/deep")).st_uid == 1234);
    CHECK(look(at(*c, "workspace/deep")).st_gid == 4321);
    CHECK(look(at(*c, "workspace/deep")).st_mtim.tv_sec == 2'000'000);
    CHECK(look(at(*c, "workspace/a")).st_ino == look(at(*c, "workspace/deep/hard")).st_ino);
    CHECK(std::filesystem::read_symlink(at(*c, "workspace/out")) == "/etc/shadow");
    CHECK(std::filesystem::read_symlink(at(*c, "workspace/dangling")) == "nowhere");
    CHECK((look(at(*c, "workspace/fifo")).st_mode & 07777) == 0640);
    CHECK(S_ISFIFO(look(at(*c, "workspace/fifo")).st_mode));
    auto const sparse = look(at(*c, "workspace/sparse"));
    CHECK(sparse.st_size == (40 << 20) + 3);
    CHECK(sparse.st_blocks * 512 < (1 << 20));
    CHECK(read(at(*c, "home/.profile")) == "home");
    if (attributes) {
        char value[8] = {};
        CHECK(::getxattr(at(*c, "workspace/a").c_str(), "user.note", value, sizeof value) == 4);
        CHECK(std::string(value) == "kept");
    }

    // What changes in one does not change in the other.
    REQUIRE(put(*v, "a", "changed"));
    REQUIRE(put(*c, "b", "new"));
    CHECK(c->files().read("a", 10).value() == "hello");
    CHECK(base::is(v->files().read("b", 10).error(), errc::not_found));

    CHECK(base::is(clone(f, "origin", "copy").error(), errc::exists));
    CHECK(base::is(clone(f, "nothing", "other").error(), errc::not_found));
    CHECK(base::is(clone(f, "../origin", "other").error(), errc::invalid));
    CHECK(base::is(clone(f, "origin", ".hidden").error(), errc::invalid));
    CHECK(f.entries(".") == 0);
}

TEST_CASE("a clone of a clone, and of one that is not mounted, outlives its origin") {
    bool images = true;
    SUBCASE("images") {
        if (no_images()) return;
    }
    SUBCASE("plain directories") { images = false; }
    Fixture f(images);
    REQUIRE(put(*f.create("one"), "a", "data"));
    REQUIRE(f.release("one"));
    REQUIRE(clone(f, "one", "two"));
    REQUIRE(f.remove("one"));
    REQUIRE(clone(f, "two", "three"));
    REQUIRE(f.remove("two"));
    CHECK(f.open("three").value()->files().read("a", 10).value() == "data");
}

TEST_CASE("a clone keeps its origin's quota") {
    if (no_images()) return;
    Fixture f;
    f.create("small", 32 << 20);
    REQUIRE(clone(f, "small", "copy"));
    auto const c = f.open("copy").value();
    CHECK(f.store->usage_of("copy").value().bytes_limit == f.store->usage_of("small").value().bytes_limit);
    CHECK_FALSE(put(*c, "big", std::string(31 << 20, 'x')));
}

TEST_CASE("a clone of a volume that is written to shows one instant") {
    if (no_images()) return;
    Fixture f;
    auto const v = f.create("busy");
    // Each step writes b before a: at any instant b is a or one more.
    write(at(*v, "workspace/a"), std::string(4096, '\0'));
    write(at(*v, "workspace/b"), std::string(4096, '\0'));
    write(at(*v, "workspace/log"), "");
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> steps{0};
    std::thread writer([&, path = v->host_directory()] {
        int const a = ::open((path + "/workspace/a").c_str(), O_RDWR | O_CLOEXEC);
        int const b = ::open((path + "/workspace/b").c_str(), O_RDWR | O_CLOEXEC);
        for (std::uint64_t n = 1; !stop; ++n) {
            if (::pwrite(b, &n, sizeof n, 0) != sizeof n || ::pwrite(a, &n, sizeof n, 0) != sizeof n) break;
            auto const name = path + "/workspace/f" + std::to_string(n % 50);
            std::string const text(static_cast<std::size_t>(n % 20'000), 'x');
            int const file = ::open((name + ".new").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
            if (file < 0 || ::write(file, text.data(), text.size()) < 0) break;
            ::close(file);
            ::rename((name + ".new").c_str(), name.c_str());
            steps = n;
        }
        ::close(a);
        ::close(b);
    });
    for (int i = 0; i < 5; ++i) {
        auto const name = "copy" + std::to_string(i);
        auto const before = steps.load();
        for (int tries = 0; tries < 6000 && steps == before; ++tries)
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        CHECK(steps > before);  // it goes on after the clone before
        auto const made = clone(f, "busy", name);
        REQUIRE_MESSAGE(made, (made ? "" : made.error().message()));
        base::Launch check;
        check.argv = {"e2fsck", "-f", "-n", f.directory + "/" + name + "/image"};
        auto const checked = f.io.run(base::run(std::move(check), std::chrono::minutes(1)));
        REQUIRE(checked);
        CHECK_MESSAGE(checked->exit_code == 0, checked->out);
        auto const c = f.open(name).value();
        std::uint64_t a = 0, b = 0;
        std::memcpy(&a, read(at(*c, "workspace/a")).data(), sizeof a);
        std::memcpy(&b, read(at(*c, "workspace/b")).data(), sizeof b);
        CHECK(b - a <= 1);
        CHECK(b >= before);
    }
    stop = true;
    writer.join();
    CHECK_FALSE(stands_still(v->host_directory()));
}

TEST_CASE("a clone that takes longer than it may leaves nothing, and its origin goes on") {
    bool images = true;
    SUBCASE("images") {
        if (no_images()) return;
    }
    SUBCASE("plain directories") { images = false; }
    Fixture f(images);
    auto const v = f.create("large");
    for (int i = 0; i < 40; ++i) REQUIRE(put(*v, "f" + std::to_string(i), std::string(1 << 20, 'x')));
    // By reflink it takes no time at all, and so none too long.
    auto const made = f.io.run(f.store->clone("large", "copy", std::chrono::milliseconds(1)));
    if (made) CHECK(made->shared);
    else CHECK(base::is(made.error(), errc::timed_out));
    CHECK(f.entries(".") == 0);
    CHECK(f.entries("copy") == (made ? 1u : 0u));
    if (images) CHECK_FALSE(stands_still(v->host_directory()));
    CHECK(put(*v, "more", "x"));
    auto const again = f.io.run(f.store->clone("large", "second", std::chrono::minutes(1)));
    REQUIRE_MESSAGE(again, (again ? "" : again.error().message()));
}

TEST_CASE("a clone on a disk that knows reflinks shares its blocks") {
    if (no_images()) return;
    Fixture f;
    auto const run = [&](std::vector<std::string> argv) {
        base::Launch launch;
        launch.argv = std::move(argv);
        auto done = f.io.run(base::run(std::move(launch), std::chrono::seconds(30)));
        return done && done->exit_code == 0;
    };
    if (base::find_program("mkfs.btrfs").empty()) {
        MESSAGE("SKIPPED: mkfs.btrfs is not installed (scripts/setup --suites)");
        return;
    }
    // The store moves to a disk of its own.
    f.io.run(f.store->stop(true));
    f.store.reset();
    auto const disk = f.temporary.path + "/disk";
    write(disk, "", 0);
    REQUIRE(::truncate(disk.c_str(), 512 << 20) == 0);
    REQUIRE(run({"mkfs.btrfs", "-q", disk}));
    if (!run({"mount", "-o", "loop", disk, f.directory})) {
        MESSAGE("SKIPPED: this kernel cannot mount btrfs");
        return;
    }
    f.start();
    auto const used = [&] {
        struct statvfs now {};
        int const fd = ::open(f.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        REQUIRE(fd >= 0);
        REQUIRE(::syncfs(fd) == 0);
        REQUIRE(::fstatvfs(fd, &now) == 0);
        ::close(fd);
        return (now.f_blocks - now.f_bfree) * now.f_frsize;
    };
    std::string const content = base::random_bytes(24 << 20);
    REQUIRE(put(*f.create("origin"), "large", content));
    auto const before = used();
    for (std::string const name : {"one", "two", "three"}) {
        auto const made = clone(f, "origin", name);
        REQUIRE_MESSAGE(made, (made ? "" : made.error().message()));
        CHECK(made->shared);
    }
    CHECK(used() < before + (24u << 20));  // three copies take less than one
    REQUIRE(put(*f.open("one").value(), "large", "changed"));
    CHECK(f.open("two").value()->files().read("large", 64 << 20).value() == content);
    CHECK(f.open("origin").value()->files().read("large", 64 << 20).value() == content);
    f.io.run(f.store->stop(true));
    f.store.reset();
    CHECK(run({"umount", f.directory}));
}

TEST_CASE("clones at the same time") {
    if (no_images()) return;
    Fixture f;
    REQUIRE(put(*f.create("one"), "a", "data"));
    auto all = [](VolumeStore* store) -> base::Task<std::vector<base::Result<VolumeCopy>>> {
        std::vector<base::Result<VolumeCopy>> out;
        auto const executor = co_await asio::this_coro::executor;
        int left = 8;
        for (int i = 0; i < 8; ++i) {
            auto name = "c" + std::to_string(i % 4);  // each name twice: one of the two loses
            asio::co_spawn(executor, store->clone("one", std::move(name)),
                           [&](std::exception_ptr, base::Result<VolumeCopy> r) {
                               out.push_back(std::move(r));
                               --left;
                           });
        }
        while (left > 0) {
            asio::steady_timer timer(executor, std::chrono::milliseconds(5));
            co_await timer.async_wait(base::as_tuple);
        }
        co_return out;
    };
    auto const done = f.io.run(all(f.store.get()));
    CHECK(std::count_if(done.begin(), done.end(), [](auto const& r) { return r.has_value(); }) == 4);
    for (auto const& r : done)
        if (!r) CHECK(base::is(r.error(), errc::exists));
    CHECK(f.entries(".") == 0);
    for (int i = 0; i < 4; ++i)
        CHECK(f.open("c" + std::to_string(i)).value()->files().read("a", 10).value() == "data");
}

TEST_CASE("a server killed in the middle of a clone") {
    if (no_images()) return;
    Fixture f;
    REQUIRE(put(*f.create("used"), "a", "data"));
    REQUIRE(put(*f.create("idle"), "a", "data"));
    // What it leaves: half a copy without a name, and file systems that stand still.
    std::filesystem::create_directories(f.directory + "/.stock-half/fs");
    write(f.directory + "/.stock-half/image", "half");
    for (std::string const name : {"used", "idle"}) {
        int const fd = ::open((f.directory + "/" + name + "/fs").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        REQUIRE(::ioctl(fd, FIFREEZE, 0) == 0);
        ::close(fd);
    }
    f.io.run(f.store->stop(false));
    f.store.reset();
    // A sandbox, which the next server takes back, goes on using one of them.
    int const user = ::open((f.directory + "/used/fs").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    f.start();
    CHECK_FALSE(stands_still(f.directory + "/used/fs"));
    CHECK(f.io.run(f.store->recover({"used", "idle"})) == 0);
    CHECK(f.entries(".") == 0);
    CHECK(f.mounts() == 1);
    CHECK(put(*f.open("used").value(), "b", "more"));
    CHECK(put(*f.open("idle").value(), "b", "more"));
    REQUIRE(clone(f, "used", "again"));
    ::close(user);
}
