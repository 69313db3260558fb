#include "guest_fixture.hpp"

#include <doctest/doctest.h>

#include <fstream>

using namespace guest_test;

TEST_CASE("commands: output and exit") {
    Fixture f;

    SUBCASE("stdout and stderr keep their order, and the shell works") {
        auto const v = f.run("echo one; echo two >&2; echo three");
        CHECK(v.output == "one\ntwo\nthree\n");
        CHECK(v.exit_code == 0);
        CHECK(v.reason == "exit");
        CHECK_FALSE(v.running);
        CHECK(v.total_bytes == 14);
        CHECK(v.tail.empty());
    }
    SUBCASE("a plain program runs without a shell") {
        auto const v = f.run("/bin/echo a  b");
        CHECK(v.output == "a b\n");
        auto const parent = f.run("/bin/readlink /proc/self/exe");
        CHECK(parent.output.find("readlink") != std::string::npos);
    }
    SUBCASE("the exit code arrives") { CHECK(f.run("exit 42").exit_code == 42); }
    SUBCASE("a signal is told from an exit") {
        auto const v = f.run("kill -SEGV $$");
        CHECK(v.exit_code == -1);
        CHECK(v.signal == SIGSEGV);
        CHECK(v.reason == "signal");
    }
    SUBCASE("an unknown program is the shell's 127") {
        auto const v = f.run("no-such-program-here");
        CHECK(v.exit_code == 127);
        CHECK(v.output.find("not found") != std::string::npos);
    }
    SUBCASE("a missing directory is the caller's mistake") {
        auto s = f.spec("pwd");
        s.cwd = "/no/such/directory";
        auto const v = f.start(s);
        REQUIRE(v.has_error());
        CHECK(is(v.error(), base::errc::invalid));
        CHECK(v.error().context.find("/no/such/directory") != std::string::npos);
    }
    SUBCASE("an id is used once") {
        auto s = f.spec("exit 0");
        f.start(s).value();
        auto const again = f.start(s);
        REQUIRE(again.has_error());
        CHECK(is(again.error(), base::errc::exists));
    }
    SUBCASE("the workspace's limit on processes is every command's") {
        sandbox::GuestSetup setup;
        setup.workspace_id = "w";
        setup.max_processes = 77;
        f.io.run(f.guest.configure(setup)).value();
        CHECK(f.run("ulimit -Su; ulimit -Hu").output == "77\n77\n");
    }
    SUBCASE("environment: the guest's, the workspace's, the command's") {
        sandbox::GuestSetup setup;
        setup.workspace_id = "w";
        setup.env = {{"A", "workspace"}, {"B", "workspace"}};
        f.io.run(f.guest.configure(setup)).value();
        auto s = f.spec("echo $HOME $A $B $LANG");
        s.env["B"] = "command";
        CHECK(f.start(s).value().output == f.directory.path + " workspace command C.UTF-8\n");
        CHECK(f.io.run(f.guest.configured_for("w")).value());
        CHECK_FALSE(f.io.run(f.guest.configured_for("other")).value());
    }
    SUBCASE("what runs in the background does not hold the answer back, and its output still comes") {
        auto s = f.spec("(read line < wake; echo late) & echo now");
        f.run("mkfifo wake");
        auto const v = f.start(s).value();
        CHECK(v.output == "now\n");
        CHECK_FALSE(v.running);
        f.run("echo > wake");
        std::string late;
        for (int i = 0; i < 2000 && late.empty(); ++i) {
            late = f.io.run(f.guest.read(s.id, 4, 100, milliseconds(0))).value().output;
            ::usleep(5000);
        }
        CHECK(late == "late\n");
    }
}

