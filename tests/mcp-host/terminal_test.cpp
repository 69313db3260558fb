// Words of servers, of authorization servers and of imported files on the operator's terminal.
#include <doctest/doctest.h>

#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <sstream>
#include <terminal.hpp>

using namespace std::string_view_literals;

TEST_CASE("somebody else's words on a terminal") {
    SUBCASE("stay as they are where nothing obeys them") {
        for (auto const text : {"Guarded, v1"sv, "línea 日本語 ✓ — “x” 🚢"sv, ""sv}) {
            CHECK(host::plain(text) == text);
            CHECK(host::plain_lines(text) == text);
        }
    }
    SUBCASE("move no cursor, name no window and ring no bell") {
        CHECK(host::plain("\x1b[2J\x1b[1;1HLogged in") == "?[2J?[1;1HLogged in");
        CHECK(host::plain("\x1b]0;owned\a") == "?]0;owned?");
        CHECK(host::plain("good\rbad\b\x7f\0x"sv) == "good?bad???x");
        CHECK(host::plain("\xc2\x9b" "2J") == "?2J");  // CSI in one character
        CHECK(host::plain("\x9b" "2J").find('\x9b') == std::string::npos);
    }
    SUBCASE("forge no further line") {
        CHECK(host::plain("no\nfs: good, in a sandbox") == "no?fs: good, in a sandbox");
        CHECK(host::plain("no\xe2\x80\xa8" "yes") == "no?yes");
        CHECK(host::plain_lines("a\n\tb\x1b[A\r\n") == "a\n\tb?[A?\n");
    }
    SUBCASE("turn nothing round") {
        CHECK(host::plain("/home/\xe2\x80\xae" "txt.yek") == "/home/?txt.yek");
        CHECK(host::plain("\xe2\x81\xa6" "a\xe2\x81\xa9" "\xe2\x80\x8f" "\xd8\x9c") == "?a???");
    }
    SUBCASE("do none of that in the log either") {
        std::ostringstream said;
        auto const before = spdlog::default_logger();
        spdlog::set_default_logger(
            std::make_shared<spdlog::logger>("berth", std::make_shared<spdlog::sinks::ostream_sink_st>(said)));
        host::log_plainly();
        spdlog::warn("server {} ended: {}", "x", "\x1b[2J\n[berth] [info] all is well");
        spdlog::set_default_logger(before);
        CHECK(said.str().ends_with("] [berth] [warning] server x ended: ?[2J?[berth] [info] all is well\n"));
    }
}
