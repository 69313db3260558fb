// What is said to CRIU and heard from it, without one.
#include <criu.hpp>
#include <native/criu_program.hpp>
#include <order.hpp>
#include <testing/io.hpp>
#include <wire.hpp>

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

using namespace sandbox::native;

namespace {

std::map<unsigned, std::vector<wire::Field>> fields_of(std::string_view bytes) {
    std::map<unsigned, std::vector<wire::Field>> out;
    wire::Reader reader(bytes);
    for (wire::Field field; reader.next(field);) out[field.number].push_back(field);
    CHECK(reader.sound());
    return out;
}

}  // namespace

TEST_CASE("messages on the wire") {
    SUBCASE("are the bytes that the format's own description shows") {
        // protobuf.dev/programming-guides/encoding: 150 in field 1, "testing" in field 2, and a message in field 3.
        wire::Message number, text, outer;
        number.number(1, 150);
        text.text(2, "testing");
        outer.message(3, number);
        CHECK(number.bytes() == std::string("\x08\x96\x01", 3));
        CHECK(text.bytes() == std::string("\x12\x07testing", 9));
        CHECK(outer.bytes() == std::string("\x1a\x03\x08\x96\x01", 5));
    }
    SUBCASE("are read as they were written, lists and long numbers included") {
        wire::Message m;
        m.number(65, 1).number(3, ~0ull).text(37, "one").text(37, "two").number(9, 0);
        auto const fields = fields_of(m.bytes());
        CHECK(fields.at(65)[0].value == 1);
        CHECK(fields.at(3)[0].value == ~0ull);
        CHECK(fields.at(9)[0].value == 0);
        REQUIRE(fields.at(37).size() == 2);
        CHECK(fields.at(37)[0].text == "one");
        CHECK(fields.at(37)[1].text == "two");
    }
    SUBCASE("that are cut or none at all end without a field of what is missing") {
        std::vector<std::string> const broken{std::string("\x08", 1), std::string("\x08\xff", 2), std::string("\x12\x07test", 6),
                                              std::string("\x0b", 1), std::string("\x0d\x01\x02", 3), std::string(12, '\xff')};
        for (auto const& bytes : broken) {
            wire::Reader reader(bytes);
            wire::Field field;
            CHECK_FALSE(reader.next(field));
            CHECK_FALSE(reader.sound());
        }
    }
}

TEST_CASE("a request to CRIU") {
    criu::Request request;
    request.images = 7;
    request.work = 8;
    request.log_name = "x.log";
    request.external = {"mnt[/a]:/a", "file[1f:2]"};

    SUBCASE("for a dump leaves the tree as it is, frozen in its cgroup") {
        request.process = 4711;
        request.freezer = "/sys/fs/cgroup/x";
        auto const message = criu::encode(request);      // which the fields point into
        auto const fields = fields_of(message.bytes());
        CHECK(fields.at(1)[0].value == 7);
        CHECK(fields.at(2)[0].value == 4711);
        CHECK(fields.at(3)[0].value == 1);
        CHECK(fields.at(44)[0].text == "/sys/fs/cgroup/x");
        CHECK(fields.at(34)[0].value == 0);
        CHECK(fields.at(64)[0].value == 3);
        REQUIRE(fields.at(37).size() == 2);
        CHECK(fields.at(37)[1].text == "file[1f:2]");
        CHECK_FALSE(fields.contains(13));
        CHECK_FALSE(fields.contains(12));
    }
    SUBCASE("for a restore names the root and the descriptors, and asks before anything runs") {
        request.kind = criu::Request::Kind::restore;
        request.root = "/slot/root";
        request.inherited = {{"file[1f:2]", 5}};
        auto const message = criu::encode(request);      // which the fields point into
        auto const fields = fields_of(message.bytes());
        CHECK(fields.at(13)[0].text == "/slot/root");
        CHECK(fields.at(12)[0].value == 1);
        CHECK(fields.at(65)[0].value == 1);
        CHECK_FALSE(fields.contains(2));
        CHECK_FALSE(fields.contains(44));
        auto const inherited = fields_of(fields.at(27)[0].text);
        CHECK(inherited.at(1)[0].text == "file[1f:2]");
        CHECK(inherited.at(2)[0].value == 5);
    }
}

