#include "guest_fixture.hpp"

#include <doctest/doctest.h>

using namespace guest_test;

namespace {

// A variable by which a command takes the ordinary way: it says how programs are loaded.
constexpr char const* kOrdinary = "LD_BERTH_TEST";

struct ReadyFixture : Fixture {
    ReadyFixture() { prepare(); }
    void prepare() { io.run(guest.prepare()).value(); }

    sandbox::ProcessView both(std::string const& command, bool ready, bool pty = false, std::string input = {}) {
        auto s = spec(command);
        s.pty = pty;
        s.stdin_bytes = std::move(input);
        if (!ready) s.env[kOrdinary] = "1";
        else prepare();
        return start(std::move(s)).value();
    }
};

constexpr char const* kWasReady = "grep -c berth-ready /proc/$$/maps; :";

struct Row {
    char const* command;
    char const* input = "";
    bool pty = false;
};

// What is told of the shell's own number, and of the variable above, is left out.
constexpr Row kTable[] = {
    {"echo one; echo two >&2; echo three"},
    {"exit 42"},
    {"kill -SEGV $$"},
    {"kill -TERM $$; sleep 60"},
    {"false | true; echo ${PIPESTATUS[@]}"},
    {"set -euo pipefail; false | cat; echo not reached"},
    {"echo \"$0|$#|$*|$-|$BASH|$SHLVL|$BASH_EXECUTION_STRING|$IFS|$OPTIND|$PPID\" | sed s/$PPID/parent/"},
    {"shopt; set -o; ulimit -a; umask"},
    {"trap; trap 'echo bye' EXIT; trap -p"},
    {"for s in HUP INT QUIT TERM PIPE CHLD TTOU TSTP; do trap -p $s; done; grep -E '^Sig(Blk|Ign|Cgt)|^ShdPnd' /proc/self/status"},
    {"grep -E '^Sig(Blk|Ign|Cgt)|^Cap|^NoNewPrivs|^Uid|^Groups' /proc/$$/status"},
    {"env | grep -v -e BERTH -e ^_= | sort"},
    {"export | grep -v BERTH; declare -p LANG HOME PATH PWD OLDPWD"},
    {"ls -l /proc/self/fd | wc -l; for f in 0 1 2 3 4 5 9 255; do [ -e /proc/$$/fd/$f ] && echo $f; done"},
    {"readlink /proc/$$/cwd /proc/$$/exe /proc/$$/root; cat /proc/$$/comm; echo"},
    {"tr '\\0' '\\n' < /proc/$$/cmdline | head -3; :"},
    {"tr '\\0' '\\n' < /proc/$$/environ | grep -a -v -e BERTH -e '^$' | sort"},
    {"ps -o pid= -o pgid= -o sid= -p $$ | awk '$1 == $2 && $2 == $3 { print \"leads\" }'"},
    {"cat; echo end"},
    {"cat; echo end", "some\ninput without an end"},
    {"read a b; echo \"$b:$a\"; wc -c", "one two\nthree\n"},
    {"no-such-program-here"},
    {"if true; then"},
    {"echo 'unterminated"},
    {"echo $UNSET ${UNSET:?wanted}"},
    {"printf '%s\\n' ä | wc -m; locale 2>/dev/null | sort; echo ä | LC_ALL=C wc -m"},
    {"LC_ALL=C; echo ${#LANG}; x=ä; echo ${#x}; LC_ALL=C.UTF-8; echo ${#x}"},
    {"cd /; pwd; cd - >/dev/null && echo back; echo ~ ~root"},
    {"sleep 0 & wait $!; echo $?; jobs; (exit 3); echo $?"},
    {"set -m; sleep 0 & fg 2>&1; echo $?"},
    {"exec echo replaced"},
    {"exec 5>&1; echo five >&5; f() { local x=1; return 7; }; f; echo $?"},
    {"cat <<< here; cat <(echo process)"},
    {"echo $((1 << 40)) $(echo sub) `echo old`; [[ abc =~ b ]] && echo $BASH_REMATCH"},
    {"bash -c 'echo \"$0 $1 $SHLVL\"' zero one; sh -c 'echo $PPID' > /dev/null; echo $?"},
    {"head -c 300000 /dev/zero | wc -c; seq 3 | while read x; do echo $x; done"},
    {"tty; stty size; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo terminal", "", true},
    {"cat /dev/tty", "typed\n", true},
    {"set -m; sleep 0 & wait; ps -o tty= -p $$ | grep -c pts; echo $-", "", true},
    {"#!/bin/false\necho 'a comment is no interpreter'"},
    {""},
    {"   "},
    {"echo a\necho b\n\nexit 3\n"},
};

}  // namespace

