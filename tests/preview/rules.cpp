#include <base/json.hpp>

#include <doctest/doctest.h>

#include <access.hpp>
#include <crash.hpp>
#include <headers.hpp>
#include <names.hpp>
#include <pages.hpp>

using namespace preview;

namespace {

std::string const workspace = "ws-abcdefghijklmnopqrstuvwxyz";
base::Secret const secret("key of the tests, of no meaning");
Subject const subject{"pv-1", 1};

Presented ask(Fields const& fields, std::string& target) { return presented(fields, target); }

}  // namespace

TEST_CASE("domains that the operator sets aside") {
    Domains const domains({"shop.example.com", "*.apps.example.com"});
    for (auto const* name : {"shop.example.com", "a.apps.example.com", "a.b.apps.example.com"}) {
        CHECK(domains.serves(name));
        CHECK(domains.may_have(name));
    }
    CHECK(domains.serves("SHOP.example.COM"));
    for (auto const* name : {"SHOP.example.COM", "apps.example.com", ".apps.example.com", "xapps.example.com",
                             "shop.example.com.", "shop.example.com:80", "evil.shop.example.com", "a..apps.example.com",
                             "a_b.apps.example.com", "example.com", ""}) {
        CAPTURE(name);
        CHECK_FALSE(domains.may_have(name));
    }
}

TEST_CASE("a preview's name has one spelling") {
    auto const names = Names::parse_url("https://preview.example.com:8443").value();
    Name const name{5173, workspace};
    CHECK(names.origin(name) == "https://5173-" + workspace + ".preview.example.com:8443");
    CHECK(names.parse("5173-" + workspace + ".preview.example.com") == name);

    SUBCASE("and no other names anything, though it is ours to refuse") {
        for (auto const& label : std::vector<std::string>{
                 "05173-" + workspace, "+5173-" + workspace, "0-" + workspace, "65536-" + workspace,
                 "99999999999-" + workspace, "-" + workspace, "5173" + workspace, "5173_" + workspace,
                 "5173-", "5173--", "5173-ws-ABC", "5173-ws-a_b", "5173-ws-a%62", "5173-" + workspace + "-",
                 "x.5173-" + workspace, "5173-" + workspace + ".x", "",
                 "5173-" + workspace + std::string(40, 'x'), std::string("5173-ws-a\0b", 11)}) {
            CAPTURE(label);
            CHECK_FALSE(names.parse(label + ".preview.example.com").has_value());
        }
        CHECK(names.serves("5173-" + workspace + ".PREVIEW.example.com"));
        CHECK_FALSE(names.parse("5173-" + workspace + ".PREVIEW.example.com").has_value());
    }
    SUBCASE("other names are not ours") {
        for (std::string const host :
             {"preview.example.com", ".preview.example.com", "xpreview.example.com", "example.com",
              "5173-ws-a.preview.example.com.", "5173-ws-a.preview.example.com.evil.example", ""}) {
            CAPTURE(host);
            CHECK_FALSE(names.serves(host));
        }
    }
    SUBCASE("the scheme's own port stands in no URL") {
        CHECK(Names::parse_url("https://p.example").value().origin({80, "ws-a"}) ==
              "https://80-ws-a.p.example");
        CHECK(Names::parse_url("http://localhost:7777").value().origin({80, "ws-a"}) ==
              "http://80-ws-a.localhost:7777");
    }
    SUBCASE("URLs that say no more than that are taken") {
        for (std::string const url :
             {"preview.example.com", "ftp://x", "https://", "https://a/b", "https://a/", "https://A.example",
              "https://a:0", "https://a:99999", "https://a..b", "https://.a", "https://u@a", "https://*.a"})
            CHECK_MESSAGE(Names::parse_url(url).has_error(), url);
    }
}

TEST_CASE("a sealed credential is good for one preview, version, kind and time") {
    auto const token = seal(secret, subject, Kind::link, 1000);
    CHECK(unseal(secret, subject, Kind::link, token, 999) == 1000);
    CHECK_FALSE(unseal(secret, subject, Kind::link, token, 1000));
    CHECK_FALSE(unseal(secret, subject, Kind::cookie, token, 999));
    CHECK_FALSE(unseal(secret, {"pv-2", 1}, Kind::link, token, 999));
    CHECK_FALSE(unseal(secret, {"pv-1", 2}, Kind::link, token, 999));
    CHECK_FALSE(unseal(base::Secret("another"), subject, Kind::link, token, 999));
    auto later = token;
    later.replace(later.find("1000"), 4, "9999");
    CHECK_FALSE(unseal(secret, subject, Kind::link, later, 999));
    for (std::size_t cut = 0; cut < token.size(); ++cut)
        CHECK_FALSE(unseal(secret, subject, Kind::link, token.substr(0, cut), 999));
    CHECK_FALSE(unseal(secret, subject, Kind::link, token + "A", 999));
}

