#include "world.hpp"

#include <algorithm>

using namespace preview_test;

TEST_CASE("a private preview opens to its link, its token and its cookie, and to nothing else") {
    World w;
    auto const link = w.link();
    CHECK(link.url == link.origin + "/?berth_preview=" + link.token);

    SUBCASE("without a credential nothing reaches the program, HTTP or WebSocket, whatever the method") {
        for (std::string const method : {"GET", "POST", "OPTIONS", "DELETE", "TRACE", "BREW"})
            CHECK(w.ask(w.get("/", {}, 5173, method)).status == 401);
        CHECK(w.ask(w.get("/ws", kHandshake)).status == 401);
        CHECK(w.app.requests == 0);
        CHECK(w.backend.leases == 0);
    }
    SUBCASE("the link sets a cookie and leaves the address; the cookie then opens") {
        auto const first = w.ask(w.get("/a?x=1&berth_preview=" + link.token, kPage));
        CHECK(first.status == 303);
        CHECK(first.has("Location: http://" + w.host() + "/a?x=1\r\n"));
        auto const at = first.head.find("Set-Cookie: ") + 12;
        auto const cookie = first.head.substr(at, first.head.find(';', at) - at);
        CHECK(w.app.requests == 0);
        auto const second = w.ask(w.get("/a?x=1", kPage + "Cookie: a=b; " + cookie + "\r\n"));
        CHECK(second.status == 200);
        CHECK(second.body == "GET /a?x=1 ");
        CHECK(w.app.last.fields["Cookie"] == "a=b");
        auto const at_other = w.get("/", "Cookie: " + cookie + "\r\n", 8000);
        CHECK(w.ask(at_other).status == 404);  // no preview yet
        w.link(8000);
        CHECK(w.ask(at_other).status == 403);
    }
    SUBCASE("another site's page gets nothing by the visitor's cookie") {
        auto const first = w.ask(w.get("/?berth_preview=" + link.token, kPage));
        auto const at = first.head.find("Set-Cookie: ") + 12;
        auto const cookie = "Cookie: " + first.head.substr(at, first.head.find(';', at) - at) + "\r\n";
        auto const asks = [&](std::string more, std::string method = "GET") {
            return w.ask(w.get("/", cookie + more, 5173, method)).status;
        };
        std::string const site = "Sec-Fetch-Site: ", mode = "Sec-Fetch-Mode: ";
        CHECK(asks("Origin: http://5173-ws-other.localhost\r\n") == 401);
        CHECK(asks("Origin: http://5173-ws-other.localhost\r\n" + kHandshake) == 401);
        CHECK(asks("Origin: https://evil.example\r\n", "POST") == 401);
        CHECK(asks("Origin: null\r\n", "POST") == 401);
        CHECK(asks("Origin: http://" + w.host() + "\r\nOrigin: http://" + w.host() + "\r\n") == 401);
        CHECK(asks(site + "same-site\r\n" + mode + "no-cors\r\n") == 401);
        CHECK(asks(site + "cross-site\r\n" + mode + "cors\r\nReferer: https://evil.example/\r\n") == 401);
        CHECK(w.app.requests == 0);
        CHECK(asks("") == 200);
        CHECK(asks("Origin: http://" + w.host() + "\r\n", "POST") == 200);
        CHECK(asks("Origin: http://" + w.host(8000) + "\r\n", "POST") == 200);
        CHECK(asks("Origin: null\r\n" + site + "same-origin\r\n", "POST") == 200);
        CHECK(asks(site + "same-site\r\n" + mode + "no-cors\r\nReferer: http://" + w.host(8000) + "/\r\n") == 200);
        CHECK(asks(site + "cross-site\r\n" + mode + "navigate\r\nSec-Fetch-Dest: iframe\r\n") == 200);
        CHECK(asks(site + "same-origin\r\n" + mode + "cors\r\n") == 200);
        auto const token = "Origin: https://app.example\r\n" + w.with(link);
        CHECK(asks(token, "POST") == 200);  // what a page has to know is no cookie
    }
    SUBCASE("a browser's question for a page of another port is answered without the program") {
        std::string const page = "Origin: http://" + w.host(8000) + "\r\n";
        std::string const question = "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n";
        auto const asks = [&](std::string more, std::string method = "OPTIONS") { return w.ask(w.get("/", more, 5173, method)); };
        auto const yes = asks(page + question);
        CHECK(yes.status == 204);
        CHECK(yes.has("Access-Control-Allow-Origin: http://" + w.host(8000) + "\r\n"));
        CHECK(yes.has("Access-Control-Allow-Credentials: true\r\n"));
        CHECK(yes.has("Access-Control-Allow-Methods: POST\r\n"));
        CHECK(yes.has("Access-Control-Allow-Headers: content-type\r\n"));
        CHECK(w.app.requests == 0);
        CHECK(w.backend.leases == 0);
        CHECK(asks(w.with(link) + page + question).body == "OPTIONS / ");  // with a credential it is the program's matter

        // The request that follows needs one, and the page may read why it was refused.
        auto const refused = asks(page, "POST");
        CHECK(refused.status == 401);
        CHECK(refused.has("Access-Control-Allow-Origin: http://" + w.host(8000) + "\r\n"));
        CHECK(refused.body.find("routes") != std::string::npos);
        auto const own = asks("Origin: http://" + w.host() + "\r\n", "POST");  // whose cookie has expired, say
        CHECK(own.status == 401);
        CHECK(own.body.find("routes") == std::string::npos);
        CHECK(w.app.requests == 1);
    }
    SUBCASE("and that of any other page is not") {
        std::string const method = "Access-Control-Request-Method: POST\r\n", host = w.host(8000);
        for (std::string const origin :
             {"http://8000-ws-other.localhost", "https://evil.example", "null", "http://localhost"})
            for (std::string const at : {std::string(), ":" + std::to_string(w.port)}) {
                auto const answer = w.ask(w.get("/", "Origin: " + origin + at + "\r\n" + method, 5173, "OPTIONS"));
                CHECK_MESSAGE(answer.status == 401, origin);
                CHECK_MESSAGE(!answer.has("Access-Control"), origin);
            }
        for (std::string const more :
             {"Origin: https://" + host + "\r\n" + method, "Origin: http://" + host + "1\r\n" + method,
              "Origin: http://" + host + "\r\nOrigin: http://" + host + "\r\n" + method, "Origin: http://" + host + "\r\n",
              "Origin: http://" + host + "\r\nAccess-Control-Request-Method: PO(ST\r\n",
              "Origin: http://" + host + "\r\n" + method + "Content-Length: 2\r\n\r\nhi"})
            CHECK_MESSAGE(w.ask(w.get("/", more, 5173, "OPTIONS")).status == 401, more);
        CHECK(w.app.requests == 0);
    }
    SUBCASE("the operator's own token stays outside, and opens nothing") {
        CHECK(w.ask(w.get("/", "Authorization: Bearer right\r\n")).status == 401);
        CHECK(w.ask(w.get("/", w.with(link) + "Authorization: Bearer right\r\n")).status == 200);
        CHECK(w.app.last.fields.count("Authorization") == 0);
    }
    SUBCASE("no path makes the link lead elsewhere") {
        auto const answer = w.ask(w.get("//evil.example/?berth_preview=" + link.token, kPage));
        CHECK(answer.has("Location: http://" + w.host() + "//evil.example/\r\n"));
    }
    SUBCASE("a program gets its answer at once, and the credential stays outside") {
        CHECK(w.ask(w.get("/p?berth_preview=" + link.token)).body == "GET /p ");
        CHECK(w.ask(w.get("/p", "Authorization: Bearer " + link.token + "\r\n")).status == 200);
        CHECK(w.app.last.fields["Authorization"].empty());
        CHECK(w.ask(w.get("/p", w.with(link) + "Authorization: Bearer theirs\r\n")).status == 200);
        CHECK(w.app.last.fields["Authorization"] == "Bearer theirs");
        CHECK(w.app.last.fields.count("Berth-Preview-Token") == 0);
        CHECK(w.app.last.fields["Host"] == w.host());
        CHECK(w.app.last.fields["X-Forwarded-For"] == "127.0.0.1");
    }
    SUBCASE("a wrong credential is refused though the program would be public to others") {
        CHECK(w.ask(w.get("/", "Berth-Preview-Token: bp1.l.99.x\r\n")).status == 403);
        CHECK(w.ask(w.get("/?berth_preview=x")).status == 403);
    }
    SUBCASE("a link survives a restart of the server") {
        w.open({});
        CHECK(w.ask(w.get("/", w.with(link))).status == 200);
    }
}

