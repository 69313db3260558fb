// What needs no sandbox: who gets which ids, what is told to berth-contain, and that the lists of system calls contradict nothing.
#include <id_ranges.hpp>
#include <seccomp_policy.hpp>
#include <spec.hpp>

#include <doctest/doctest.h>
#include <testing/io.hpp>

#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <future>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace sandbox;
using native::IdRanges;

namespace {

struct Ranges {
    testing_support::TemporaryDirectory directory;
    IdRanges ranges{directory.path + "/ids"};
    std::string const one = "/slots/one", other = "/slots/other";    // seen by nobody: whose they are says the process

    std::string link(std::uint32_t first) const { return directory.path + "/ids/" + std::to_string(first); }
    // All others, by a server that cannot be seen from here: nobody looks for its processes.
    void take_the_rest() const {
        for (auto first = IdRanges::kFirst; first < IdRanges::kEnd; first += IdRanges::kIds)
            (void)::symlink("1 2 3 /rest", link(first).c_str());
    }
};

// A process that waits, until the object ends.
struct Waiting {
    pid_t pid = ::fork();

    Waiting() {
        if (pid == 0)
            for (;;) ::pause();
    }
    ~Waiting() { end(); }
    void end() {
        if (pid <= 0) return;
        ::kill(pid, SIGKILL);
        ::waitpid(std::exchange(pid, 0), nullptr, 0);
    }
};

}  // namespace

TEST_CASE("ranges of user ids") {
    Ranges r;
    auto const first = r.ranges.take(r.one), second = r.ranges.take(r.other);
    REQUIRE(first.has_value());
    REQUIRE(second.has_value());

    SUBCASE("are whole, of their own, and below 2^31") {
        CHECK(*first != *second);
        for (auto const start : {*first, *second}) {
            CHECK((start - IdRanges::kFirst) % IdRanges::kIds == 0);
            CHECK(start >= IdRanges::kFirst);
            CHECK(start <= IdRanges::kEnd - IdRanges::kIds);
        }
        CHECK(r.ranges.of(r.one) == *first);
        CHECK(r.ranges.of("/slots/none") == 0);
    }
    SUBCASE("are known by those who hold them") {
        auto const held = r.ranges.holders("/slots");
        CHECK(std::set(held.begin(), held.end()) == std::set<std::string>{"one", "other"});
        CHECK(r.ranges.holders("/elsewhere").empty());
    }
    SUBCASE("are free once given back, by their holder alone") {
        r.ranges.give_back(*first, r.other);
        CHECK(r.ranges.of(r.one) == *first);
        r.ranges.give_back(*first, r.one);
        CHECK(r.ranges.of(r.one) == 0);
    }
    SUBCASE("are nobody else's while a process answers for them, whoever can see the slot") {
        Waiting sandbox;
        REQUIRE(r.ranges.hand_over(*second, r.other, sandbox.pid).has_value());
        r.take_the_rest();
        auto const refused = r.ranges.take("/slots/late");
        REQUIRE_FALSE(refused.has_value());
        CHECK(base::is(refused.error(), base::errc::limit));
        CHECK(r.ranges.of(r.other) == *second);

        sandbox.end();                           // the only one that nobody answers for any more
        auto const again = r.ranges.take("/slots/late");
        REQUIRE(again.has_value());
        CHECK(*again == *second);
        // The sandbox that was on its way is told, and must not start with ids of another.
        auto const late = r.ranges.hand_over(*second, r.other, ::getpid());
        REQUIRE_FALSE(late.has_value());
        CHECK(base::is(late.error(), base::errc::stale));
        r.ranges.give_back(*second, r.other);
        CHECK(r.ranges.of("/slots/late") == *second);
    }
    SUBCASE("of a later process of the same number are free") {
        std::filesystem::remove(r.link(*second));
        struct stat pids{};
        REQUIRE(::stat("/proc/self/ns/pid", &pids) == 0);
        auto const earlier = std::to_string(pids.st_ino) + " " + std::to_string(::getpid()) + " 1 " + r.other;
        std::filesystem::create_symlink(earlier, r.link(*second));
        CHECK(r.ranges.of(r.other) == *second);
        r.take_the_rest();
        auto const again = r.ranges.take("/slots/late");
        REQUIRE(again.has_value());
        CHECK(*again == *second);
    }
    SUBCASE("of a server whose processes cannot be seen from here, or that nobody can read, are taken") {
        r.take_the_rest();
        for (char const* text : {"1 2 3 /slots/of a container", "/an earlier build's", "garbage"}) {
            std::filesystem::remove(r.link(*second));
            std::filesystem::create_symlink(text, r.link(*second));
            CHECK_FALSE(r.ranges.take("/slots/late").has_value());
            CHECK(std::filesystem::read_symlink(r.link(*second)) == text);
        }
    }
    SUBCASE("are for one each when many ask at once") {
        constexpr int kAsking = 8, kEach = 50;
        std::vector<std::future<std::vector<std::uint32_t>>> asking;
        for (int i = 0; i < kAsking; ++i)
            asking.push_back(std::async(std::launch::async, [&r, i] {
                std::vector<std::uint32_t> got;
                for (int n = 0; n < kEach; ++n) got.push_back(r.ranges.take("/slots/" + std::to_string(i * kEach + n)).value());
                return got;
            }));
        std::set<std::uint32_t> all{*first, *second};
        for (auto& one : asking)
            for (auto const start : one.get()) CHECK(all.insert(start).second);
    }
}

