#include "fixture.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

using namespace registry_test;

namespace {

std::string refusal(World& w) {
    auto const opened = Registry::open(w.io.context, w.dir.path);
    if (opened) return "opened";
    CHECK(base::is(opened.error(), base::errc::corrupt));
    CHECK(opened.error().context.find('\n') == std::string::npos);
    return opened.error().message();
}

void overwrite(std::string const& path, std::streamoff at, std::string const& bytes) {
    std::fstream f(path, std::ios::in | std::ios::out | std::ios::binary);
    f.seekp(at);
    f << bytes;
}

}  // namespace

TEST_CASE("a registry that cannot be used") {
    World w;
    for (int i = 0; i < 200; ++i) REQUIRE(ok(w.io.run(w.registry->insert_workspace(workspace("w" + std::to_string(i))))));

    SUBCASE("belongs to another server, which is named") {
        auto const second = Registry::open(w.io.context, w.dir.path);
        REQUIRE_FALSE(second.has_value());
        CHECK(base::is(second.error(), base::errc::busy));
        CHECK(second.error().message() ==
              "another server owns " + w.dir.path + " (process " + std::to_string(::getpid()) + ")");
        w.close();
        w.open();
        CHECK(w.io.run(w.registry->workspaces()).value().size() == 200);
    }
    SUBCASE("is of a newer version") {
        w.close();
        auto const known = number(w.file(), "PRAGMA user_version");
        sql(w.file(), "PRAGMA user_version=1000");
        CHECK(refusal(w) == w.file() + " is of version 1000, this build knows up to " + std::to_string(known) +
                                ": use a newer berth or another data directory");
        sql(w.file(), "PRAGMA user_version=" + std::to_string(known));
        w.open();
        CHECK(w.io.run(w.registry->workspaces()).value().size() == 200);
    }
    SUBCASE("is another program's database, or none at all") {
        w.close();
        sql(w.file(), "PRAGMA application_id=0");
        CHECK(refusal(w) == w.file() + " is a database of another program");
        std::filesystem::remove(w.file());
        std::ofstream(w.file()) << std::string(10'000, 'x');
        CHECK(refusal(w) == w.file() + " is not a registry: file is not a database");
    }
    SUBCASE("has damaged pages, and is left as it is") {
        w.close();
        auto const size = std::filesystem::file_size(w.file());
        for (std::uintmax_t page = 4096; page < size; page += 4096)
            overwrite(w.file(), static_cast<std::streamoff>(page), std::string(100, '\xA5'));
        auto const before = std::filesystem::last_write_time(w.file());
        CHECK(refusal(w).starts_with(w.file() + " is damaged: "));
        CHECK(std::filesystem::last_write_time(w.file()) == before);
        CHECK(refusal(w).starts_with(w.file() + " is damaged: "));
    }
    SUBCASE("was cut short") {
        w.close();
        std::filesystem::resize_file(w.file(), std::filesystem::file_size(w.file()) / 2);
        CHECK(refusal(w).find(" is ") != std::string::npos);
    }
    SUBCASE("is a link to somewhere else") {
        w.close();
        std::filesystem::rename(w.file(), w.dir.path + "/elsewhere");
        std::filesystem::create_symlink(w.dir.path + "/elsewhere", w.file());
        CHECK_FALSE(Registry::open(w.io.context, w.dir.path).has_value());
    }
    SUBCASE("stands in a directory that does not exist") {
        CHECK_FALSE(Registry::open(w.io.context, w.dir.path + "/none").has_value());
    }
}
