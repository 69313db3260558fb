// What a woken sandbox is like, for its node and for those inside.
#include "hibernation_fixture.hpp"

#include <fstream>
#include <sstream>

using namespace gvisor_test;

namespace {

void start_counting(SleepNode& node, sandbox::Sandbox& one) {
    node.start(one, "counter", "python3 -u -c 'import sys\nn = 0\nfor line in sys.stdin:\n n += 1\n print(n)'");
}

}  // namespace

TEST_CASE("a woken sandbox is like any other") {
    BERTH_NEEDS_MEMORY();
    SleepNode node;
    auto one = node.fresh();
    start_counting(node, *one);
    std::uint64_t seen = 0;
    CHECK(node.ask(*one, "counter", "", seen) == "1\n");

    SUBCASE("a frozen one can be put to sleep, and a woken one frozen") {
        REQUIRE(one->freeze());
        one = node.wake(node.sleep(*one));
        CHECK_FALSE(one->frozen());
        REQUIRE(one->freeze());
        REQUIRE(one->thaw());
        CHECK(node.ask(*one, "counter", "", seen) == "2\n");
    }
    SUBCASE("it keeps to its limits and says when it dies of them") {
        one = node.wake(node.sleep(*one));
        std::optional<sandbox::Death> told;
        one->on_death([&](sandbox::Death const& d) { told = d; });
        sandbox::Limits limits;
        limits.memory_bytes = 256 << 20;
        REQUIRE(one->set_limits(limits));
        node.start(*one, "hog", "python3 -c 'x = bytearray(1 << 30); import time; time.sleep(60)'");
        REQUIRE(node.eventually([&] { return told.has_value(); }));
        CHECK(told->reason == sandbox::Death::Reason::oom);
        REQUIRE(node.io.run(one->destroy()));
        CHECK(traces(one->slot_id(), node.options.directory) == std::set<std::string>{});
    }
    SUBCASE("a server that starts anew takes it up") {
        one = node.wake(node.sleep(*one));
        auto const id = one->slot_id();
        one.reset();
        node.drop();
        node.open();
        auto adopted = node.io.run(node.sandboxes->adopt(id));
        REQUIRE_MESSAGE(adopted, (adopted ? "" : adopted.error().message()));
        one = *adopted;
        CHECK(node.ask(*one, "counter", "", seen) == "2\n");
        // And puts it to sleep like the one before it.
        one = node.wake(node.sleep(*one));
        CHECK(node.ask(*one, "counter", "", seen) == "3\n");
    }
    SUBCASE("its files are the volume's, also what was written while it slept") {
        CHECK(node.output_of(*one, "echo one > /workspace/file; echo done") == "done\n");
        auto const ref = node.sleep(*one);
        std::ofstream(node.volume() + "/workspace/file") << "two\n";
        std::ofstream(node.volume() + "/workspace/new") << "three\n";
        one = node.wake(ref);
        CHECK(node.output_of(*one, "cat /workspace/file /workspace/new") == "two\nthree\n");
        CHECK(node.output_of(*one, "echo four > /workspace/file; cat /workspace/file") == "four\n");
        CHECK(base::read_file(node.volume() + "/workspace/file").value() == "four\n");
    }
    SUBCASE("its clock is right") {
        one = node.wake(node.sleep(*one));
        auto const inside = std::stoll(node.output_of(*one, "date +%s"));
        auto const now = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch());
        CHECK(std::abs(inside - now.count()) <= 20);
    }
    SUBCASE("new connections to a port that many short ones went to before") {
        node.start(*one, "listener",
                   "python3 -u -c 'import socket\ns = socket.create_server((\"127.0.0.1\", 5050), backlog=500)\n"
                   "print(1)\nwhile 1: s.accept()[0].close()'");
        std::uint64_t offset = 0;
        CHECK(node.listen(*one, "listener", offset, "\n") == "1\n");
        auto const dial = [&] {
            return node.output_of(*one, "python3 - <<'END'\nimport socket\nfor i in range(1000):\n"
                                        " c = socket.create_connection((\"127.0.0.1\", 5050), timeout=10)\n"
                                        " c.recv(1); c.close()\nprint(\"all\")\nEND\n");
        };
        auto const ports = [&] {
            std::pair<int, int> range;
            std::istringstream(node.output_of(*one, "cat /proc/sys/net/ipv4/ip_local_port_range")) >> range.first >> range.second;
            return range;
        };
        CHECK(dial() == "all\n");
        for (int wakes = 0; wakes < 2; ++wakes) {
            auto const before = ports();
            one = node.wake(node.sleep(*one));
            CHECK(dial() == "all\n");
            // Under gVisor each wake takes the next part. A native guest may not, and needs not: the kernel goes on as it was.
            if (kRuntime == sandbox::RuntimeKind::gvisor) CHECK(ports().first == before.second + 1);
            else CHECK(ports() == std::pair(32768, 60999));
        }
    }
    SUBCASE("a shell that waited before the sleep takes the first command after it") {
        REQUIRE(node.io.run(one->guest().prepare()));
        one = node.wake(node.sleep(*one));
        CHECK(node.output_of(*one, "grep -q berth-ready /proc/$$/maps && echo waited") == "waited\n");
    }
    SUBCASE("who waits for an end learns of it") {
        node.start(*one, "waited", "read line; exit 7");
        one = node.wake(node.sleep(*one));
        REQUIRE(node.io.run(one->guest().input("waited", "go\n", false)));
        std::uint64_t offset = 0;
        (void)node.listen(*one, "waited", offset, "never");
        auto view = node.io.run(one->guest().read("waited", 0, 100, std::chrono::seconds(20)));
        REQUIRE(view);
        CHECK_FALSE(view->running);
        CHECK(view->exit_code == 7);
    }
}