TEST_CASE("an image of a user namespace names its ids, and nothing else") {
    auto const image = criu::user_namespace_image(1'879'048'192, 65'536);
    REQUIRE(image.size() > 12);
    CHECK(image.substr(0, 8) == std::string("\x19\x43\x56\x54\x06\x49\x47\x55", 8));
    CHECK(static_cast<unsigned char>(image[8]) == image.size() - 12);
    auto const fields = fields_of(std::string_view(image).substr(12));
    for (unsigned map : {1u, 2u}) {
        REQUIRE(fields.at(map).size() == 1);
        auto const extent = fields_of(fields.at(map)[0].text);
        CHECK(extent.at(1)[0].value == 0);
        CHECK(extent.at(2)[0].value == 1'879'048'192);
        CHECK(extent.at(3)[0].value == 65'536);
    }
}

TEST_CASE("an image of memory whose process denies being looked at is made to allow it") {
    wire::Message entry;
    entry.number(1, 4096).number(15, 0);
    std::string const header("\x19\x43\x56\x54\x01\x02\x03\x04", 8);
    auto const image = header + std::string(1, static_cast<char>(entry.bytes().size())) + std::string(3, '\0') + entry.bytes();
    auto const changed = criu::dumpable_memory_image(image);
    CHECK(changed.substr(0, 8) == header);
    CHECK(static_cast<unsigned char>(changed[8]) == changed.size() - 12);
    auto const fields = fields_of(std::string_view(changed).substr(12));
    CHECK(fields.at(1)[0].value == 4096);
    CHECK(fields.at(15).back().value == 1);
    CHECK(criu::dumpable_memory_image("short") == "short");
    CHECK(criu::dumpable_memory_image(image + "x") == image + "x");
}

TEST_CASE("an image of what is mapped says how much its file of pages has to hold") {
    auto const entry = [](wire::Message const& m) { return std::string(1, static_cast<char>(m.bytes().size())) + std::string(3, '\0') + m.bytes(); };
    std::string const magics("\x19\x43\x56\x54\x25\x40\x08\x56", 8);
    wire::Message head, present, lazy, absent;
    head.number(1, 7);
    present.number(1, 0x400000).number(2, 3).number(4, 4);
    lazy.number(1, 0x500000).number(2, 0).number(4, 4 | 2).number(5, 2);    // as of CRIU 4.2
    absent.number(1, 0x600000).number(2, 50).number(4, 1);
    auto const whole = magics + entry(head) + entry(present) + entry(lazy) + entry(absent);
    auto const pages = criu::pages_of(whole);
    REQUIRE(pages);
    CHECK(pages->file == 7);
    CHECK(pages->bytes == 5 * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)));
    CHECK(criu::pages_of(magics + entry(head)).value().bytes == 0);
    for (auto const& none : {std::string(), magics, magics.substr(4) + whole.substr(4), whole.substr(0, whole.size() - 1), whole + "x"})
        CHECK_FALSE(criu::pages_of(none));
}

TEST_CASE("a CRIU that came with its libraries is started by its own loader, and by no script") {
    testing_support::TemporaryDirectory own;
    auto const put = [&](char const* name) {
        std::ofstream(own.path + "/" + name) << "#!/bin/false\n";
        std::filesystem::permissions(own.path + "/" + name, std::filesystem::perms::owner_all);
    };
    CHECK(criu_with_libraries(own.path).empty());
    put("criu");                                     // as earlier set-ups left it: a script
    CHECK(criu_with_libraries(own.path).empty());
    put("program");
    CHECK(criu_with_libraries(own.path).empty());
    put("loader");
    CHECK(criu_with_libraries(own.path) ==
          std::vector<std::string>{own.path + "/loader", "--library-path", own.path + "/lib", own.path + "/program"});
}

TEST_CASE("what CRIU says") {
    SUBCASE("about its version") {
        CHECK(criu_version("Version: 4.1.1\nGitID: v4.1.1\n") == "4.1.1");
        CHECK(criu_version("Version: 3.17.1\n") == "3.17.1");
        CHECK(criu_version("criu: command not found\n").empty());
    }
    SUBCASE("about a failure is its last errors, once each, without what is none") {
        std::string const log =
            "(00.001000) Seized task 1\n"
            "(00.012345)     17: Error (criu/files.c:12): Can't open file\n"
            "(00.012346)     17: Error (criu/files.c:12): Can't open file\n"
            "(00.012400) Warn  (criu/net.c:1): no matter\n"
            "(00.013000) Error (criu/mount.c:99): mnt: No root\n"
            "Error (criu/util.c:641): execvp(\"iptables-restore\", ...) failed: No such file or directory\n"
            "(00.014000) Error (criu/cr-restore.c:1): Restoring FAILED.\n"
            "(00.015000) Error (criu/cgroup.c:1998): cg: recv req error\n";
        CHECK(criu::words_of(log) == "Can't open file; mnt: No root");
        CHECK(criu::words_of("(00.001000) all is well\n").empty());
        CHECK(criu::words_of("Error (x): " + std::string(5'000, 'x')).size() <= 400);
    }
}

TEST_CASE("an order to berth-contain arrives whole") {
    Order order;
    order.criu = {"/loader", "/c"};
    order.images = "/i";
    order.work = "/w";
    order.process = 17;
    order.freezer = "/f";
    order.in = "/in";
    order.out = "/out";
    auto const back = order_from(to_json(order));
    REQUIRE(back.has_value());
    CHECK(to_json(*back) == to_json(order));
    auto lacking = to_json(order);
    lacking.erase("process");
    auto no_program = to_json(order);
    no_program["criu"] = base::Json::array();
    for (auto const& wrong : {lacking, no_program}) {
        auto const refused = order_from(wrong);
        REQUIRE_FALSE(refused.has_value());
        CHECK(base::is(refused.error(), base::errc::corrupt));
    }
}