TEST_CASE("revoking holds at once and for good") {
    World w;
    auto const link = w.link(), other = w.link(8000);
    w.io.run([](World& x, preview::Link const& l) -> Task<void> {
        Client socket(x.io.context), stream(x.io.context);
        co_await socket.connect(x.port);
        co_await stream.connect(x.port);
        co_await socket.send(x.get("/ws", x.with(l) + kHandshake));
        co_await stream.send(x.get("/endless", x.with(l)));
        (void)co_await socket.until("\r\n\r\n");
        (void)co_await stream.until("tick");
        co_await socket.send("hello");
        (void)co_await socket.until("hello");
        auto const revoked = co_await x.previews->revoke("me", "named", 5173);
        CHECK(revoked.value() == 1);
        (void)co_await socket.rest();
        (void)co_await stream.rest();
        auto const ended = [&x] { return x.app.sockets == 0 && x.backend.leases == 0; };
        co_await x.until(ended);
    }(w, link));
    CHECK(w.ask(w.get("/", w.with(link))).status == 403);
    CHECK(w.ask(w.get("/", w.with(other), 8000)).status == 200);
    w.open({});
    CHECK(w.ask(w.get("/", w.with(link))).status == 403);
    CHECK(w.previews->list("me", "").size() == 2);
    auto const fresh = w.link();
    CHECK(w.ask(w.get("/", w.with(fresh))).status == 200);
    CHECK(w.ask(w.get("/", w.with(link))).status == 403);
    CHECK_FALSE(w.io.run(w.previews->revoke("me", "named", 9999)).has_value());
    CHECK_FALSE(w.io.run(w.previews->revoke("you", "named", 5173)).has_value());
}

