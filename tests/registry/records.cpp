#include "fixture.hpp"

#include <doctest/doctest.h>

#include <sys/stat.h>

using namespace registry_test;

namespace {

void check_same(WorkspaceRecord const& a, WorkspaceRecord const& b) {
    CHECK(a.id == b.id);
    CHECK(a.name == b.name);
    CHECK(a.owner == b.owner);
    CHECK(a.template_name == b.template_name);
    CHECK(a.state == b.state);
    CHECK(a.slot == b.slot);
    CHECK(a.volume == b.volume);
    CHECK(a.generation == b.generation);
    CHECK(a.settings == b.settings);
    CHECK(a.last_error == b.last_error);
    CHECK(a.idempotency_key == b.idempotency_key);
    CHECK(a.request_hash == b.request_hash);
    CHECK(a.created_ms == b.created_ms);
    CHECK(a.active_ms == b.active_ms);
}

}  // namespace

TEST_CASE("workspace records") {
    World w;
    auto& r = *w.registry;
    REQUIRE(ok(w.io.run(r.insert_workspace(workspace("a")))));

    SUBCASE("come back as they were written, also after a restart") {
        auto odd = workspace("b");
        odd.name = "caf\xC3\xA9 ' \" \n";
        odd.settings = base::Json::object();
        odd.created_ms = 1001;
        REQUIRE(ok(w.io.run(r.insert_workspace(odd))));
        w.close();
        w.open();
        auto const all = w.io.run(w.registry->workspaces()).value();
        REQUIRE(all.size() == 2);
        check_same(all[0], workspace("a"));
        check_same(all[1], odd);
    }
    SUBCASE("are unique by id, by name and by idempotency key of an owner, and the error says by which") {
        auto const refused = [&](WorkspaceRecord record) {
            auto const status = w.io.run(r.insert_workspace(std::move(record)));
            REQUIRE_FALSE(status.has_value());
            CHECK(base::is(status.error(), base::errc::exists));
            return status.error().message();
        };
        auto same_id = workspace("a"), same_name = workspace("b"), same_key = workspace("b");
        same_id.name = same_id.idempotency_key = "other";
        same_name.name = "name-a";
        same_key.idempotency_key = "key-a";
        CHECK(refused(same_id) == "workspace a exists already");
        CHECK(refused(same_name) == "a workspace named \"name-a\" exists already");
        CHECK(refused(same_key) == "the idempotency key was used for another workspace");

        auto bob = workspace("b"), plain = workspace("c"), plain_too = workspace("d");
        bob.owner = "bob";
        bob.name = "name-a";
        bob.idempotency_key = "key-a";
        plain.idempotency_key = plain_too.idempotency_key = "";
        for (auto const& record : {bob, plain, plain_too}) CHECK(ok(w.io.run(r.insert_workspace(record))));
    }
    SUBCASE("are updated in all but id, owner and creation") {
        auto changed = workspace("a");
        changed.name = "renamed";
        changed.owner = "mallory";
        changed.state = "stopped";
        changed.slot = "";
        changed.generation = 4;
        changed.settings = {{"idle", "keep"}};
        changed.created_ms = 5;
        changed.active_ms = 9000;
        REQUIRE(ok(w.io.run(r.update_workspace(changed))));
        changed.owner = "alice";
        changed.created_ms = 1000;
        check_same(w.io.run(r.workspaces()).value().at(0), changed);

        auto const missing = w.io.run(r.update_workspace(workspace("zz")));
        REQUIRE_FALSE(missing.has_value());
        CHECK(base::is(missing.error(), base::errc::not_found));

        REQUIRE(ok(w.io.run(r.insert_workspace(workspace("b")))));
        auto taken = workspace("b");
        taken.name = "renamed";
        auto const status = w.io.run(r.update_workspace(taken));
        REQUIRE_FALSE(status.has_value());
        CHECK(base::is(status.error(), base::errc::exists));
    }
    SUBCASE("are refused when a column cannot hold them") {
        auto huge = workspace("b"), stateless = workspace("c");
        huge.generation = ~0ull;
        stateless.state = "";
        for (auto const& record : {huge, stateless}) {
            auto const status = w.io.run(r.insert_workspace(record));
            REQUIRE_FALSE(status.has_value());
            CHECK(base::is(status.error(), base::errc::invalid));
        }
        CHECK(w.io.run(r.workspaces()).value().size() == 1);
    }
    SUBCASE("are touched lazily and never backwards") {
        r.touch_workspace_lazy("a", 5000);
        r.touch_workspace_lazy("a", 4000);
        r.touch_workspace_lazy("gone", 1);
        w.close();
        w.open();
        CHECK(w.io.run(w.registry->workspaces()).value().at(0).active_ms == 5000);
    }
    SUBCASE("go with their processes, and once") {
        REQUIRE(ok(w.io.run(r.put_processes({process("p", "a")}))));
        REQUIRE(ok(w.io.run(r.delete_workspace("a"))));
        CHECK(w.io.run(r.workspaces()).value().empty());
        CHECK_FALSE(w.io.run(r.process("p")).value().has_value());
        auto const again = w.io.run(r.delete_workspace("a"));
        REQUIRE_FALSE(again.has_value());
        CHECK(base::is(again.error(), base::errc::not_found));
        CHECK(ok(w.io.run(r.insert_workspace(workspace("a")))));
    }
}

