// A community server's tool through berth, beside the same server spoken to directly on its stdin and stdout,
// and beside the gateways from npm. By turns; the tool gives back what it is given.
#include "../gateways.hpp"
#include "../interrupt.hpp"
#include "../process_tree.hpp"
#include "../rows.hpp"
#include "../traffic.hpp"

#include <algorithm>
#include <array>

namespace bench {
namespace {

constexpr double kServerMiB = 1 << 20;
constexpr int kCallBlock = 20, kCallWarmUp = 100, kCallSlices = 5;
constexpr int kManyServers = 16;
constexpr std::array<GatewayKind, 2> kGateways{GatewayKind::mcp_proxy, GatewayKind::supergateway};
constexpr std::chrono::seconds kServerLimit{60};

base::Json const& words() {
    static base::Json const arguments = {{"message", "as short as most of them"}};
    return arguments;
}

// An entry of servers.json for the server that all rows use.
base::Json entry(Lab& lab, std::string const& mark, base::Json more = base::Json::object()) {
    auto const argv = lab.peers().everything(mark);
    base::Json one = {{"command", argv.front()},
                      {"args", std::vector(argv.begin() + 1, argv.end())},
                      {"maxConcurrentCalls", 64},
                      {"sandbox", {{"filesystem", {{"allowRead", {lab.peers().installed_in()}}}}}}};
    one.update(more);
    return one;
}

std::unique_ptr<ServerUnderTest> serve(Lab& lab, base::Json const& entries, int ready) {
    lab.close_server();
    ServeOptions options;
    options.ready = ready;
    options.awake = std::min(ready, options.awake);
    options.servers = {{"mcpServers", entries}};
    options.toolsets = "core, servers";
    return lab.own_server(options);
}

std::string state_of(McpClient& client, std::string const& server) {
    auto const listed = client.call("servers_list", base::Json::object()).structured();
    for (auto const& one : listed.at("servers"))
        if (one.at("server") == server) return one.at("state");
    return "missing";
}

void wait_until(McpClient& client, std::string const& server, std::vector<std::string> const& states) {
    auto const end = Clock::now() + kServerLimit;
    for (;;) {
        auto const state = state_of(client, server);
        if (std::find(states.begin(), states.end(), state) != states.end()) return;
        if (Clock::now() > end) throw Failure("the server " + server + " is still " + state);
        pause(std::chrono::milliseconds(20));
    }
}

bool measurable(Lab& lab, char const* row) {
    if (lab.peers().installed()) return true;
    lab.report().note(std::string(row) + ": not measured without the servers from npm");
    return false;
}

// Someone who calls the tool, over one connection, and what it took.
struct ToolWay {
    std::string name, tool;
    std::unique_ptr<ToolConnection> connection;
    Samples took{};
};

Samples added(Samples const& took, double without) {
    Samples out;
    for (auto const ms : took.values()) out.add(std::max(0.0, ms - without));
    return out;
}

void call_by_turns(Lab& lab, std::vector<ToolWay>& ways) {
    int const n = lab.count(1000);
    for (auto& way : ways)
        for (int i = 0; i < std::min(n, kCallWarmUp); ++i) (void)way.connection->call(way.tool, words());
    for (int done = 0; done < n; done += kCallBlock)
        for (auto& way : ways)
            for (int i = done; i < std::min(n, done + kCallBlock); ++i)
                way.took.add(way.connection->call(way.tool, words()).took);
    auto const direct = ways.back().took.p50();
    auto& report = lab.report();
    for (std::size_t i = 0; i + 1 < ways.size(); ++i)
        report.add("server_call", "echo through " + ways[i].name, "ms", ways[i].took, ways.back().name,
                   ways.back().took);
    auto const ours = added(ways.front().took, direct);
    for (std::size_t i = 2; i + 1 < ways.size(); ++i) {
        auto& e = report.add("server_call", "added by " + ways.front().name, "ms", ours,
                             "added by " + ways[i].name, added(ways[i].took, direct));
        if (i == 2) promise(e, "100 us at one caller", e.p50 <= 0.1);
    }
    report.add("server_call", "added by " + ways[1].name, "ms", added(ways[1].took, direct));
}

// Callers of one way, each with a connection of its own, or all on the one there is.
struct Callers {
    std::string name, tool;
    std::vector<std::unique_ptr<ToolConnection>> connections;
    Samples rate{};