TEST_CASE("several who ask for a port's first link at once all get one, and what each said holds") {
    World w;
    auto const links = w.io.run([](World& x) -> Task<std::vector<preview::Link>> {
        std::vector<preview::Link> all;
        int waiting = 4;
        auto ask = [](World& of, int number, std::vector<preview::Link>& into, int& left) -> Task<void> {
            preview::LinkRequest r;
            r.workspace = kWorkspace;
            r.port = 5173;
            if (number == 0) r.rules = std::map<std::string, int>{{"/api", 8000}};
            base::Result<preview::Link> made = base::error(base::errc::internal, "not asked");
            if (number == 1)
                made = co_await of.previews->pass("me", kWorkspace, 5173);
            else
                made = co_await of.previews->link("me", r);
            CHECK(made.has_value());
            if (made) into.push_back(*made);
            --left;
        };
        for (int i = 0; i < 4; ++i) asio::co_spawn(x.io.context, ask(x, i, all, waiting), asio::detached);
        auto const done = [&waiting] { return waiting == 0; };
        co_await x.until(done);
        co_return all;
    }(w));
    REQUIRE(links.size() == 4);
    auto const all_open = [&] {
        for (auto const& link : links) {
            CHECK(link.preview_id == links.front().preview_id);
            CHECK(w.ask(w.get("/", w.with(link))).body == "GET / ");
        }
        auto const before = w.other.requests;
        CHECK(w.ask(w.get("/api", w.with(links.front()))).status == 200);
        CHECK(w.other.requests == before + 1);
    };
    all_open();
    w.open({});
    all_open();
}