TEST_CASE("calls and connections at the moment of sleep") {
    BERTH_NEEDS_MEMORY();
    SleepNode node;
    auto one = node.take();
    REQUIRE(one->attach_volume(node.volume()));
    auto setup = SleepNode::setup();
    setup.egress = {"example.com"};
    REQUIRE(node.io.run(one->guest().configure(setup)));
    std::vector<std::unique_ptr<base::ByteStream>> relays;
    one->guest().on_egress([&](std::unique_ptr<base::ByteStream> s) { relays.push_back(std::move(s)); });
    std::ofstream(node.volume() + "/workspace/client.py") << R"py(
import socket, sys
def dial():
    s = socket.create_connection(("127.0.0.1", 3128))
    s.sendall(b"hello")
    return s
s = dial()
print("connected", flush=True)
print("end" if s.recv(10) == b"" else "data", flush=True)
sys.stdin.readline()
s = dial()
print(s.recv(10).decode(), flush=True)
)py";
    node.start(*one, "client", "python3 -u /workspace/client.py");
    std::uint64_t seen = 0;
    CHECK(node.listen(*one, "client", seen, "\n") == "connected\n");
    REQUIRE(node.eventually([&] { return relays.size() == 1; }));

    SUBCASE("a program sees its connection's end, and dials again") {
        auto const ref = node.sleep(*one);
        CHECK(node.dropped == std::vector<std::string>{"1 network connection"});
        one = node.take();                       // a neighbour does not matter
        auto woken = node.wake(ref);
        auto renewed = node.setup();
        renewed.egress = setup.egress;
        REQUIRE(node.io.run(woken->guest().configure(renewed)));
        relays.clear();
        woken->guest().on_egress([&](std::unique_ptr<base::ByteStream> s) { relays.push_back(std::move(s)); });
        CHECK(node.listen(*woken, "client", seen, "end\n") == "end\n");
        REQUIRE(node.io.run(woken->guest().input("client", "\n", false)));
        REQUIRE(node.eventually([&] { return relays.size() == 1; }));
        REQUIRE(node.io.run(relays[0]->write(asio::buffer("again\n", 6))));
        CHECK(node.listen(*woken, "client", seen, "again").starts_with("again"));
    }
    SUBCASE("a call that waits ends and says why") {
        sandbox::ProcessSpec spec;
        spec.id = "long";
        spec.command = "sleep 1000";
        spec.wait = std::chrono::seconds(60);
        std::optional<base::Result<sandbox::ProcessView>> answer;
        auto call = [](std::shared_ptr<sandbox::Sandbox> s, sandbox::ProcessSpec what, auto* out) -> base::Task<void> {
            out->emplace(co_await s->guest().start(std::move(what)));
        };
        asio::co_spawn(node.io.context, call(one, std::move(spec), &answer), asio::detached);
        node.io.run(base::sleep_for(std::chrono::milliseconds(300)));
        auto const ref = node.sleep(*one);
        REQUIRE(node.eventually([&] { return answer.has_value(); }));
        REQUIRE_FALSE(*answer);
        CHECK(is(answer->error(), base::errc::unavailable));
        CHECK(answer->error().message().find("put to sleep") != std::string::npos);
        one = node.wake(ref);
        auto view = node.io.run(one->guest().read("long", 0, 10, std::chrono::seconds(0)));
        REQUIRE(view);
        CHECK(view->running);
    }
}

