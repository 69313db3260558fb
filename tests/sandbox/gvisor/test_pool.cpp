#include "pool.hpp"

#include <doctest/doctest.h>

using namespace sandbox::pool;
using sandbox::PoolTarget;
using namespace std::chrono_literals;

namespace {

TimePoint const kNow = TimePoint{} + 1h;

Shelf shelf(int ready, int frozen, int waiting = 0, int booting = 0) {
    Shelf s;
    s.target = PoolTarget{ready, 0, 0};
    s.frozen = frozen;
    s.waiting = waiting;
    s.booting = booting;
    return s;
}

Situation filling(int max_boots = 2, int room = 100) {
    Situation s;
    s.now = kNow;
    s.filling = true;
    s.max_boots = max_boots;
    s.room = room;
    return s;
}

using Boots = std::vector<std::size_t>;

}  // namespace

TEST_CASE("what to boot") {
    SUBCASE("nothing when the stock is full") { CHECK(decide({shelf(4, 4)}, filling()).boots.empty()); }
    SUBCASE("as many at once as allowed") {
        CHECK(decide({shelf(4, 0)}, filling()).boots == Boots{0, 0});
        CHECK(decide({shelf(4, 0, 0, 1)}, filling()).boots == Boots{0});
        CHECK(decide({shelf(4, 0, 0, 2)}, filling()).boots.empty());
    }
    SUBCASE("no more than are missing, counting those that boot") {
        CHECK(decide({shelf(4, 3)}, filling()).boots == Boots{0});
        CHECK(decide({shelf(4, 3, 0, 1)}, filling()).boots.empty());
    }
    SUBCASE("for waiting claims before filling, and templates in turns") {
        CHECK(decide({shelf(4, 0), shelf(0, 0, 1)}, filling(1)).boots == Boots{1});
        CHECK(decide({shelf(0, 0, 5), shelf(0, 0, 1)}, filling(2)).boots == Boots{0, 1});
    }
    SUBCASE("for waiting claims also without filling") {
        auto s = filling();
        s.filling = false;
        CHECK(decide({shelf(4, 0, 1)}, s).boots == Boots{0});
        CHECK(decide({shelf(4, 0)}, s).boots.empty());
    }
    SUBCASE("nothing without room") { CHECK(decide({shelf(4, 0, 1)}, filling(2, 0)).boots.empty()); }
    SUBCASE("a little after the last claim, unless half is gone") {
        auto s = filling();
        s.last_claim = kNow;
        auto const step = decide({shelf(4, 3)}, s);
        CHECK(step.boots.empty());
        REQUIRE(step.look_again);
        CHECK(*step.look_again == kNow + kQuiet);
        CHECK_FALSE(decide({shelf(4, 2)}, s).boots.empty());
    }
    SUBCASE("blanks once the stock is full, within the same bounds and in quiet") {
        auto full = shelf(4, 4);
        full.target.blank = 2;
        CHECK(decide({full}, filling()).blanks == Boots{0});
        CHECK(decide({full, full}, filling()).blanks == Boots{0, 1});
        full.blank = 1;
        full.making = 1;
        CHECK(decide({full}, filling()).blanks.empty());
        auto wanting = shelf(4, 3);
        wanting.target.blank = 2;
        CHECK(decide({wanting}, filling()).blanks.empty());
        CHECK(decide({wanting}, filling()).boots == Boots{0});
        full.making = 0;
        CHECK(decide({full}, filling(2, 0)).blanks.empty());
        full.making = 2;
        full.target.blank = 9;
        CHECK(decide({full}, filling()).blanks.empty());
        full.making = 0;
        auto s = filling();
        s.last_claim = kNow - 1ms;
        auto const step = decide({full}, s);
        CHECK(step.blanks.empty());
        CHECK(step.look_again == s.last_claim + kQuiet);
        s.filling = false;
        CHECK(decide({full}, s).blanks.empty());
    }
    SUBCASE("once no blank is left, claims that never pause put the next one off by a second and no more") {
        auto bare = shelf(4, 4);
        bare.target.blank = 1;
        bare.bare_since = kNow - 500ms;
        auto s = filling();
        s.last_claim = kNow - 1ms;
        CHECK(decide({bare}, s).blanks.empty());
        CHECK(decide({bare}, s).look_again == s.last_claim + kQuiet);
        bare.bare_since = kNow - kBare;
        CHECK(decide({bare}, s).blanks == Boots{0});
    }
    SUBCASE("not before a failed template's time, but others go on") {
        auto broken = shelf(4, 0);
        broken.failures = 1;
        broken.retry_at = kNow + 1s;
        auto const step = decide({broken, shelf(1, 0)}, filling());
        CHECK(step.boots == Boots{1});
        REQUIRE(step.look_again);
        CHECK(*step.look_again == kNow + 1s);
    }
}

TEST_CASE("the pause after failed boots doubles up to a minute") {
    CHECK(back_off(1, 0.5) == 500ms);
    CHECK(back_off(2, 0.5) == 1000ms);
    CHECK(back_off(50, 0.5) == 60'000ms);
    CHECK(back_off(1, 0.0) == 375ms);
}