TEST_CASE("a workspace has 64 previews at once, not for its life") {
    World w;
    auto const link = [&](int port, std::chrono::seconds life = std::chrono::hours(1)) {
        preview::LinkRequest r;
        r.workspace = kWorkspace;
        r.port = port;
        r.expires = life;
        return w.io.run(w.previews->link("me", r));
    };
    auto const revoke = [&](int port) { return w.io.run(w.previews->revoke("me", kWorkspace, port)); };
    auto const first = w.link();
    for (int port = 1; port < 64; ++port) REQUIRE(link(port).has_value());
    auto const full = link(100);
    REQUIRE(base::is(full.error(), base::errc::limit));
    CHECK(full.error().context.find("preview_revoke") != std::string::npos);
    CHECK(link(5173).has_value());  // one that there is needs no room

    SUBCASE("revoking frees a place, and the old link stays dead, also for whoever has that port next") {
        REQUIRE(revoke(5173).has_value());
        CHECK(w.ask(w.get("/", w.with(first))).status == 403);
        REQUIRE(link(100).has_value());
        CHECK(w.ask(w.get("/", w.with(first))).status == 404);
        CHECK(base::is(link(101).error(), base::errc::limit));
        REQUIRE(revoke(1).has_value());
        auto const fresh = link(5173).value();
        CHECK(w.ask(w.get("/", w.with(first))).status == 403);
        CHECK(w.ask(w.get("/", w.with(fresh))).status == 200);
        w.open({});
        CHECK(w.ask(w.get("/", w.with(first))).status == 403);
        CHECK(w.previews->list("me", kWorkspace).size() == 64);
    }
    SUBCASE("so does the end of the last link, a day later; what ended first goes first") {
        REQUIRE(revoke(0).value() == 64);
        REQUIRE(link(1, -std::chrono::hours(23)).has_value());
        REQUIRE(link(2, -std::chrono::hours(25)).has_value());
        for (int port = 3; port < 65; ++port) REQUIRE(link(port).has_value());
        CHECK(link(100).has_value());
        auto const left = w.previews->list("me", kWorkspace);
        CHECK(std::none_of(left.begin(), left.end(), [](auto const& v) { return v.port == 2 || v.port == 5173; }));
        CHECK(std::any_of(left.begin(), left.end(), [](auto const& v) { return v.port == 1; }));
        CHECK(base::is(link(101).error(), base::errc::limit));
    }
    SUBCASE("a link that was asked for again keeps its place over a restart") {
        for (auto const life : {std::chrono::hours(20), std::chrono::hours(40)}) REQUIRE(link(5173, life).has_value());
        w.open({});
        auto const all = w.previews->list("me", kWorkspace);
        auto const at = std::find_if(all.begin(), all.end(), [](auto const& v) { return v.port == 5173; });
        REQUIRE(at != all.end());
        CHECK(at->expires_ms > all.front().expires_ms + 30 * 3'600'000);
    }
}

TEST_CASE("a public preview is open to all until it is made private") {
    World w;
    w.link(5173, Access::open);
    CHECK(w.ask(w.get("/")).status == 200);
    w.io.run([](World& x) -> Task<void> {
        Client socket(x.io.context);
        co_await socket.connect(x.port);
        co_await socket.send(x.get("/ws", kHandshake));
        (void)co_await socket.until("\r\n\r\n");
        preview::LinkRequest r;
        r.workspace = kWorkspace;
        r.port = 5173;
        // Asking again says nothing about access: its visitors stay, and as long as they were told.
        r.expires = std::chrono::seconds(60);
        auto const same = co_await x.previews->link("me", r);
        CHECK(same.has_value());
        CHECK(same->access == Access::open);
        CHECK(same->token.empty());
        CHECK(same->url.find("berth_preview") == std::string::npos);
        CHECK(same->expires_ms > preview::unix_ms() + 3'500'000);
        co_await socket.send("hello");
        (void)co_await socket.until("hello");
        r.access = Access::by_link;
        auto const link = co_await x.previews->link("me", r);
        CHECK(link.has_value());
        CHECK(link->access == Access::by_link);
        (void)co_await socket.rest();
    }(w));
    CHECK(w.ask(w.get("/")).status == 401);
    preview::Options none;
    none.allow_public = false;
    w.open(none);
    preview::LinkRequest r;
    r.workspace = kWorkspace;
    r.port = 5173;
    r.access = Access::open;
    CHECK(base::is(w.io.run(w.previews->link("me", r)).error(), base::errc::denied));
}

TEST_CASE("a public preview that is over is private to the next link that does not say otherwise") {
    World w;
    auto const link = [&](std::optional<Access> access, std::chrono::seconds life = std::chrono::hours(1)) {
        preview::LinkRequest r;
        r.workspace = kWorkspace;
        r.port = 5173;
        r.access = access;
        r.expires = life;
        return w.io.run(w.previews->link("me", r)).value().access;
    };
    CHECK(link(Access::open) == Access::open);
    SUBCASE("a restart does not end it") {
        w.open({});
        CHECK(link({}, std::chrono::hours(100)) == Access::open);
        w.open({});
        CHECK(w.previews->list("me", "").front().expires_ms > preview::unix_ms() + 90 * 3'600'000);
        CHECK(w.ask(w.get("/")).status == 200);
        return;
    }
    SUBCASE("its time has passed") { link(Access::open, std::chrono::seconds(-1)); }
    SUBCASE("it was revoked") { REQUIRE(w.io.run(w.previews->revoke("me", kWorkspace, 5173)).has_value()); }
    SUBCASE("the operator no longer wants any") {
        preview::Options none;
        none.allow_public = false;
        w.open(none);
    }
    CHECK(link({}) == Access::by_link);
    CHECK(w.ask(w.get("/")).status == 401);
}