TEST_CASE("what decides about a visitor") {
    auto const link = seal(secret, subject, Kind::link, 1000),
               cookie = seal(secret, subject, Kind::cookie, 900);
    Fields fields;
    std::string target = "/";
    auto const verdict = [&](bool is_public = false) {
        auto copy = target;
        return decide(secret, subject, is_public, ask(fields, copy), 500).verdict;
    };
    CHECK(verdict() == Verdict::missing);
    CHECK(verdict(true) == Verdict::open);

    SUBCASE("a link, which leaves the rest of the URL as it was") {
        for (auto const& [before, after] : std::vector<std::pair<std::string, std::string>>{
                 {"/?berth_preview=" + link, "/"},
                 {"/a?x=1&berth_preview=" + link + "&y=%26", "/a?x=1&y=%26"},
                 {"/a?berth_preview=" + link + "&x", "/a?x"},
                 {"/a?x=1&berth_preview=" + link, "/a?x=1"}}) {
            target = before;
            CHECK(verdict() == Verdict::by_link);
            auto copy = before;
            ask(fields, copy);
            CHECK(copy == after);
        }
    }
    SUBCASE("URLs without one stay as they are") {
        for (std::string const url :
             {"/", "/?", "/?a&b", "/?&&a", "/?xberth_preview=1", "/?a=berth_preview=1", "/??"}) {
            auto copy = url;
            ask(fields, copy);
            CHECK(copy == url);
        }
    }
    SUBCASE("a wrong link, even with a good cookie: what was shown decides alone") {
        fields.set("Cookie", "berth_preview=" + cookie);
        CHECK(verdict() == Verdict::by_cookie);
        target = "/?berth_preview=" + link + "x";
        CHECK(verdict() == Verdict::wrong);
        target = "/?berth_preview=" + link + "&berth_preview=" + link;
        CHECK(verdict() == Verdict::wrong);
    }
    SUBCASE("a token in either header, and the program's own bearer token is not ours") {
        fields.set("Authorization", "Bearer " + link);
        CHECK(verdict() == Verdict::by_header);
        CHECK(ask(fields, target).authorization_is_ours);
        fields.set("Authorization", "Bearer eyJhbGciOi");
        CHECK(verdict() == Verdict::missing);
        CHECK_FALSE(ask(fields, target).authorization_is_ours);
        fields.set("Berth-Preview-Token", link);
        CHECK(verdict() == Verdict::by_header);
        fields.set("Berth-Preview-Token", cookie);
        CHECK(verdict() == Verdict::wrong);
    }
    SUBCASE("a cookie, also beside planted ones, but no link in its place") {
        fields.set("Cookie", "a=b; berth_preview=bp1.c.1.x; __Host-berth_preview=" + cookie + "; c");
        CHECK(verdict() == Verdict::by_cookie);
        fields.set("Cookie", "berth_preview=" + link);
        CHECK(verdict() == Verdict::wrong);
    }
}

TEST_CASE("our cookie goes back only where it should") {
    CHECK(set_cookie("T", 60, true, false, false) ==
          "__Host-berth_preview=T; Path=/; HttpOnly; Max-Age=60; SameSite=Lax; Secure");
    CHECK(set_cookie("T", 60, true, false, true) ==
          "__Host-berth_preview=T; Path=/; HttpOnly; Max-Age=60; SameSite=None; Secure; Partitioned");
    CHECK(set_cookie("T", 60, false, true, false) ==
          "berth_preview=T; Path=/; HttpOnly; Max-Age=60; SameSite=Lax");
    CHECK(set_cookie("T", 60, false, true, true) ==
          "berth_preview=T; Path=/; HttpOnly; Max-Age=60; SameSite=None; Secure; Partitioned");
    CHECK(set_cookie("T", 60, false, false, true) ==
          "berth_preview=T; Path=/; HttpOnly; Max-Age=60; SameSite=Lax");
}