TEST_CASE("commands: waiting and reading") {
    Fixture f;

    SUBCASE("a command that outlasts the wait goes on, and is read by offset after its end") {
        f.run("mkfifo go");
        auto s = f.spec("echo first; read x < go; echo second", milliseconds(1));
        auto const v = f.start(s).value();
        CHECK(v.running);
        CHECK(v.reason.empty());
        CHECK(f.read_until(s.id, "first\n") == "first\n");
        f.run("echo > go");
        CHECK(f.read_until(s.id, "second\n", 6) == "second\n");
        auto end = f.io.run(f.guest.read(s.id, 13, 100, milliseconds(20'000))).value();
        CHECK_FALSE(end.running);
        CHECK(end.output.empty());
        CHECK(f.io.run(f.guest.read(s.id, 2, 5, milliseconds(0))).value().output == "rst\ns");
    }
    SUBCASE("long output comes as head and tail") {
        auto s = f.spec("seq 100000");
        s.max_output = 300;
        auto const v = f.start(s).value();
        CHECK(v.total_bytes == 588895);
        CHECK(v.output.size() == 100);
        CHECK(v.output.starts_with("1\n2\n3\n"));
        CHECK(v.tail.size() == 200);
        CHECK(v.tail.ends_with("\n100000\n"));
        CHECK(v.tail_offset == 588695);
        CHECK(v.output_path.empty());
    }
    SUBCASE("a flood is kept in a file; old offsets are read from it") {
        auto s = f.spec("seq 1000000");
        auto const v = f.start(s).value();
        CHECK(v.total_bytes == 6888896);
        CHECK(v.first_kept == 6888896 - (1 << 20));
        REQUIRE_FALSE(v.output_path.empty());
        std::ifstream log(v.output_path, std::ios::ate);
        CHECK(log.tellg() == 6888896);
        CHECK(f.io.run(f.guest.read(s.id, 0, 4, milliseconds(0))).value().output == "1\n2\n");
        CHECK(f.io.run(f.guest.read(s.id, 3'000'000, 10, milliseconds(0))).value().offset == 3'000'000);
        CHECK(f.io.run(f.guest.read(s.id, 6888888, 100, milliseconds(0))).value().output == "1000000\n");
        ::unlink(v.output_path.c_str());
        CHECK(f.io.run(f.guest.read(s.id, 0, 4, milliseconds(0))).value().output == "1\n2\n");
        CHECK(f.io.run(f.guest.read(s.id, 3'000'000, 10, milliseconds(0))).value().offset == v.first_kept);
    }
    SUBCASE("an endless flood holds nobody else up") {
        auto s = f.spec("yes", milliseconds(1));
        CHECK(f.start(s).value().running);
        for (int i = 0; i < 20; ++i) CHECK(f.run("echo " + std::to_string(i)).output == std::to_string(i) + "\n");
        CHECK(f.io.run(f.guest.stop(s.id, SIGTERM, milliseconds(5'000))).value().reason == "killed");
    }
    SUBCASE("ended commands beyond the limit are dropped, oldest first") {
        sandbox::GuestSetup setup;
        setup.workspace_id = "w";
        setup.max_processes_kept = 3;
        f.io.run(f.guest.configure(setup)).value();
        for (int i = 0; i < 5; ++i) f.run("true");
        auto const all = f.io.run(f.guest.processes()).value();
        REQUIRE(all.size() == 3);
        CHECK(all[0].id == "p-3");
        CHECK(all[2].id == "p-5");
        CHECK(f.io.run(f.guest.read("p-1", 0, 1, milliseconds(0))).has_error());
    }
}

TEST_CASE("commands: standard input") {
    Fixture f;

    SUBCASE("nothing given is end of file") { CHECK(f.run("cat; echo end").output == "end\n"); }
    SUBCASE("bytes given are followed by end of file") {
        auto s = f.spec("cat");
        s.stdin_bytes = std::string("a\0b", 3);
        CHECK(f.start(s).value().output == s.stdin_bytes);
    }
    SUBCASE("more than any pipe holds") {
        auto s = f.spec("wc -c");
        s.stdin_bytes.assign(3'000'000, 'x');
        CHECK(f.start(s).value().output == "3000000\n");
    }
    SUBCASE("fed piece by piece") {
        auto s = f.spec("cat", milliseconds(1));
        s.stdin_open = true;
        f.start(s).value();
        f.io.run(f.guest.input(s.id, "one\n", false)).value();
        CHECK(f.read_until(s.id, "one\n") == "one\n");
        f.io.run(f.guest.input(s.id, "two\n", true)).value();
        CHECK(f.read_until(s.id, "two\n", 4) == "two\n");
        auto const end = f.io.run(f.guest.read(s.id, 8, 10, milliseconds(20'000))).value();
        CHECK(end.exit_code == 0);
        CHECK(f.io.run(f.guest.input(s.id, "more", false)).has_error());
    }
    SUBCASE("a process that does not read is bounded") {
        auto s = f.spec("sleep 1000", milliseconds(1));
        s.stdin_open = true;
        f.start(s).value();
        f.io.run(f.guest.input(s.id, std::string(1 << 20, 'x'), false)).value();
        auto const more = f.io.run(f.guest.input(s.id, std::string(1 << 20, 'x'), false));
        REQUIRE(more.has_error());
        CHECK(is(more.error(), base::errc::busy));
    }
}

TEST_CASE("commands: terminals") {
    Fixture f;
    auto s = f.spec("stty -echo; tty > /dev/null && stty size; read x; stty size; exec cat", milliseconds(1));
    s.pty = true;
    s.stdin_open = true;
    s.columns = 90;
    s.rows = 33;
    f.start(s).value();
    CHECK(f.read_until(s.id, "33 90\r\n") == "33 90\r\n");
    f.io.run(f.guest.resize(s.id, 101, 44)).value();
    f.io.run(f.guest.input(s.id, "\n", false)).value();
    CHECK(f.read_until(s.id, "44 101\r\n", 7) == "44 101\r\n");
    f.io.run(f.guest.input(s.id, "text\n", true)).value();
    CHECK(f.read_until(s.id, "text\r\n", 15) == "text\r\n");
    auto const end = f.io.run(f.guest.read(s.id, 21, 10, milliseconds(20'000))).value();
    CHECK_FALSE(end.running);
    CHECK(end.exit_code == 0);
}

TEST_CASE("files and ports") {
    Fixture f;

    SUBCASE("a file of many frames goes in and out unchanged") {
        std::string bytes;
        for (int i = 0; i < 2'000'000; ++i) bytes.push_back(static_cast<char>(i * 7 + i / 256));
        auto const path = f.directory.path + "/file";
        f.io.run(f.guest.write_file(path, bytes)).value();
        CHECK(f.io.run(f.guest.read_file(path, 4 << 20)).value() == bytes);
        auto const small = f.io.run(f.guest.read_file(path, 1000));
        REQUIRE(small.has_error());
        CHECK(is(small.error(), base::errc::limit));
    }
    SUBCASE("a missing file and a FIFO are errors") {
        CHECK(is(f.io.run(f.guest.read_file("/no/such/file", 10)).error(), base::errc::not_found));
        CHECK(is(f.io.run(f.guest.read_file(f.directory.path + "/in", 10)).error(), base::errc::invalid));
    }
}
