#include <doctest/doctest.h>

#include <local_ports.hpp>

#include <vector>

using guest::LocalPorts;
using guest::PortRange;

namespace {

constexpr std::int64_t kMinute = 60'000;

// Sleeps and wakes, and the parts that connections of the last minute awake may still hold.
struct Life {
    PortRange wake(std::int64_t awake_ms, std::int64_t asleep_ms = 0) {
        now += awake_ms;
        awake += awake_ms;
        used.back().until = awake;
        ports.resting(now);
        now += asleep_ms;
        return begin();
    }
    PortRange begin() {
        used.push_back({ports.next(now), awake});
        return used.back().part;
    }
    bool fresh() const {
        auto const& newest = used.back().part;
        for (std::size_t i = 0; i + 1 < used.size(); ++i)
            if (used[i].until + kMinute > awake && used[i].part.low <= newest.high && newest.low <= used[i].part.high)
                return false;
        return true;
    }

    struct Time {
        PortRange part;
        std::int64_t until;
    };
    LocalPorts ports;
    std::vector<Time> used;
    std::int64_t now = 1'000, awake = 0;
};

int size(PortRange const& part) { return part.high - part.low + 1; }

}  // namespace

TEST_CASE("local ports: a quarter of the range before the first sleep, an eighth after one, none of them the same") {
    Life life;
    auto const first = life.begin(), second = life.wake(10 * kMinute);
    CHECK(first == PortRange{16'000, 28'383});
    CHECK(size(second) == 6'192);
    CHECK(second.low > first.high);
    for (int i = 0; i < 100; ++i) {
        CHECK(size(life.wake(10 * kMinute)) == 6'192);
        CHECK(life.fresh());
    }
}

TEST_CASE("local ports: sleeps half a second apart never meet the last minute's connections") {
    Life life;
    life.begin();
    for (int i = 0; i < 1'000; ++i) {
        auto const part = life.wake(500);
        CHECK(part.low >= LocalPorts::kAll.low);
        CHECK(part.high <= LocalPorts::kAll.high);
        CHECK(size(part) >= 256);
        if (i < 25 || i >= 200) CHECK(life.fresh());      // between, parts are far larger than what was dialled from them
    }
}

TEST_CASE("local ports: the minute is one of the time awake") {
    Life life;
    life.begin();
    for (int i = 0; i < 25; ++i) {
        life.wake(500, 60 * kMinute);
        CHECK(life.fresh());
    }
}

TEST_CASE("local ports: a sleep that did not happen changes nothing") {
    Life life;
    life.begin();
    life.ports.resting(life.now + 100);     // refused, or a snapshot
    life.wake(2 * kMinute);
    CHECK(size(life.wake(2 * kMinute)) == 6'192);
    CHECK(life.fresh());
}