TEST_CASE("a command finds in a shell that waited for it what it finds in a new one") {
    ReadyFixture f;
    REQUIRE(f.both(kWasReady, true).output != "0\n");
    REQUIRE(f.both(kWasReady, false).output == "0\n");
    for (auto const& row : kTable) {
        CAPTURE(row.command);
        auto const ready = f.both(row.command, true, row.pty, row.input);
        auto const ordinary = f.both(row.command, false, row.pty, row.input);
        auto const without_marker = [](std::string text) {
            for (auto at = text.find("LD_BERTH_TEST"); at != text.npos; at = text.find("LD_BERTH_TEST")) {
                auto const begin = text.rfind('\n', at) == text.npos ? 0 : text.rfind('\n', at) + 1;
                text.erase(begin, text.find('\n', at) + 1 - begin);
            }
            return text;
        };
        CHECK(without_marker(ready.output) == without_marker(ordinary.output));
        CHECK(ready.exit_code == ordinary.exit_code);
        CHECK(ready.signal == ordinary.signal);
        CHECK(ready.reason == ordinary.reason);
    }
}

TEST_CASE("waiting shells") {
    ReadyFixture f;

    SUBCASE("are nobody's command, and bear another name") {
        CHECK(f.io.run(f.guest.processes()).value().empty());
        CHECK(f.both("pgrep -P " + std::to_string(f.process.pid) + " -x berth-ready | wc -l", false).output != "0\n");
        CHECK(f.both("pgrep -P " + std::to_string(f.process.pid) + " -x bash | wc -l; :", false).output == "1\n");
    }
    SUBCASE("one command after the other: each is run once, whichever way it takes") {
        std::string expected, all;
        for (int i = 0; i < 60; ++i) {
            all += f.run("echo " + std::to_string(i) + " >> log; echo " + std::to_string(i)).output;
            expected += std::to_string(i) + "\n";
        }
        CHECK(all == expected);
        CHECK(f.run("/bin/cat log").output == expected);
    }
    SUBCASE("killed or stopped by a command: the next one runs all the same") {
        for (char const* signal : {"KILL", "STOP", "HUP"}) {
            f.prepare();
            f.both("pkill -" + std::string(signal) + " -x berth-ready", false);
            CHECK(f.run("echo $((6 * 7))").output == "42\n");
        }
    }
    SUBCASE("a limit on processes is the command's") {
        sandbox::GuestSetup setup;
        setup.workspace_id = "w";
        setup.max_processes = 77;
        f.io.run(f.guest.configure(setup)).value();
        f.prepare();
        CHECK(f.run("ulimit -Su; ulimit -Hu").output == "77\n77\n");
    }
    SUBCASE("a command too long for the way to them takes the ordinary one") {
        auto const v = f.run("echo " + std::string(70'000, 'x') + " | wc -c");
        CHECK(v.output == "70001\n");
    }
    SUBCASE("a directory that is not there is the caller's mistake, as ever") {
        auto s = f.spec("pwd; :");
        s.cwd = "/no/such/directory";
        CHECK(is(f.start(s).error(), base::errc::invalid));
    }
    SUBCASE("stopping a command that was theirs ends its whole tree") {
        auto s = f.spec("sleep 1000 & (setsid sleep 1000 &); echo up; wait", milliseconds(1));
        f.start(s).value();
        CHECK(f.read_until(s.id, "up\n") == "up\n");
        CHECK(f.io.run(f.guest.stop(s.id, SIGTERM, milliseconds(5'000))).value().reason == "killed");
    }
}
