#include <doctest/doctest.h>

#include <resources.hpp>

using namespace host;

namespace {

// Newest first; two made in the same millisecond stand by id.
std::vector<workspace::View> workspaces(int count) {
    std::vector<workspace::View> out;
    for (int i = count; i-- > 0;) {
        workspace::View v;
        v.id = "ws-" + std::to_string(1000 + (i % 2 ? i - 1 : i + 1));
        v.created_ms = 5000 + i / 2;
        v.state = "running";
        out.push_back(v);
    }
    return out;
}

std::vector<std::string> walk(std::vector<workspace::View> const& all) {
    std::vector<std::string> uris;
    std::string cursor;
    do {
        auto const page = workspaces_page(all, cursor);
        CHECK(page.items.size() <= 50);
        for (auto const& item : page.items) uris.push_back(item["uri"]);
        cursor = page.next_cursor;
    } while (!cursor.empty());
    return uris;
}

}  // namespace

TEST_CASE("pages of resources/list") {
    SUBCASE("give each workspace once, in order") {
        for (int count : {0, 1, 49, 50, 51, 100, 101, 120}) {
            auto const all = workspaces(count);
            auto const uris = walk(all);
            REQUIRE(uris.size() == all.size());
            for (std::size_t i = 0; i < all.size(); ++i) CHECK(uris[i] == "berth://workspaces/" + all[i].id);
        }
    }
    SUBCASE("go on at the same place when workspaces come and go in between") {
        auto all = workspaces(80);
        auto const first = workspaces_page(all, "");
        auto const next = all[50].id;
        all.erase(all.begin() + 40, all.begin() + 50);  // the last one shown, too
        workspace::View fresh;
        fresh.id = "ws-fresh";
        fresh.created_ms = 9000;
        all.insert(all.begin(), fresh);
        auto const second = workspaces_page(all, first.next_cursor);
        CHECK(second.items.size() == 30);
        CHECK(second.items[0]["uri"] == "berth://workspaces/" + next);
        CHECK(second.next_cursor.empty());
    }
    SUBCASE("refuse a cursor that is none") {
        for (auto const* cursor : {"x", "12", " ws-1", "12x ws-1", "99999999999999999999 ws-1"})
            CHECK_THROWS_AS(workspaces_page(workspaces(3), cursor), mcp::RpcException);
    }
    SUBCASE("show a name where there is one") {
        auto all = workspaces(1);
        all[0].name = "analysis";
        CHECK(workspaces_page(all, "").items[0]["name"] == "analysis");
    }
}