    std::vector<ToolConnection*> lanes(std::size_t callers) const {
        std::vector<ToolConnection*> out;
        for (std::size_t i = 0; i < callers; ++i) out.push_back(connections[i % connections.size()].get());
        return out;
    }
};

void rate_by_turns(Lab& lab, std::vector<Callers>& groups) {
    for (std::size_t const callers : {16, 64}) {
        int const calls = std::max(lab.count(4000) / kCallSlices, static_cast<int>(callers));
        for (auto& group : groups) group.rate = {};
        for (int slice = -1; slice < kCallSlices; ++slice)  // the first warms up
            for (auto& group : groups) {
                auto const r = rate(group.lanes(callers), calls, group.tool, words());
                if (slice >= 0) group.rate.add(r);
            }
        auto& report = lab.report();
        for (std::size_t i = 1; i < groups.size(); ++i) {
            auto& e = report.add("server_rate",
                                 "echo, " + std::to_string(callers) + " callers, through " + groups[0].name,
                                 "calls/s", groups[0].rate, groups[i].name, groups[i].rate);
            if (i == 1 && callers == 16) promise(e, "20,000 at 16 callers", e.p50 >= 20'000);
        }
    }
}

}  // namespace

void measure_server_call(Lab& lab) {
    if (!measurable(lab, "server_call")) return;
    auto const server =
        serve(lab,
              {{"inside", entry(lab, lab.file("inside"))},
               {"outside", entry(lab, lab.file("outside"), {{"isolation", "host-insecure"}})}},
              2);
    auto const watch = server->connect();
    for (auto const* name : {"inside", "outside"}) wait_until(*watch, name, {"ready", "degraded", "asleep"});
    std::vector<std::unique_ptr<Gateway>> gateways;
    for (auto const kind : kGateways)
        gateways.push_back(
            std::make_unique<Gateway>(lab.children(), lab.peers(), kind, lab.file(name_of(kind))));
    std::vector<ToolWay> ways;
    ways.push_back({"berth, in gVisor", "inside__echo", server->connect()});
    ways.push_back({"berth, without a sandbox", "outside__echo", server->connect()});
    for (std::size_t i = 0; i < gateways.size(); ++i)
        ways.push_back({name_of(kGateways[i]), "echo", gateways[i]->connect()});
    ways.push_back({"the server's own stdio", "echo", lab.peers().everything_on_stdio(lab.file("direct"))});
    call_by_turns(lab, ways);

    std::vector<Callers> groups;
    for (auto& way : ways) {
        Callers group{way.name, way.tool, {}};
        group.connections.push_back(std::move(way.connection));
        groups.push_back(std::move(group));
    }
    constexpr std::size_t kMostCallers = 64;
    while (groups[0].connections.size() < kMostCallers) groups[0].connections.push_back(server->connect());
    while (groups[1].connections.size() < kMostCallers) groups[1].connections.push_back(server->connect());
    for (std::size_t i = 0; i < gateways.size(); ++i) {
        auto& mine = groups[2 + i].connections;
        auto const& session = static_cast<SessionClient const&>(*mine.front()).session();
        while (mine.size() < kMostCallers)
            mine.push_back(gateways[i]->join(session, static_cast<int>(mine.size())));
    }
    rate_by_turns(lab, groups);
}

void measure_server_memory(Lab& lab) {
    if (!measurable(lab, "server_memory")) return;
    int const many = lab.options().quick ? 2 : kManyServers;
    for (int const count : {1, many}) {
        auto const with =
            count == 1 ? std::string(" with one server") : " with " + std::to_string(count) + " servers";
        auto const mib = [](std::uint64_t bytes) {
            Samples one;
            one.add(static_cast<double>(bytes) / kServerMiB);
            return one;
        };
        Samples alone, whole;
        {
            base::Json entries = base::Json::object();
            for (int i = 0; i < count; ++i)
                entries["echo" + std::to_string(i)] = entry(lab, lab.file("inside"), {{"idleTimeoutMs", 0}});
            auto const server = serve(lab, entries, 0);
            auto const client = server->connect();
            for (int i = 0; i < count; ++i) {
                auto const name = "echo" + std::to_string(i);
                wait_until(*client, name, {"ready", "degraded"});    // asleep before its first start: no tools yet
                (void)client->call(name + "__echo", words());
            }
            alone = mib(rss_of(server->pid()));
            // The server's own command line names its directory without a slash; below it are the sandboxes.
            auto all = tree_of(server->data() + "/");
            if (std::find(all.begin(), all.end(), server->pid()) == all.end()) all.push_back(server->pid());
            whole = mib(pss_of(all));
        }
        for (auto const kind : kGateways) {
            std::vector<std::unique_ptr<Gateway>> gateways;
            std::vector<std::unique_ptr<SessionClient>> clients;
            for (int i = 0; i < count; ++i) {
                gateways.push_back(std::make_unique<Gateway>(
                    lab.children(), lab.peers(), kind,
                    lab.file(std::string(name_of(kind)) + "-" + std::to_string(count) + "-" +
                             std::to_string(i) + "-")));
                clients.push_back(gateways.back()->connect());
                (void)clients.back()->call("echo", words());
            }
            std::uint64_t own = 0, all = 0;
            for (auto const& one : gateways) {
                for (auto const pid : one->own_processes()) own += rss_of(pid);
                all += pss_of(one->processes());
            }
            lab.report().add("server_memory", "berth alone," + with + ", RSS", "MiB", alone,
                             std::string(name_of(kind)) + ", one each", mib(own));
            lab.report().add("server_memory", "berth and all it runs," + with + ", PSS", "MiB", whole,
                             std::string(name_of(kind)) + " and all it runs", mib(all));
        }
    }
}

void measure_server_wake(Lab& lab) {
    if (!measurable(lab, "server_wake")) return;
    int const n = lab.count(8);
    auto const server = serve(lab, {{"sleepy", entry(lab, lab.file("inside"), {{"idleTimeoutMs", 300}})}},
                              ServeOptions().ready);
    server->wait_for_stock(ServeOptions().ready, kServerLimit);
    auto const client = server->connect();
    Samples woken, direct;
    for (int i = -1; i < n; ++i) {
        wait_until(*client, "sleepy", {"asleep"});
        pause(std::chrono::milliseconds(300));
        auto const took = client->call("sleepy__echo", words()).took;
        auto const began = Clock::now();
        auto const outside = lab.peers().everything_on_stdio(lab.file("direct"));
        (void)outside->call("echo", words());
        auto const started = Clock::now() - began;
        if (i < 0) continue;
        woken.add(took);
        direct.add(started);
    }
    lab.report().add("server_wake", "a sleeping server's tool, to its answer", "ms", woken,
                     "to start it outside, and its answer", direct);
}

}  // namespace bench