TEST_CASE("the control plane and previews never answer for each other") {
    World w;
    w.link(5173, Access::open);
    CHECK(w.ask(w.get("/health")).body == "GET /health ");
    CHECK(w.seen.requests == 0);
    auto const odd = [&](std::string const& host) {
        return w.ask("GET /health HTTP/1.1\r\nHost: " + host + "\r\n\r\n").status;
    };
    CHECK(odd("localhost") == 200);
    CHECK(w.app.requests == 1);
    CHECK(odd("5173-" + kWorkspace + ".LOCALHOST") == 404);
    CHECK(odd("05173-" + kWorkspace + ".localhost") == 404);
    CHECK(odd("5173-ws-unknown.localhost") == 404);
    CHECK(odd("x.localhost") == 404);
    CHECK(odd("5173-" + kWorkspace + ".localhost.") == 403);
    CHECK(w.app.requests == 1);
    CHECK(w.seen.requests == 1);
}

TEST_CASE("a preview with a domain of its own") {
    preview::Options options;
    options.domains = {"shop.example.com", "*.apps.example.com"};
    World w(options);
    auto const link = [&](int port, std::string domain) {
        preview::LinkRequest r;
        r.workspace = kWorkspace;
        r.port = port;
        r.domain = std::move(domain);
        return w.io.run(w.previews->link("me", r));
    };
    auto const get = [&](std::string host, std::string more) {
        return w.ask("GET /x HTTP/1.1\r\nHost: " + host + "\r\n" + more + "\r\n");
    };
    auto const shop = link(5173, "shop.example.com").value();
    CHECK(shop.url.starts_with("http://shop.example.com:" + std::to_string(w.port) + "/?berth_preview="));

    SUBCASE("answers there behind the same gate, and on its other name still") {
        CHECK(get("shop.example.com", "").status == 401);
        CHECK(get("shop.example.com", w.with(shop)).body == "GET /x ");
        CHECK(w.app.last.fields["Host"] == "shop.example.com");
        CHECK(w.ask(w.get("/x", w.with(shop))).status == 200);
        auto const first = get("shop.example.com", "Sec-Fetch-Dest: iframe\r\nBerth-Preview-Token: " + shop.token + "\r\n");
        CHECK(first.status == 200);
        CHECK(w.link().origin == shop.origin);  // a later link leads there too
    }
    SUBCASE("whose pages may ask the workspace's other ports") {
        auto const opened = w.ask("GET /?berth_preview=" + shop.token + " HTTP/1.1\r\nHost: shop.example.com\r\n" + kPage + "\r\n");
        auto const at = opened.head.find("Set-Cookie: ") + 12;
        auto const cookie = "Cookie: " + opened.head.substr(at, opened.head.find(';', at) - at) + "\r\n";
        CHECK(w.ask(w.get("/", cookie + "Origin: http://shop.example.com\r\n")).status == 200);
        CHECK(w.ask(w.get("/", cookie + "Origin: http://a.apps.example.com\r\n")).status == 401);
    }
    SUBCASE("is one of those that the operator sets aside, and one preview's at a time") {
        CHECK(base::is(link(5173, "localhost").error(), base::errc::denied));
        CHECK(base::is(link(5173, "Shop.example.com").error(), base::errc::denied));
        CHECK(base::is(link(8000, "shop.example.com").error(), base::errc::exists));
        CHECK(link(8000, "a.apps.example.com").has_value());
        CHECK(get("b.apps.example.com", w.with(shop)).status == 404);  // nobody's, and not the control plane's
        CHECK(get("a.apps.example.com", w.with(shop)).status == 403);
        CHECK(link(5173, "b.apps.example.com").has_value());           // instead of the first
        CHECK(get("shop.example.com", w.with(shop)).status == 404);
    }
    SUBCASE("keeps it over a restart, and loses it with the operator's word or a revocation") {
        w.open(options);
        CHECK(get("shop.example.com", w.with(shop)).status == 200);
        w.open({});
        CHECK(get("shop.example.com", w.with(shop)).status == 403);    // the server knows no such Host
        w.open(options);
        REQUIRE(w.io.run(w.previews->revoke("me", kWorkspace, 5173)).has_value());
        CHECK(get("shop.example.com", w.with(shop)).status == 404);
        CHECK(link(8000, "shop.example.com").has_value());
    }
    CHECK(w.seen.requests == 0);
}