TEST_CASE("what the program inside sees") {
    Fields in;
    in.set("Host", "5173-ws-a.localhost:7777");
    in.set("Connection", "keep-alive, X-Hop, Host, Cookie");
    in.set("X-Hop", "1");
    in.set("Keep-Alive", "5");
    in.set("TE", "trailers");
    in.set("Upgrade", "h2c");
    in.set("Proxy-Authorization", "Basic x");
    in.set("Forwarded", "for=1.2.3.4");
    in.set("X-Forwarded-For", "1.2.3.4");
    in.set("X_Forwarded_For", "1.2.3.4");
    in.set("X-Forwarded-Prefix", "/evil");
    in.set("X-Real-IP", "1.2.3.4");
    in.set("X-Client-IP", "1.2.3.4");
    in.set("True-Client-IP", "1.2.3.4");
    in.set("CF-Connecting-IP", "1.2.3.4");
    in.set("Proxy", "http://evil.example");
    in.set("Cookie", "a=1; berth_preview=secret;__Host-berth_preview=secret; b=2");
    in.set("Authorization", "Bearer theirs");
    in.set("Berth-Preview-Token", "secret");
    in.set("Berth_Preview_Token", "secret");
    in.set("Referer", "http://x/?berth_preview=secret");
    in.set("Origin", "https://app.example");
    in.set("Range", "bytes=0-1");
    Forwarded f;
    f.peer = "127.0.0.1";
    f.scheme = "http";
    auto const out = fields_for_app(in, f);
    std::string all;
    for (auto const& field : out)
        all.append(field.name_string()).append(": ").append(field.value()).append("\n");
    CHECK(all ==
          "Host: 5173-ws-a.localhost:7777\nCookie: a=1; b=2\nAuthorization: Bearer theirs\nOrigin: "
          "https://app.example\n"
          "Range: bytes=0-1\nX-Forwarded-For: 127.0.0.1\nX-Forwarded-Proto: http\n"
          "X-Forwarded-Host: 5173-ws-a.localhost:7777\nX-Forwarded-Port: 7777\n"
          "Forwarded: for=127.0.0.1;host=\"5173-ws-a.localhost:7777\";proto=http\n");
    f.authorization_is_ours = true;
    f.peer = "[::1]";
    f.upgrade = true;
    auto const again = fields_for_app(in, f);
    CHECK(again["Authorization"].empty());
    CHECK(again["X-Forwarded-For"] == "::1");
    CHECK(again["Upgrade"] == "websocket");
}

TEST_CASE("what a visitor sees of an answer") {
    Fields in;
    in.set("Connection", "close, X-Hop");
    in.set("X-Hop", "1");
    in.set("Alt-Svc", "h3=\":443\"");
    in.set("Location", "https://elsewhere.example/");
    in.insert("Set-Cookie", "a=1; Domain=.localhost; Path=/; HttpOnly");
    in.insert("Set-Cookie", "b=2;domain = example.com ;SameSite=Lax");
    in.insert("Set-Cookie", "berth_preview=planted; Path=/");
    in.insert("Set-Cookie", " __Host-berth_preview =planted");
    in.insert("Set-Cookie", "\tberth_preview\t=planted");
    in.insert("Set-Cookie", "=berth_preview=planted");
    in.insert("Set-Cookie", "plain");
    in.insert("Clear-Site-Data", "\"cache\", \"Cookies\",\"storage\"");
    in.insert("Clear-Site-Data", "\"cookies\"");
    std::string all;
    for (auto const& field : fields_for_visitor(in))
        all.append(field.name_string()).append(": ").append(field.value()).append("\n");
    CHECK(all ==
          "Location: https://elsewhere.example/\nSet-Cookie: a=1; Path=/; HttpOnly\nSet-Cookie: "
          "b=2;SameSite=Lax\n"
          "Set-Cookie: plain\nClear-Site-Data: \"cache\", \"storage\"\n");
    Fields everything;
    everything.set("Clear-Site-Data", "\"*\"");
    CHECK(fields_for_visitor(everything)["Clear-Site-Data"] == "\"cache\", \"storage\"");
}