TEST_CASE("one image, two sandboxes") {
    BERTH_NEEDS_MEMORY();
    SleepNode node(2);
    node.sandboxes->start_filling();
    auto one = node.fresh();
    CHECK(node.output_of(*one, "echo shared > /workspace/file; echo a-machine > /etc/machine-id; echo done") == "done\n");
    start_counting(node, *one);
    std::uint64_t seen = 0;
    CHECK(node.ask(*one, "counter", "", seen) == "1\n");
    auto const ref = node.sleep(*one);
    std::filesystem::copy(node.volume("v1"), node.volume("v2"),
                          std::filesystem::copy_options::recursive | std::filesystem::copy_options::overwrite_existing);
    sandbox::ImageRef copy;
    copy.workspace_id = "w2";
    copy.image_id = "fork";
    copy.generation = 9;
    REQUIRE(node.io.run(node.store->clone(ref, copy)));

    std::vector<std::optional<base::Result<sandbox::Restored>>> woken(2);
    auto here = node.sandboxes->image_facts("base", kRuntime);
    for (std::size_t i = 0; i < 2; ++i) {
        auto image = node.io.run(node.store->open(i ? copy : ref, *here));
        REQUIRE(image);
        sandbox::RestoreRequest request;
        request.renewal.generation = image->info.ref.generation;
        request.image = std::move(*image);
        request.template_name = "base";
        request.runtime = kRuntime;
        request.volume_directory = node.volume(i ? "v2" : "v1");
        request.renewal.setup = SleepNode::setup(i ? "w2" : "w1");
        request.renewal.forked = i == 1;
        auto work = [](sandbox::Sandboxes& all, sandbox::RestoreRequest r, auto* out) -> base::Task<void> {
            out->emplace(co_await all.restore(std::move(r)));
        };
        asio::co_spawn(node.io.context, work(*node.sandboxes, std::move(request), &woken[i]), asio::detached);
    }
    REQUIRE(node.eventually([&] { return woken[0] && woken[1]; }));
    for (auto const& w : woken) REQUIRE_MESSAGE(*w, (*w ? "" : w->error().message()));
    auto& a = *(*woken[0])->sandbox;
    auto& b = *(*woken[1])->sandbox;

    CHECK(a.slot_id() != b.slot_id());
    auto other = seen;
    CHECK(node.ask(a, "counter", "", seen) == "2\n");
    CHECK(node.ask(a, "counter", "", seen) == "3\n");
    CHECK(node.ask(b, "counter", "", other) == "2\n");
    CHECK(node.output_of(a, "echo a >> /workspace/file; cat /workspace/file") == "shared\na\n");
    CHECK(node.output_of(b, "cat /workspace/file") == "shared\n");
    CHECK(node.output_of(a, "hostname; cat /run/berth/generation /etc/machine-id") ==
          "w1\n" + std::to_string(ref.generation) + " restored\na-machine\n");
    auto const forked = node.output_of(b, "hostname; cat /run/berth/generation /etc/machine-id");
    CHECK(forked.starts_with("w2\n9 forked\n"));
    CHECK(forked.find("a-machine") == std::string::npos);
    auto const random = "od -An -N16 -tx1 /dev/urandom; python3 -c 'import uuid; print(uuid.uuid4())'";
    CHECK(node.output_of(a, random) != node.output_of(b, random));
    auto known = node.io.run(b.guest().configured_for("w2"));
    REQUIRE(known);
    CHECK(*known);
}

TEST_CASE("more wakes at once than are let in take their turns") {
    BERTH_NEEDS_MEMORY();
    SleepNode node;
    node.drop();
    node.options.max_boots = 1;
    node.open();
    auto one = node.fresh();
    start_counting(node, *one);
    std::uint64_t seen = 0;
    CHECK(node.ask(*one, "counter", "", seen) == "1\n");
    auto const ref = node.sleep(*one);
    auto image = node.io.run(node.store->open(ref, *node.sandboxes->image_facts("base", kRuntime)));
    REQUIRE(image);
    std::vector<std::optional<base::Result<sandbox::Restored>>> woken(5);
    for (auto& out : woken) {
        sandbox::RestoreRequest request;
        request.image = *image;
        request.template_name = "base";
        request.runtime = kRuntime;
        request.volume_directory = node.volume();
        request.renewal.setup = SleepNode::setup();
        auto work = [](sandbox::Sandboxes& all, sandbox::RestoreRequest r, auto* answer) -> base::Task<void> {
            answer->emplace(co_await all.restore(std::move(r)));
        };
        asio::co_spawn(node.io.context, work(*node.sandboxes, std::move(request), &out), asio::detached);
    }
    REQUIRE(node.eventually([&] { return std::all_of(woken.begin(), woken.end(), [](auto& w) { return w.has_value(); }); }));
    for (auto& w : woken) {
        REQUIRE_MESSAGE(*w, (*w ? "" : w->error().message()));
        auto offset = seen;
        CHECK(node.ask(*(*w)->sandbox, "counter", "", offset) == "2\n");
    }
}

