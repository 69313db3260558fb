#include "volumes.hpp"
#include <base/launcher.hpp>

#include <fcntl.h>
#include <sys/mount.h>

using namespace workspace;
using namespace volume_test;
using base::errc;

TEST_CASE("volumes of either kind") {
    bool images = true;
    SUBCASE("images") {
        if (no_images()) return;
    }
    SUBCASE("plain directories") { images = false; }
    CAPTURE(images);
    Fixture f(images);
    CHECK(f.store->quota_enforced() == images);
    {
        auto v = f.create("one");
        CHECK(v->id() == "one");
        CHECK(std::filesystem::is_directory(v->host_directory() + "/workspace"));
        CHECK(std::filesystem::is_directory(v->host_directory() + "/home"));
        REQUIRE(put(*v, "a", "hello"));
        CHECK(write_file(v->home(), ".profile", "x", WriteMode::overwrite, std::nullopt).has_value());
        CHECK(base::is(f.io.run(f.store->create("one", kSize)).error(), errc::exists));
        CHECK(f.entries(".") == 0);
        CHECK(base::is(f.release("one").error(), errc::busy));  // we hold it
        CHECK(f.store->usage_of("one").value().bytes_limit > 0);
        CHECK(f.open("one").value() == v);
    }
    CHECK(f.release("one").has_value());
    CHECK(f.mounts() == 0);
    CHECK(f.store->usage_of("one").value().bytes_limit == 0);
    CHECK(f.release("one").has_value());
    CHECK(f.open("one").value()->files().read("a", 10).value() == "hello");
    CHECK(base::is(f.open("none").error(), errc::not_found));
    for (auto const& id :
         std::vector<std::string>{"", ".", "..", "../x", "a/b", ".stock-x", "a b", std::string(200, 'x')}) {
        CHECK(base::is(f.io.run(f.store->create(id, kSize)).error(), errc::invalid));
        CHECK(base::is(f.open(id).error(), errc::invalid));
        CHECK(base::is(f.remove(id).error(), errc::invalid));
    }
    CHECK(base::is(f.io.run(f.store->create("tiny", 1000)).error(), errc::invalid));
    CHECK(base::is(f.io.run(f.store->take(1000)).error(), errc::invalid));
    CHECK(f.remove("one").has_value());
    CHECK(f.remove("one").has_value());
    CHECK(base::is(f.open("one").error(), errc::not_found));
    CHECK(f.entries("") == 0);
}

TEST_CASE("recover removes what no record knows and what a crash left") {
    bool images = true;
    SUBCASE("images") {
        if (no_images()) return;
    }
    SUBCASE("plain directories") { images = false; }
    Fixture f(images);
    f.create("kept");
    put(*f.open("kept").value(), "a", "data");
    auto const half_written = f.directory + "/kept/fs/.berth-staging/half/written";
    std::filesystem::create_directories(half_written);
    f.create("asleep");
    CHECK(f.release("asleep").has_value());
    f.create("unknown");
    f.create("unknown-asleep");
    CHECK(f.release("unknown-asleep").has_value());
    f.create("stocked");
    std::filesystem::rename(f.directory + "/stocked", f.directory + "/.stock-left");
    std::filesystem::create_directory(f.directory + "/.gone-half");
    // What a crash leaves, with processes that still use it: the first store keeps all it has open.
    auto crashed = std::move(f.store);
    f.start(images);
    int const removed = f.io.run(f.store->recover({"kept", "asleep", "lost"}));
    CHECK(removed == 2);
    CHECK(f.entries("") == 2);
    if (images) CHECK(f.mounts() == 1);  // kept is in use
    f.io.run(crashed->stop(false));
    crashed.reset();
    CHECK(f.open("kept").value()->files().read("a", 10).value() == "data");
    CHECK_FALSE(std::filesystem::exists(half_written));
    CHECK(f.open("asleep").has_value());
    CHECK(base::is(f.open("lost").error(), errc::not_found));
}

TEST_CASE("a full volume") {
    if (no_images()) return;
    Fixture f;
    auto v = f.create("small", 16 << 20);
    auto const limit = f.store->usage_of("small").value();
    CHECK(limit.bytes_limit <= 16 << 20);
    CHECK(limit.inodes_limit > 0);
    REQUIRE(put(*v, "file", "old content"));
    REQUIRE(write_file(v->files(), "log", "old log\n", WriteMode::append, std::nullopt).has_value());
    int written = 0;
    std::string const mib(1 << 20, 'x');
    while (written < 100 && put(*v, "fill" + std::to_string(written), mib)) ++written;
    REQUIRE(written < 16);
    std::string const much(4 << 20, 'y');
    SUBCASE("refuses with a sentence, and the old file stays") {
        auto const w = write_file(v->files(), "file", much, WriteMode::overwrite, std::nullopt);
        REQUIRE_FALSE(w);
        CHECK(contains(w.error().message(), "disk is full"));
        CHECK(v->files().read("file", 100).value() == "old content");
        auto const a = write_file(v->files(), "log", much, WriteMode::append, std::nullopt);
        REQUIRE_FALSE(a);
        CHECK(contains(a.error().message(), "disk is full"));
        CHECK(v->files().read("log", 100).value() == "old log\n");
        auto const e = edit_file(v->files(), "file", {{"old", much, false}}, std::nullopt);
        REQUIRE_FALSE(e);
        CHECK(contains(e.error().message(), "disk is full"));
        CHECK(v->files().read("file", 100).value() == "old content");
        CHECK_FALSE(write_file(v->files(), "fresh", much, WriteMode::append, std::nullopt));
        CHECK_FALSE(v->files().stat("fresh").has_value());
    }
    SUBCASE("takes files again after some are deleted, and a neighbour is not touched") {
        auto other = f.create("other");
        CHECK(put(*other, "a", much));
        CHECK(v->files().remove("fill0", false).has_value());
        CHECK(v->files().remove("fill1", false).has_value());
        CHECK(put(*v, "again", "small"));
    }
}