TEST_CASE("only a whole WebSocket handshake asks for one") {
    http::RequestHead r;
    r.verb = http::Verb::get;
    r.fields.set("Connection", "keep-alive, Upgrade");
    r.fields.set("Upgrade", "WebSocket");
    r.fields.set("Sec-WebSocket-Version", "13");
    r.fields.set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    CHECK(upgrade_of(r) == Upgrade::websocket);
    CHECK(websocket_accept("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");  // RFC 6455, 1.3
    auto broken = [&](auto change) {
        auto copy = r;
        change(copy);
        return upgrade_of(copy);
    };
    CHECK(broken([](auto& x) { x.has_body = true; }) == Upgrade::malformed);
    CHECK(broken([](auto& x) { x.verb = http::Verb::post; }) == Upgrade::malformed);
    CHECK(broken([](auto& x) { x.version = 10; }) == Upgrade::malformed);
    CHECK(broken([](auto& x) { x.fields.set("Sec-WebSocket-Version", "12"); }) == Upgrade::malformed);
    CHECK(broken([](auto& x) { x.fields.set("Sec-WebSocket-Key", "short"); }) == Upgrade::malformed);
    CHECK(broken([](auto& x) { x.fields.erase("Sec-WebSocket-Key"); }) == Upgrade::malformed);
    CHECK(broken([](auto& x) { x.fields.set("Upgrade", "websocket, h2c"); }) == Upgrade::malformed);
    CHECK(broken([](auto& x) { x.fields.set("Upgrade", "h2c"); }) == Upgrade::none);
    CHECK(broken([](auto& x) { x.fields.erase("Connection"); }) == Upgrade::none);
}

TEST_CASE("which command's end may explain a silent port") {
    constexpr std::int64_t hour = 3'600'000, now = 100 * hour;
    std::vector<sandbox::ProcessView> seen;
    std::vector<registry::ProcessRecord> records;
    auto const ended = [&](std::string id, std::string command, std::int64_t at, int exit_code = 1, bool background = true) {
        sandbox::ProcessView p;
        p.id = id;
        p.exit_code = exit_code;
        p.reason = "exit";
        p.started_ms = at - 1000;
        p.ended_ms = at;
        seen.push_back(p);
        registry::ProcessRecord r;
        r.id = id;
        r.command = command;
        r.background = background;
        records.push_back(r);
    };
    auto const explains = [&] {
        auto const found = explaining_crash(seen, records, now);
        return found ? found->id : std::string();
    };
    CHECK(explains().empty());
    ended("p-1", "npm start", now - hour);
    CHECK(explains() == "p-1");

    SUBCASE("the newest, whatever was waited for, went well or was stopped since") {
        ended("p-2", "grep -r nothing", now - 500, 1, false);
        ended("p-3", "true", now - 400, 0);
        ended("p-4", "sleep 100", now - 300, -1);
        seen.back().signal = 15;
        seen.back().reason = "killed";
        CHECK(explains() == "p-1");
        ended("p-5", "python3 app.py", now - 200);
        CHECK(explains() == "p-5");
    }
    SUBCASE("not one that was begun again: then that run tells") {
        ended("p-2", "npm start", now - 500, 0);
        CHECK(explains().empty());
        seen.back().running = true;
        CHECK(explains().empty());
        seen.back().running = false;
        seen.back().signal = 9;
        seen.back().reason = "signal";
        CHECK(explains() == "p-2");
    }
    SUBCASE("not one of another day") {
        seen.back().ended_ms = now - 7 * hour;
        CHECK(explains().empty());
    }
}

TEST_CASE("pages say what is wrong to people and to programs, and show text as text") {
    std::vector<Listener> const listening{{8000, "127.0.0.1", "<b>python3</b>"}, {5173, "10.0.0.5", "node"}};
    Crash crash;
    crash.command = "npm start";
    crash.reason = "exit code 1";
    crash.output = "Error: <script>alert(1)</script>";
    auto const page = render(nothing_listens(3000, false, listening, crash), Style::html);
    CHECK(page.status == http::Status::bad_gateway);
    CHECK(page.body.find("<script>") == std::string::npos);
    CHECK(page.body.find("&lt;script&gt;") != std::string::npos);
    CHECK(page.body.find("&lt;b&gt;python3") != std::string::npos);
    CHECK(page.fields["Content-Security-Policy"].find("default-src 'none'") == 0);
    auto const json =
        base::parse_json(render(nothing_listens(3000, false, listening, crash), Style::json).body).value();
    CHECK(json["error"] == "crashed");
    CHECK(json["listening_ports"] == base::Json{8000, 5173});
    CHECK(json["crash"]["reason"] == "exit code 1");
    CHECK(unreachable_hint(5173, listening).find("only on 10.0.0.5") != std::string::npos);
    CHECK(unreachable_hint(8000, listening).empty());
    CHECK(render(still_waking(), Style::html).fields["Refresh"] == "3");
    CHECK(render(asleep("x"), Style::html).fields["Refresh"].empty());
    Fields fields;
    CHECK(style_of(fields) == Style::text);
    fields.set("Accept", "application/json");
    CHECK(style_of(fields) == Style::json);
    fields.set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    CHECK(style_of(fields) == Style::html);
}
