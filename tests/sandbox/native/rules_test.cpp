// What needs no sandbox: who gets which ids, what is told to berth-contain, and that the lists of system calls contradict nothing.
#include <native/id_ranges.hpp>
#include <seccomp_policy.hpp>
#include <spec.hpp>

#include <doctest/doctest.h>
#include <testing/io.hpp>

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>

using namespace sandbox;
using native::IdRanges;

namespace {

struct Slots {
    testing_support::TemporaryDirectory directory;
    IdRanges ranges{directory.path + "/ids"};

    Slot make() const {
        Slot slot(directory.path + "/slots", Slot::new_id());
        std::filesystem::create_directories(slot.directory);
        return slot;
    }
};

}  // namespace

TEST_CASE("ranges of user ids") {
    Slots slots;
    auto const one = slots.make(), other = slots.make();
    auto const first = slots.ranges.take(one), second = slots.ranges.take(other);
    REQUIRE(first.has_value());
    REQUIRE(second.has_value());

    SUBCASE("are whole, of their own, and below 2^31") {
        CHECK(*first != *second);
        for (auto const start : {*first, *second}) {
            CHECK((start - IdRanges::kFirst) % IdRanges::kIds == 0);
            CHECK(start >= IdRanges::kFirst);
            CHECK(start <= IdRanges::kEnd - IdRanges::kIds);
        }
        CHECK(slots.ranges.of(one) == *first);
        CHECK(slots.ranges.of(slots.make()) == 0);
    }
    SUBCASE("are known by those who hold them") {
        auto const held = slots.ranges.holders(slots.directory.path + "/slots");
        CHECK(std::set(held.begin(), held.end()) == std::set{one.id, other.id});
        CHECK(slots.ranges.holders("/elsewhere").empty());
    }
    SUBCASE("are free once given back, by their holder alone") {
        slots.ranges.give_back(*first, other);
        CHECK(slots.ranges.of(one) == *first);
        slots.ranges.give_back(*first, one);
        CHECK(slots.ranges.of(one) == 0);
    }
    SUBCASE("are taken from slots that are gone") {
        // All others, so that only the one of a slot that is gone is left.
        for (auto start = IdRanges::kFirst; start < IdRanges::kEnd; start += IdRanges::kIds) {
            auto const link = slots.directory.path + "/ids/" + std::to_string(start);
            if (std::filesystem::is_symlink(link)) continue;
            std::filesystem::create_symlink(one.directory, link);
        }
        auto const late = slots.make();
        auto const refused = slots.ranges.take(late);
        REQUIRE_FALSE(refused.has_value());
        CHECK(base::is(refused.error(), base::errc::limit));
        std::filesystem::remove(other.directory);
        auto const again = slots.ranges.take(late);
        REQUIRE(again.has_value());
        CHECK(*again == *second);
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