TEST_CASE("a full inode table") {
    if (no_images()) return;
    Fixture f;
    auto v = f.create("small", 16 << 20);
    int made = 0;
    for (; made < 5000; ++made) {
        base::UniqueFd const fd(::openat(v->files().fd(), ("f" + std::to_string(made)).c_str(),
                                         O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
        if (!fd) break;
    }
    CHECK(made < 5000);
    auto const w = write_file(v->files(), "one-more", "x", WriteMode::overwrite, std::nullopt);
    REQUIRE_FALSE(w);
    CHECK(contains(w.error().message(), "disk is full"));
}

TEST_CASE("the stock") {
    if (no_images()) return;
    Fixture f(true, 2);
    f.store->start_stocking();
    f.until_stocked(2);
    CHECK(f.entries("v-") == 2);
    SUBCASE("gives its volumes away and fills up again") {
        auto a = f.take(), b = f.take(), c = f.take(), d = f.take(kSize * 2);
        CHECK(f.store->usage_of(d->id()).value().bytes_limit > f.store->usage_of(a->id()).value().bytes_limit);
        REQUIRE(put(*a, "x", "from a"));
        CHECK_FALSE(b->files().stat("x").has_value());
        CHECK(a->host_directory() != b->host_directory());
        CHECK(base::read_file(a->host_directory() + "/workspace/x").value() == "from a");
        f.until_stocked(6);
        CHECK(f.mounts() == 6);
    }
    SUBCASE("is apart from volumes that are made under a name") {
        auto a = f.create("a");
        CHECK(f.entries("v-") == 2);
        CHECK(base::is(f.io.run(f.store->create("a", kSize)).error(), errc::exists));
        CHECK(put(*a, "x", "still there"));
    }
    SUBCASE("what it gave survives the host's crash: it opens from its image alone") {
        std::string id;
        {
            auto a = f.take();
            id = a->id();
            REQUIRE(put(*a, "x", "durable"));
        }
        CHECK(f.release(id).has_value());
        CHECK(f.open(id).value()->files().read("x", 10).value() == "durable");
    }
    SUBCASE("goes when a crash left it, and what it gave stays where a record names it") {
        auto given = f.take();
        auto const id = given->id();
        f.until_stocked(3);
        auto crashed = std::move(f.store);
        f.start(true, 0);
        CHECK(f.io.run(f.store->recover({id})) == 2);
        CHECK(f.entries("") == 1);
        f.io.run(crashed->stop(false));
        crashed.reset();
        given.reset();
        CHECK(f.open(id).has_value());
    }
}

TEST_CASE("the same image is never behind two devices") {
    if (no_images()) return;
    Fixture f;
    std::string const second = f.temporary.path + "/second";
    std::filesystem::create_directory(second);
    REQUIRE(put(*f.create("a"), "x", "one"));
    // As a mount namespace that kept a copy of the mount.
    REQUIRE(::mount((f.directory + "/a/fs").c_str(), second.c_str(), nullptr, MS_BIND, nullptr) == 0);
    CHECK(f.release("a").has_value());
    auto v = f.open("a").value();
    REQUIRE(put(*v, "x", "two"));
    CHECK(base::read_file(second + "/workspace/x").value() == "two");
    CHECK(::umount2(second.c_str(), 0) == 0);
}

TEST_CASE("callers at the same time") {
    if (no_images()) return;
    Fixture f;
    f.create("a");
    CHECK(f.release("a").has_value());
    std::vector<std::shared_ptr<Volume>> opened;
    auto one = [&](std::string id) -> base::Task<void> {
        auto v = co_await f.store->open_volume(id);
        if (v) opened.push_back(*v);
    };
    int done = 0;
    for (int i = 0; i < 8; ++i) asio::co_spawn(f.io.context, one("a"), [&](std::exception_ptr) { ++done; });
    for (int i = 0; i < 600 && done < 8; ++i)
        f.io.context.restart(), f.io.context.run_for(std::chrono::milliseconds(50));
    REQUIRE(opened.size() == 8);
    for (auto const& v : opened) CHECK(v == opened[0]);
    CHECK(f.mounts() == 1);
}

TEST_CASE("a damaged image") {
    if (no_images()) return;
    Fixture f;
    f.create("a");
    CHECK(f.release("a").has_value());
    auto const image = f.directory + "/a/image";
    SUBCASE("with its first superblock gone is reported, or repaired from a copy") {
        base::UniqueFd const fd(::open(image.c_str(), O_WRONLY | O_CLOEXEC));
        std::string const zeros(4096, '\0');
        REQUIRE(::pwrite(fd.get(), zeros.data(), zeros.size(), 0) == 4096);
        auto const v = f.open("a");
        if (!v) CHECK(base::is(v.error(), errc::corrupt));
    }
    SUBCASE("that is no file system is reported") {
        std::filesystem::resize_file(image, 0);
        std::filesystem::resize_file(image, kSize);
        CHECK(base::is(f.open("a").error(), errc::corrupt));
    }
    CHECK(f.mounts() <= 1);
}