TEST_CASE("process records") {
    World w;
    auto& r = *w.registry;
    REQUIRE(ok(w.io.run(r.insert_workspace(workspace("a")))));

    SUBCASE("come back as they were written, with binary tails cut to their end") {
        auto p = process("p", "a", 77);
        p.running = false;
        p.exit_code = 3;
        p.signal = 9;
        p.reason = "oom";
        p.ended_ms = 99;
        p.total_bytes = 1 << 20;
        p.tail_offset = 1000;
        p.tail = std::string("\0\xFF\n", 3) + std::string(70'000, 'x') + "end";
        p.command = std::string(600, 'c');
        REQUIRE(ok(w.io.run(r.put_processes({p}))));
        auto const back = w.io.run(r.process("p")).value().value();
        CHECK(back.workspace == "a");
        CHECK(back.generation == 3);
        CHECK_FALSE(back.running);
        CHECK(back.exit_code == 3);
        CHECK(back.signal == 9);
        CHECK(back.reason == "oom");
        CHECK(back.started_ms == 77);
        CHECK(back.ended_ms == 99);
        CHECK(back.total_bytes == 1 << 20);
        CHECK(back.tail.size() == 64 * 1024);
        CHECK(back.tail.ends_with("end"));
        CHECK(back.tail_offset + back.tail.size() == 1000 + p.tail.size());
        CHECK(back.command == std::string(500, 'c'));

        p.tail = std::string("\0a", 2);
        REQUIRE(ok(w.io.run(r.put_processes({p}))));
        CHECK(w.io.run(r.process("p")).value()->tail == p.tail);
    }
    SUBCASE("are all written or none") {
        auto const status = w.io.run(r.put_processes({process("p", "a"), process("q", "nowhere")}));
        REQUIRE_FALSE(status.has_value());
        CHECK(base::is(status.error(), base::errc::not_found));
        CHECK_FALSE(w.io.run(r.process("p")).value().has_value());
    }
    SUBCASE("are listed newest first up to a limit") {
        REQUIRE(ok(w.io.run(r.put_processes({process("p1", "a", 10), process("p3", "a", 30), process("p2", "a", 20),
                                          process("p4", "a", 30)}))));
        auto const newest = w.io.run(r.processes_of("a", 3)).value();
        REQUIRE(newest.size() == 3);
        CHECK(newest[0].id == "p4");
        CHECK(newest[1].id == "p3");
        CHECK(newest[2].id == "p2");
        CHECK(w.io.run(r.processes_of("b", 3)).value().empty());
    }
    SUBCASE("written lazily are there after a close, the last state of each, without those of deleted workspaces") {
        for (int i = 0; i < 100; ++i) {
            auto p = process("p" + std::to_string(i % 10), "a");
            p.total_bytes = static_cast<std::uint64_t>(i);
            r.put_process_lazy(p);
        }
        r.put_process_lazy(process("orphan", "nowhere"));
        w.close();
        w.open();
        auto const all = w.io.run(w.registry->processes_of("a", 100)).value();
        CHECK(all.size() == 10);
        for (auto const& p : all) CHECK(p.total_bytes >= 90);
        CHECK_FALSE(w.io.run(w.registry->process("orphan")).value().has_value());
    }
    SUBCASE("written lazily appear without a close, and go along with any other write before it") {
        r.put_process_lazy(process("p", "a"));
        REQUIRE(ok(w.io.run(r.put_processes({process("q", "a")}))));
        CHECK(w.io.run(r.process("p")).value().has_value());
        r.put_process_lazy(process("alone", "a"));
        bool seen = false;    // the helper's own minute is the limit
        while (!seen) seen = w.io.run(r.process("alone")).value().has_value();
        CHECK(seen);
    }
    SUBCASE("stay with their workspace whatever id is used again") {
        REQUIRE(ok(w.io.run(r.insert_workspace(workspace("b")))));
        REQUIRE(ok(w.io.run(r.put_processes({process("p", "a")}))));
        REQUIRE(ok(w.io.run(r.put_processes({process("p", "b")}))));
        CHECK(w.io.run(r.process("p")).value()->workspace == "a");
    }
}

TEST_CASE("what is kept about community servers") {
    World w;
    auto const pin = [](std::string tool, char digit) {
        registry::ToolPin p;
        p.server = "git";
        p.tool = std::move(tool);
        p.hash = std::string(64, digit);
        p.definition = {{"name", p.tool}, {"inputSchema", {{"type", "object"}}}};
        p.approved_ms = 5;
        p.approved_by = "first use";
        return p;
    };
    REQUIRE(ok(w.io.run(w.registry->put_tool_pins({pin("status", 'a'), pin("log", 'b')}))));
    registry::ServerOffer offer;
    offer.fingerprint = "f";
    offer.offer = {{"tools", base::Json::array()}};
    offer.seen_ms = 9;
    REQUIRE(ok(w.io.run(w.registry->put_server_offer("git", offer))));
    w.close();
    w.open();

    SUBCASE("lasts, and is the server's own") {
        auto const pins = w.io.run(w.registry->tool_pins("git")).value();
        REQUIRE(pins.size() == 2);
        CHECK(pins[0].tool == "log");
        CHECK(pins[1].definition == pin("status", 'a').definition);
        CHECK(w.io.run(w.registry->tool_pins("other")).value().empty());
        auto const stored = w.io.run(w.registry->server_offer("git")).value();
        REQUIRE(stored.has_value());
        CHECK(stored->offer == offer.offer);
        CHECK_FALSE(w.io.run(w.registry->server_offer("other")).value().has_value());
    }
    SUBCASE("is replaced as a whole or not at all") {
        auto bad = pin("new", 'c');
        bad.hash = "short";
        CHECK_FALSE(w.io.run(w.registry->put_tool_pins({pin("status", 'd'), bad})).has_value());
        CHECK(w.io.run(w.registry->tool_pins("git")).value()[1].hash == std::string(64, 'a'));
        REQUIRE(ok(w.io.run(w.registry->put_tool_pins({pin("status", 'd')}))));
        CHECK(w.io.run(w.registry->tool_pins("git")).value()[1].hash == std::string(64, 'd'));
    }
    SUBCASE("is forgotten on request") {
        REQUIRE(ok(w.io.run(w.registry->forget_server("git"))));
        CHECK(w.io.run(w.registry->tool_pins("git")).value().empty());
        CHECK_FALSE(w.io.run(w.registry->server_offer("git")).value().has_value());
    }
}

TEST_CASE("the audit trail and secrets") {
    World w;
    SUBCASE("audit entries come back newest first, by workspace, also after it was deleted") {
        w.registry->audit_lazy("a", "create", {{"n", 1}});
        w.registry->audit_lazy("b", "create", {});
        w.registry->audit_lazy("a", "egress", {{"host", "x"}});
        w.close();
        w.open();
        auto const audit = w.io.run(w.registry->recent_audit("a", 10)).value();
        REQUIRE(audit.size() == 2);
        CHECK(audit[0]["what"] == "egress");
        CHECK(audit[0]["detail"]["host"] == "x");
        CHECK(audit[1]["detail"]["n"] == 1);
        CHECK(audit[1]["at_ms"].get<std::int64_t>() > 0);
        CHECK(w.io.run(w.registry->recent_audit("a", 1)).value().size() == 1);
    }
    SUBCASE("a flood of one workspace's entries leaves those of others, and says how many it lost") {
        w.registry->audit_lazy("b", "create", {{"n", 1}});
        for (int i = 0; i < 100'000; ++i) w.registry->audit_lazy("a", "egress refused", {{"n", i}});
        w.registry->audit_lazy("b", "delete", {{"n", 2}});
        w.close();
        w.open();
        auto const other = w.io.run(w.registry->recent_audit("b", 10)).value();
        REQUIRE(other.size() == 2);
        CHECK(other[0]["what"] == "delete");
        std::uint64_t told = 0;
        auto const flood = w.io.run(w.registry->recent_audit("a", 100'000)).value();
        for (auto const& e : flood) told += e["what"] == "egress refused" ? 1 : e["detail"]["entries"].get<std::uint64_t>();
        CHECK(told == 100'000);
        CHECK(flood.size() < 20'000);
    }
    SUBCASE("nobody's history grows without end, however busy the registry is, nor pushes out another's") {
        w.registry->audit_lazy("b", "create", {});
        for (int round = 0; round < 500; ++round) {
            for (int i = 0; i < 64; ++i) w.registry->audit_lazy("a", "egress refused", {{"n", i}});
            REQUIRE(ok(w.io.run(w.registry->insert_workspace(workspace("w" + std::to_string(round))))));    // takes them along
        }
        CHECK(w.io.run(w.registry->recent_audit("a", 100'000)).value().size() < 20'000);
        CHECK(w.io.run(w.registry->recent_audit("b", 10)).value().size() == 1);
    }
    SUBCASE("a secret is made once and kept") {
        auto const first = w.io.run(w.registry->secret("seal", 32)).value();
        CHECK(first.size() == 32);
        CHECK(w.io.run(w.registry->secret("seal", 32)).value() == first);
        CHECK(w.io.run(w.registry->secret("cursor", 32)).value() != first);
        w.close();
        w.open();
        CHECK(w.io.run(w.registry->secret("seal", 32)).value() == first);
    }
    SUBCASE("the file and what stands beside it are for the owner alone") {
        REQUIRE(ok(w.io.run(w.registry->insert_workspace(workspace("a")))));
        for (auto const* suffix : {"", "-wal", "-shm"}) {
            struct stat st {};
            REQUIRE(::stat((w.file() + suffix).c_str(), &st) == 0);
            CHECK((st.st_mode & 0777) == 0600);
        }
    }
}

TEST_CASE("many workspaces are inserted together or not at all") {
    World w;
    auto& r = *w.registry;
    CHECK(ok(w.io.run(r.insert_workspaces({workspace("a"), workspace("b")}))));
    auto const refused = w.io.run(r.insert_workspaces({workspace("c"), workspace("b"), workspace("d")}));
    REQUIRE_FALSE(refused.has_value());
    CHECK(base::is(refused.error(), base::errc::exists));
    CHECK(w.io.run(r.workspaces()).value().size() == 2);
    CHECK(ok(w.io.run(r.insert_workspaces({workspace("c"), workspace("d")}))));
    CHECK(w.io.run(r.workspaces()).value().size() == 4);
}

TEST_CASE("snapshot records") {
    World w;
    REQUIRE(ok(w.io.run(w.registry->insert_workspaces({workspace("a"), workspace("b")}))));
    auto const snapshot = [](std::string id, std::string of, std::string name) {
        registry::SnapshotRecord s;
        s.id = std::move(id);
        s.workspace = std::move(of);
        s.name = std::move(name);
        s.volume = "v-" + s.id;
        s.image = "i-" + s.id;
        s.generation = 7;
        s.files_bytes = 1ull << 40;
        s.memory_bytes = 12;
        s.note = "1 network connection";
        s.created_ms = 1000;
        return s;
    };
    REQUIRE(ok(w.io.run(w.registry->insert_snapshot(snapshot("s1", "a", "before"), std::nullopt))));

    SUBCASE("come back as they were written, also after a restart") {
        w.close();
        w.open();
        auto const all = w.io.run(w.registry->snapshots()).value();
        REQUIRE(all.size() == 1);
        auto const want = snapshot("s1", "a", "before");
        CHECK(all[0].id == want.id);
        CHECK(all[0].workspace == want.workspace);
        CHECK(all[0].name == want.name);
        CHECK(all[0].volume == want.volume);
        CHECK(all[0].image == want.image);
        CHECK(all[0].generation == want.generation);
        CHECK(all[0].files_bytes == want.files_bytes);
        CHECK(all[0].memory_bytes == want.memory_bytes);
        CHECK(all[0].note == want.note);
        CHECK(all[0].created_ms == want.created_ms);
    }
    SUBCASE("have a name once in a workspace, and any number have none") {
        auto const taken = w.io.run(w.registry->insert_snapshot(snapshot("s2", "a", "before"), std::nullopt));
        REQUIRE_FALSE(taken.has_value());
        CHECK(base::is(taken.error(), base::errc::exists));
        CHECK(taken.error().message() == "a snapshot named \"before\" exists already");
        CHECK(ok(w.io.run(w.registry->insert_snapshot(snapshot("s3", "b", "before"), std::nullopt))));
        CHECK(ok(w.io.run(w.registry->insert_snapshot(snapshot("s4", "a", ""), std::nullopt))));
        CHECK(ok(w.io.run(w.registry->insert_snapshot(snapshot("s5", "a", ""), std::nullopt))));
    }
    SUBCASE("come and go with their image") {
        registry::ImageRecord image;
        image.workspace = "a";
        image.image = "i-s2";
        image.kind = "snapshot";
        image.generation = 7;
        CHECK_FALSE(w.io.run(w.registry->insert_snapshot(snapshot("s2", "a", "before"), image)).has_value());
        CHECK(w.io.run(w.registry->images()).value().empty());
        REQUIRE(ok(w.io.run(w.registry->insert_snapshot(snapshot("s2", "a", "after"), image))));
        CHECK(w.io.run(w.registry->images()).value().size() == 1);
        CHECK_FALSE(w.io.run(w.registry->insert_snapshot(snapshot("s3", "a", "third"), image)).has_value());
        CHECK(w.io.run(w.registry->snapshots()).value().size() == 2);
        REQUIRE(ok(w.io.run(w.registry->delete_snapshot("s2"))));
        CHECK(w.io.run(w.registry->images()).value().empty());
    }
    SUBCASE("belong to a workspace that exists, and go with it") {
        CHECK_FALSE(w.io.run(w.registry->insert_snapshot(snapshot("s2", "nobody", ""), std::nullopt)).has_value());
        REQUIRE(ok(w.io.run(w.registry->insert_snapshot(snapshot("s3", "b", ""), std::nullopt))));
        REQUIRE(ok(w.io.run(w.registry->delete_workspace("a"))));
        auto const all = w.io.run(w.registry->snapshots()).value();
        REQUIRE(all.size() == 1);
        CHECK(all[0].id == "s3");
        CHECK(ok(w.io.run(w.registry->delete_snapshot("s3"))));
        CHECK(ok(w.io.run(w.registry->delete_snapshot("s3"))));
        CHECK(w.io.run(w.registry->snapshots()).value().empty());
    }
}

TEST_CASE("preview records") {
    World w;
    REQUIRE(ok(w.io.run(w.registry->insert_workspace(workspace("a")))));
    registry::PreviewRecord p;
    p.id = "pv-1";
    p.workspace = "a";
    p.owner = "me";
    p.port = 5173;
    p.access = "private";
    p.rules = {{"/api", 8000}};
    p.created_ms = 5;
    REQUIRE(ok(w.io.run(w.registry->put_preview(p))));

    SUBCASE("are changed by writing them again, and come back after a restart") {
        p.access = "public";
        p.version = 2;
        p.expires_ms = 99;
        p.revoked_ms = 7;
        p.domain = "shop.example.com";
        REQUIRE(ok(w.io.run(w.registry->put_preview(p))));
        w.close();
        w.open();
        auto const all = w.io.run(w.registry->previews()).value();
        REQUIRE(all.size() == 1);
        CHECK(all[0].port == 5173);
        CHECK(all[0].owner == "me");
        CHECK(all[0].domain == "shop.example.com");
        CHECK(all[0].access == "public");
        CHECK(all[0].rules == p.rules);
        CHECK(all[0].version == 2);
        CHECK(all[0].created_ms == 5);
        CHECK(all[0].expires_ms == 99);
        CHECK(all[0].revoked_ms == 7);
    }
    SUBCASE("are one for each port of a workspace, and go with it") {
        auto other = p;
        other.id = "pv-2";
        auto const status = w.io.run(w.registry->put_preview(other));
        REQUIRE_FALSE(status.has_value());
        CHECK(base::is(status.error(), base::errc::exists));
        other.workspace = "nowhere";
        CHECK_FALSE(w.io.run(w.registry->put_preview(other)).has_value());
        REQUIRE(ok(w.io.run(w.registry->delete_preview("pv-1"))));
        CHECK(ok(w.io.run(w.registry->delete_preview("pv-1"))));
        other.workspace = "a";
        REQUIRE(ok(w.io.run(w.registry->put_preview(other))));
        REQUIRE(ok(w.io.run(w.registry->delete_workspace("a"))));
        CHECK(w.io.run(w.registry->previews()).value().empty());
    }
}
