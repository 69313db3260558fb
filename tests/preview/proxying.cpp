#include "world.hpp"

using namespace preview_test;

TEST_CASE("one request in, one out, or none") {
    World w;
    auto const link = w.link();
    auto const auth = w.with(link);
    auto const rider = w.get("/smuggled", auth);

    SUBCASE("what could be read in two ways reaches no program") {
        for (std::string const head :
             {"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
              "Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
              "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
              "Transfer-Encoding: xchunked\r\n\r\n", "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
              "Transfer-Encoding:\x0b"
              "chunked\r\n\r\n0\r\n\r\n",
              "X: a\n\r\n", "X: a\r\n b\r\n\r\n", "X: a\rGET /smuggled HTTP/1.1\r\n\r\n",
              "Content-Length: +1\r\n\r\n"}) {
            CAPTURE(head);
            auto const all = w.ask_all("POST / HTTP/1.1\r\nHost: " + w.host() + "\r\n" + auth + head + rider);
            CHECK(all.starts_with("HTTP/1.1 400 "));
            CHECK(all.find("HTTP/1.1", 1) == std::string::npos);
        }
        CHECK(w.app.requests == 0);
    }
    SUBCASE("bad chunks end the request") {
        for (std::string const chunks :
             {"5\nhello\n0\n\n", "zz\r\n", "5\r\nhelloX\r\n0\r\n\r\n", "-1\r\n", "1;\x01\r\na\r\n"}) {
            CAPTURE(chunks);
            auto const all = w.ask_all(
                w.get("/", auth + "Transfer-Encoding: chunked\r\nConnection: close\r\n", 5173, "POST") +
                chunks + rider);
            CHECK(all.find("smuggled") == std::string::npos);
        }
    }
    SUBCASE("a body is a body, whatever it looks like, and is framed anew") {
        auto const answer = w.ask(
            w.get("/", auth + "Content-Length: " + std::to_string(rider.size()) + "\r\n", 5173, "POST") +
            rider);
        CHECK(answer.body == "POST / " + rider);
        CHECK(w.app.last.length == rider.size());
        auto const chunked = w.ask(w.get("/", auth + "Transfer-Encoding: chunked\r\n", 5173, "POST") +
                                   "3;ext=\"x\"\r\nabc\r\n0\r\nX-Trailer: 1\r\nHost: evil\r\n\r\n");
        CHECK(chunked.body == "POST / abc");
        CHECK(w.app.last.fields.count("X-Trailer") == 0);
        CHECK(w.app.requests == 2);
    }
    SUBCASE("an upgrade that the program refuses leaves no tunnel") {
        auto const all =
            w.ask_all(w.get("/plain", auth + kHandshake) + w.get("/second", auth + "Connection: close\r\n"));
        CHECK(all.find("GET /plain ") != std::string::npos);
        CHECK(all.find("GET /second ") != std::string::npos);  // read by us, not by the program
        CHECK(w.app.requests == 2);
        CHECK(w.ask(w.get("/ws", auth + "Connection: Upgrade\r\nUpgrade: websocket\r\n")).status == 400);
        CHECK(w.ask(w.get("/ws", auth + kHandshake + "Content-Length: 3\r\n") + "abc").status == 400);
        CHECK(
            w.ask(w.get(
                      "/x",
                      auth + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"))
                .status == 200);
        CHECK(w.app.last.fields.count("Upgrade") == 0);
        CHECK(w.app.last.fields.count("HTTP2-Settings") == 0);
        w.app.wrong_accept = true;
        CHECK(w.ask(w.get("/ws", auth + kHandshake)).status == 502);
    }
}

TEST_CASE("connections to a program are used again where that can do no harm") {
    World w;
    auto const auth = w.with(w.link());
    for (int i = 0; i < 3; ++i) CHECK(w.ask(w.get("/", auth)).status == 200);
    CHECK(w.backend.connects == 1);
    CHECK(w.ask(w.get("/", auth + "Content-Length: 1\r\n", 5173, "POST") + "x").status == 200);
    CHECK(w.backend.connects == 2);

    SUBCASE("one that the program closed meanwhile costs the visitor nothing") {
        w.app.start();
        w.backend.ports[5173] = w.app.port;
        CHECK(w.ask(w.get("/", auth)).status == 200);
    }
    SUBCASE("none outlives its sandbox") {
        w.backend.generation = 2;
        CHECK(w.ask(w.get("/", auth)).status == 200);
        CHECK(w.backend.connects == 3);
    }
}

TEST_CASE("answers come as the program gives them") {
    World w;
    auto const auth = w.with(w.link());
    CHECK(w.ask(w.get("/early", auth + "Content-Length: 1000000\r\n", 5173, "POST")).status == 413);
    auto const dense = w.ask(w.get("/dense-cookie", auth + "Content-Length: 1000000\r\n", 5173, "POST"));
    CHECK(dense.status == 200);  // does not grow on its way beyond what a field can hold
    CHECK(dense.body == "set");
    auto const cut = w.ask_all(w.get("/cut", auth));
    CHECK(cut.find("Content-Length: 200000\r\n") != std::string::npos);
    CHECK(cut.ends_with("only this"));
    w.io.run([](World& x, std::string a) -> Task<void> {
        Client client(x.io.context);
        co_await client.connect(x.port);
        auto const request = x.get("/", a, 5173, "HEAD") + x.get("/", a);
        co_await client.send(request);
        auto const head = co_await client.answer(false);
        CHECK(head.has("Content-Length: 7\r\n"));
        auto const get = co_await client.answer();
        CHECK(get.body == "GET / ");
        co_await client.send(x.get("/endless", a));
        (void)co_await client.until("data: tick\n\n\r\nc\r\ndata: tick");
        client.close();
        auto const ended = [&x] {
            return x.backend.leases == 0;
        };  // the program's side ends with the visitor
        co_await x.until(ended);
    }(w, auth));
}

TEST_CASE("when nothing answers, a page says why") {
    World w;
    auto const closed = w.with(w.link(3000));
    auto const page = w.ask(w.get("/", closed, 3000));
    CHECK(page.status == 502);
    CHECK(page.has("Berth-Preview: crashed"));
    CHECK(page.body.find("listening: 5173 (node, 127.0.0.1)") != std::string::npos);
    CHECK(page.body.find("the last words") != std::string::npos);
    w.link(3000, Access::open);
    auto const to_all = w.ask(w.get("/", "Accept: application/json\r\n", 3000));
    CHECK(to_all.body.find("the last words") == std::string::npos);
    CHECK(base::parse_json(to_all.body).value()["error"] == "nothing_listens");
    CHECK(to_all.body.find("8000") == std::string::npos);  // nor what else runs there

    SUBCASE("and a program that just began is waited for") {
        w.backend.youngest = base::milliseconds(1'000);
        w.io.run([](World& x) -> Task<void> {
            Client client(x.io.context);
            co_await client.connect(x.port);
            co_await client.send(x.get("/late", {}, 3000));
            auto const tried = [&x] { return x.backend.connects > 3; };
            co_await x.until(tried);
            x.backend.ports[3000] = x.app.port;
            auto const answer = co_await client.answer();
            CHECK(answer.status == 200);
        }(w));
    }
    SUBCASE("and tries again by itself while a command that began not long ago still runs") {
        w.backend.youngest = base::milliseconds(300'000);  // it may install first
        auto const page = w.ask(w.get("/", kPage, 3000));
        CHECK(page.status == 502);
        CHECK(page.has("Refresh: 3\r\n"));
        CHECK(page.body.find("tries again by itself") != std::string::npos);
        CHECK_FALSE(w.ask(w.get("/", "Accept: application/json\r\n", 3000)).has("Refresh:"));
        w.backend.youngest = base::milliseconds(700'000);
        CHECK_FALSE(w.ask(w.get("/", kPage, 3000)).has("Refresh:"));
        w.backend.youngest.reset();
        CHECK_FALSE(w.ask(w.get("/", kPage, 3000)).has("Refresh:"));
    }
    SUBCASE("also one that takes too long to answer") {
        preview::Options options;
        options.answer_limit = base::milliseconds(1);
        w.open(options);
        auto const auth = w.with(w.link());
        CHECK(w.ask(w.get("/never", auth)).status == 504);
    }
    SUBCASE("also one that does not speak HTTP") {
        testing_support::ScriptedServer ssh(w.io.context, {"SSH-2.0-x\r\n\r\n"});
        w.backend.ports[3000] = ssh.port();
        CHECK(w.ask(w.get("/", {}, 3000)).status == 502);
    }
}

TEST_CASE("a sleeping workspace is woken once, by a bounded number of visitors") {
    preview::Options options;
    options.max_held_per_workspace = 3;
    World w(options);
    auto const auth = w.with(w.link());
    w.backend.asleep = w.backend.hold = true;

    SUBCASE("who are all answered when it is up") {
        w.io.run([](World& x, std::string a) -> Task<void> {
            std::vector<std::unique_ptr<Client>> clients;
            for (int i = 0; i < 4; ++i) {
                clients.push_back(std::make_unique<Client>(x.io.context));
                co_await clients.back()->connect(x.port);
                auto const request = i == 0 ? x.get("/ws", a + kHandshake) : x.get("/", a);
                co_await clients.back()->send(request);
                if (i < 3) co_await base::sleep_for(base::milliseconds(20));
            }
            auto const refused = co_await clients[3]->answer();
            CHECK(refused.status == 503);
            x.backend.hold = false;
            auto const socket = co_await clients[0]->until("\r\n\r\n");
            CHECK(socket.starts_with("HTTP/1.1 101 "));
            for (int i = 1; i < 3; ++i) {
                auto const answer = co_await clients[static_cast<std::size_t>(i)]->answer();
                CHECK(answer.status == 200);
            }
            CHECK(x.backend.wakes == 1);
        }(w, auth));
    }
    SUBCASE("who are told when it cannot be, or takes long") {
        w.backend.hold = false;
        w.backend.wake_fails = "no room for another sandbox";
        auto const page = w.ask(w.get("/", auth));
        CHECK(page.status == 503);
        CHECK(page.body.find("no room for another sandbox") != std::string::npos);
        w.link(8000, Access::open);
        auto const anonymous = w.ask(w.get("/", {}, 8000));
        CHECK(anonymous.status == 503);
        CHECK(anonymous.body.find("sandbox") == std::string::npos);
        w.backend.throws = true;
        CHECK(w.ask(w.get("/", auth)).status == 503);
        w.backend.throws = false;
        CHECK(w.ask(w.get("/", auth)).body.find("no room for another sandbox") != std::string::npos);
        preview::Options hasty;
        hasty.wake_limit = base::milliseconds(10);
        w.open(hasty);
        w.backend.hold = true;
        CHECK(w.ask(w.get("/", auth)).has("Berth-Preview: starting"));
        w.backend.hold = false;
    }
    SUBCASE("but not by those who were not let in, nor when it was deleted") {
        CHECK(w.ask(w.get("/")).status == 401);
        w.backend.deleted = true;
        CHECK(w.ask(w.get("/", auth)).status == 404);
        CHECK(w.backend.wakes == 0);
        CHECK(w.previews->list("me", "").empty());
        w.backend.hold = false;
    }
}

TEST_CASE("what keeps a workspace awake is the operator's to say") {
    using preview::KeepAwake;
    preview::Options options;
    int by_socket = 1, by_stream = 1;
    SUBCASE("all traffic, unless told otherwise") {}
    SUBCASE("requests") { options.keep_awake = KeepAwake::requests, by_socket = 0; }
    SUBCASE("nothing that is open") { options.keep_awake = KeepAwake::never, by_socket = by_stream = 0; }
    World w(options);
    auto const auth = w.with(w.link());
    w.io.run([](World& x, std::string a, int of_socket, int of_stream) -> Task<void> {
        Client socket(x.io.context), stream(x.io.context), waiting(x.io.context);
        co_await socket.connect(x.port);
        co_await socket.send(x.get("/ws", a + kHandshake));
        (void)co_await socket.until("\r\n\r\n");
        CHECK(x.backend.leases == of_socket);
        co_await socket.send("hello");
        (void)co_await socket.until("hello");  // it works all the same
        co_await stream.connect(x.port);
        co_await stream.send(x.get("/endless", a));
        (void)co_await stream.until("tick");
        CHECK(x.backend.leases == of_socket + of_stream);
        co_await waiting.connect(x.port);
        co_await waiting.send(x.get("/never", a));
        auto const asked = [&x] { return x.app.last.target == "/never"; };
        co_await x.until(asked);
        CHECK(x.backend.leases == of_socket + of_stream + 1);  // an answer that is waited for always does
        for (auto* client : {&socket, &stream, &waiting}) client->close();
        auto const ended = [&x] { return x.backend.leases == 0 && x.app.sockets == 0; };
        co_await x.until(ended);
    }(w, auth, by_socket, by_stream));
    w.backend.asleep = true;
    if (by_socket == 0) {  // nor does a socket wake it
        CHECK(w.ask(w.get("/ws", auth + kHandshake)).has("Berth-Preview: asleep"));
        CHECK(w.backend.wakes == 0);
        CHECK(w.ask(w.get("/", auth)).status == 200);
    }
    CHECK(w.ask(w.get("/ws", auth + kHandshake)).status == 101);
    CHECK(w.backend.wakes == 1);
}

TEST_CASE("several programs under one URL") {
    World w;
    auto const auth = w.with(w.link(5173, Access::by_link, {{"/api", 8000}, {"/api/v2", 5173}}));
    auto const at = [&](std::string path) {
        auto const before = w.other.requests;
        CHECK(w.ask(w.get(path, auth)).status == 200);
        return w.other.requests > before ? 8000 : 5173;
    };
    CHECK(at("/") == 5173);
    CHECK(at("/api") == 8000);
    CHECK(at("/api/x?y") == 8000);
    CHECK(at("/api?x=/") == 8000);
    CHECK(at("/apix") == 5173);
    CHECK(at("/api/v2/x") == 5173);
    w.open({});
    CHECK(at("/api") == 8000);
    preview::LinkRequest r;
    r.workspace = kWorkspace;
    r.port = 5173;
    for (std::string const bad : {"api", "/api/", "/a b", "/a?b", ""}) {
        r.rules = std::map<std::string, int>{{bad, 8000}};
        CHECK_MESSAGE(w.io.run(w.previews->link("me", r)).has_error(), bad);
    }
}

TEST_CASE("limits of visitors and previews") {
    preview::Options options;
    options.max_per_visitor = 2;
    World w(options);
    auto const auth = w.with(w.link());
    w.io.run([](World& x, std::string a) -> Task<void> {
        Client one(x.io.context), two(x.io.context), three(x.io.context);
        for (auto* c : {&one, &two}) {
            co_await c->connect(x.port);
            co_await c->send(x.get("/endless", a));
            (void)co_await c->until("tick");
        }
        co_await three.connect(x.port);
        auto const refused = co_await three.ask(x.get("/", a));
        CHECK(refused.status == 503);
        one.close();
        auto const ended = [&x] { return x.backend.leases == 1; };
        co_await x.until(ended);
        auto const served = co_await three.ask(x.get("/", a));
        CHECK(served.status == 200);
        two.close();
    }(w, auth));
    auto const view = w.previews->list("me", "");
    REQUIRE(view.size() == 1);
    CHECK(view[0].requests >= 3);
    auto const log = w.previews->log(view[0].preview_id, 10);
    REQUIRE_FALSE(log.empty());
    CHECK(log.back().by == "token");
    CHECK(w.previews->metrics().find("berth_preview_requests_total{answer=\"2xx\"}") != std::string::npos);
}

TEST_CASE("looking at a port, and at a page as a visitor") {
    World w;
    auto look = [&](int port, int wait_ms, std::string path = "/", std::optional<std::map<std::string, int>> rules = {}) {
        auto chosen = port;
        auto const r =
            w.io.run(w.previews->look("me", "named", chosen, path, base::milliseconds(wait_ms), rules)).value();
        return std::make_pair(chosen, r);
    };
    CHECK(look(5173, 0).second.ready);
    CHECK(look(5173, 100).second.status == 200);
    CHECK(look(0, 0).first == 5173);
    auto const silent = look(3000, 0).second;
    CHECK_FALSE(silent.ready);
    CHECK(silent.listening.size() == 2);
    CHECK(silent.hint.find("3000") != std::string::npos);
    w.backend.asleep = true;
    CHECK_FALSE(look(5173, 0).second.awake);
    CHECK(w.backend.wakes == 0);
    CHECK(look(5173, 100).second.ready);
    // By its routes, those of this call or those that it has: who answers is who is asked.
    auto const at_other = [&] { return std::exchange(w.other.requests, 0); };
    CHECK(look(5173, 100, "/api/x", std::map<std::string, int>{{"/api", 8000}}).second.status == 200);
    CHECK(at_other() == 1);
    CHECK(look(5173, 100, "/api/x").second.status == 200);
    CHECK(at_other() == 0);
    w.link(5173, Access::by_link, {{"/api", 8000}, {"/old", 3000}});
    CHECK(look(5173, 100, "/api/x?y").second.ready);
    CHECK(w.other.last.fields["Host"] == w.host());
    CHECK(at_other() == 1);
    auto const gone = look(5173, 0, "/old").second;
    CHECK_FALSE(gone.ready);
    CHECK(gone.hint.find("port 3000 yet. Routes") != std::string::npos);
    auto const link = w.link();
    auto const visit = w.io.run(w.previews->visit(link, "/hello", base::milliseconds(5'000))).value();
    CHECK(visit.status == 200);
    CHECK(visit.body == "GET /hello ");
    CHECK(w.app.last.fields.count("Berth-Preview-Token") == 0);
    for (auto const* path : {"/#/settings", "/a b", "no/slash", "/line\r\nHost: other"})
        CHECK(base::is(w.io.run(w.previews->visit(link, path, base::milliseconds(5'000))).error(), base::errc::invalid));
}