TEST_CASE("what berth-contain is told arrives whole") {
    native::Spec spec;
    spec.rootfs = "/a, b:c";
    spec.guest_binary = "/g";
    spec.slot_mount = "/m";
    spec.directory = "/d";
    spec.binds = {{"/usr", "/usr"}};
    spec.first_id = IdRanges::kFirst;
    spec.id_ranges = "/i";
    spec.slot = "/s";
    spec.pid_file = "/p";
    auto const back = native::spec_from(native::to_json(spec));
    REQUIRE(back.has_value());
    CHECK(native::to_json(*back) == native::to_json(spec));
    auto lacking = native::to_json(spec);
    lacking.erase("rootfs");
    auto const refused = native::spec_from(lacking);
    REQUIRE_FALSE(refused.has_value());
    CHECK(base::is(refused.error(), base::errc::corrupt));
}

TEST_CASE("the lists of system calls") {
    std::map<std::string, int> known;
    auto const note = [&](std::string_view call) { ++known[std::string(call)]; };
    for (auto const& group : native::allowed_calls()) {
        CHECK_FALSE(group.purpose.empty());
        for (char const* call : group.calls) note(call);
    }
    for (auto const& group : native::denied_calls()) {
        CHECK_FALSE(group.why.empty());
        CHECK((group.error == EPERM || group.error == ENOSYS || group.error == EOPNOTSUPP));
        for (char const* call : group.calls) note(call);
    }
    std::set<std::string> granted;
    for (auto const& one : native::granted_calls()) granted.insert(one.call);
    for (auto const& call : granted) note(call);
    for (auto const& [call, times] : known) CHECK_MESSAGE(times == 1, call);

    SUBCASE("take arguments out of calls that are there") {
        for (auto const& one : native::narrowed_calls()) {
            CHECK_MESSAGE(known.contains(one.call), one.call);
            CHECK_FALSE(one.when.empty());
            for (auto const& condition : one.when) CHECK((condition.value & ~condition.mask) == 0);
        }
    }
    SUBCASE("leave the internet's families their usual protocols") {
        auto const refused = [rules = native::narrowed_calls()](std::uint32_t family, std::uint32_t type, std::uint32_t protocol) {
            std::uint32_t const arguments[] = {family, type, protocol};
            return std::ranges::any_of(rules, [&](auto const& one) {
                return std::string_view(one.call) == "socket" && std::ranges::all_of(one.when, [&](auto const& condition) {
                    return (arguments[condition.argument] & condition.mask) == condition.value;
                });
            });
        };
        std::set<std::uint32_t> const usual{IPPROTO_IP, IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMPV6};
        for (std::uint32_t family : {AF_INET, AF_INET6})
            for (std::uint32_t type : {SOCK_STREAM, SOCK_DGRAM}) {
                for (std::uint32_t protocol = 0; protocol < 1024; ++protocol)
                    CHECK_MESSAGE(refused(family, type, protocol) == !usual.contains(protocol), protocol);
                for (unsigned bit = 10; bit < 32; ++bit) CHECK_MESSAGE(refused(family, type, 1u << bit), bit);
            }
    }
    SUBCASE("deny commands what the guest has") {
        for (auto const& group : native::denied_to_commands())
            for (char const* call : group.calls) CHECK_MESSAGE(known.contains(call), call);
    }
    SUBCASE("know nothing of what reaches past the sandbox") {
        std::set<std::string> allowed;
        for (auto const& group : native::allowed_calls()) allowed.insert(group.calls.begin(), group.calls.end());
        for (char const* call : {"bpf", "io_uring_setup", "io_setup", "keyctl", "add_key", "kexec_load", "init_module", "finit_module", "userfaultfd",
                                 "perf_event_open", "setns", "pivot_root", "umount2", "mount", "move_mount", "open_by_handle_at", "clone3",
                                 "syslog", "swapon", "reboot", "ioperm", "iopl", "quotactl", "fanotify_init"})
            CHECK_MESSAGE(!allowed.contains(call), call);
    }
}