TEST_CASE("a server killed in the middle") {
    BERTH_NEEDS_MEMORY();

    SUBCASE("finds its blank slots and uses them") {
        SleepNode node(2);
        node.sandboxes->start_filling();
        REQUIRE(node.eventually([&] { return node.stock().blank == 2; }));
        node.drop();
        node.open();
        auto const report = node.io.run(node.sandboxes->sweep());
        CHECK(report.adopted_to_pool == 2);
        CHECK(node.stock().blank == 2);
        auto one = node.fresh();
        start_counting(node, *one);
        std::uint64_t seen = 0;
        CHECK(node.ask(*one, "counter", "", seen) == "1\n");
        auto woken = node.try_wake(node.sleep(*one));
        REQUIRE_MESSAGE(woken, (woken ? "" : woken.error().message()));
        CHECK(woken->warm);
        CHECK(node.ask(*woken->sandbox, "counter", "", seen) == "2\n");
    }
    SUBCASE("of a checkpoint: the sandbox goes on") {
        SleepNode node;
        auto one = node.fresh();
        start_counting(node, *one);
        std::uint64_t seen = 0;
        CHECK(node.ask(*one, "counter", "", seen) == "1\n");
        auto const id = one->slot_id();
        auto draft = node.io.run(node.store->begin(node.next_ref(), 1 << 20));
        REQUIRE(draft);
        std::optional<base::Result<sandbox::Checkpointed>> saved;
        auto work = [](std::shared_ptr<sandbox::Sandbox> s, std::string directory, auto* out) -> base::Task<void> {
            out->emplace(co_await s->checkpoint(std::move(directory), std::chrono::seconds(30)));
        };
        asio::co_spawn(node.io.context, work(one, draft->directory, &saved), asio::detached);
        auto const mark = node.options.directory + "/slots/" + id + "/paused";
        REQUIRE(node.eventually([&] { return std::filesystem::exists(draft->directory + kPages) || saved; }));
        REQUIRE_FALSE(saved);
        CHECK(std::filesystem::exists(mark));
        one.reset();
        node.drop();
        node.open();
        auto adopted = node.io.run(node.sandboxes->adopt(id));
        REQUIRE_MESSAGE(adopted, (adopted ? "" : adopted.error().message()));
        CHECK_FALSE(std::filesystem::exists(mark));
        CHECK(node.ask(**adopted, "counter", "", seen) == "2\n");
        REQUIRE(saved);
        CHECK_FALSE(*saved);
    }
    SUBCASE("of a restore: the slot is taken up when its guest answers, and removed otherwise") {
        SleepNode node;
        auto one = node.fresh();
        auto const ref = node.sleep(*one);
        one.reset();
        auto here = node.sandboxes->image_facts("base", kRuntime);
        auto image = node.io.run(node.store->open(ref, *here));
        REQUIRE(image);
        sandbox::RestoreRequest request;
        request.image = *image;
        request.template_name = "base";
        request.runtime = kRuntime;
        request.volume_directory = node.volume();
        request.renewal.setup = SleepNode::setup();
        bool ended = false;
        auto work = [](sandbox::Sandboxes& all, sandbox::RestoreRequest r, bool* done) -> base::Task<void> {
            (void)co_await all.restore(std::move(r));
            *done = true;
        };
        asio::co_spawn(node.io.context, work(*node.sandboxes, std::move(request), &ended), asio::detached);
        std::string id;
        REQUIRE(node.eventually([&] {
            for (auto const& entry : std::filesystem::directory_iterator(node.options.directory + "/slots"))
                if (std::filesystem::exists(entry.path() / "claimed")) id = entry.path().filename();
            return !id.empty() || ended;
        }));
        REQUIRE_FALSE(id.empty());
        node.drop();
        node.open();
        // Whichever came first: one that answers has its memory, and is the only one that has.
        if (auto adopted = node.io.run(node.sandboxes->adopt(id))) CHECK(node.io.run((*adopted)->destroy()));
        (void)node.eventually([&] { return ended; });
        (void)node.io.run(node.sandboxes->sweep());
        CHECK(traces(id, node.options.directory) == std::set<std::string>{});
    }
}
