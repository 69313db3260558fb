#include <doctest/doctest.h>

#include <local_ports.hpp>

#include <vector>

using guest::LocalPorts;
using guest::PortRange;

namespace {

constexpr std::int64_t kMinute = 60'000;

// Sleeps and wakes, and the parts that connections may still hold: those dialled from since a minute without a sleep, which
// begins anew with each.
struct Life {
    PortRange begin() {
        now += 1'000;
        used.push_back(ports.next(now, 0));
        return used.back();
    }
    PortRange wake(std::int64_t awake_ms, std::int64_t dialed = 1) {
        now += awake_ms;
        if (awake_ms >= 2 * kMinute) used.erase(used.begin(), used.end() - 1);
        if (dialed == 0) used.pop_back();
        ports.resting(now);
        now += 3 * kMinute;      // asleep
        used.push_back(ports.next(now, dialed));
        return used.back();
    }
    bool fresh() const {
        auto const& newest = used.back();
        for (std::size_t i = 0; i + 1 < used.size(); ++i)
            if (used[i].low <= newest.high && newest.low <= used[i].high) return false;
        return true;
    }

    LocalPorts ports;
    std::vector<PortRange> used;
    std::int64_t now = 0;
};

}  // namespace

TEST_CASE("local ports: who sleeps now and then never dials from the ports of the time before") {
    Life life;
    CHECK(life.begin() == PortRange{16'000, 26'239});
    for (int i = 0; i < 100; ++i) {
        CHECK(life.wake(10 * kMinute, 500).size() >= 4'000);
        CHECK(life.fresh());
    }
}

TEST_CASE("local ports: a thousand short times awake, none of which dials from a port that was dialled from before") {
    for (std::int64_t const dialed : {1, 4}) {
        Life life;
        life.begin();
        for (int i = 0; i < 1'000; ++i) {
            auto const part = life.wake(500, dialed);
            CHECK(part.low >= LocalPorts::kAll.low);
            CHECK(part.high <= LocalPorts::kAll.high);
            CHECK(part.size() >= LocalPorts::kNarrow);
            REQUIRE(life.fresh());
        }
    }
}

TEST_CASE("local ports: who dialled nothing keeps its ports") {
    Life life;
    life.begin();
    auto const part = life.wake(500);
    CHECK(life.wake(500, 0) == part);
    CHECK(life.wake(500, 0) == part);
    CHECK(life.wake(500, 1).low == part.high + 1);
}

TEST_CASE("local ports: many short times awake that dial much get room for as much, and the oldest ports come round again") {
    Life life;
    life.begin();
    for (int i = 0; i < 100; ++i) {
        auto const part = life.wake(500, 100);
        CHECK(part.size() >= 800);
        CHECK(part.high <= LocalPorts::kAll.high);
        if (i < 40) CHECK(life.fresh());
    }
    CHECK(life.wake(500, 1'000'000).size() == LocalPorts::kWide);
}

TEST_CASE("local ports: a minute without a sleep gives a wide part again, which holds the one it was") {
    Life life;
    life.begin();
    for (int i = 0; i < 200; ++i) life.wake(500);
    auto const narrow = life.used.back();
    CHECK(narrow.size() < 100);
    auto const wide = life.ports.settled();
    CHECK(wide.size() == LocalPorts::kWide);
    CHECK(wide.low == narrow.low);
    life.used = {wide};
    CHECK(life.wake(2 * kMinute).size() == LocalPorts::kWide / 4);
    CHECK(life.fresh());
}

TEST_CASE("local ports: a sleep that did not happen changes nothing") {
    Life life;
    life.begin();
    life.ports.resting(life.now + 100);     // refused, or a snapshot
    CHECK(life.wake(2 * kMinute).size() == LocalPorts::kWide / 4);
    CHECK(life.fresh());
}
