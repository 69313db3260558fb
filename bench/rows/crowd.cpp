// Many more workspaces than fit in memory, called at random, some of them often and most of them seldom, at
// times that do not wait for the answers before.
#include "../interrupt.hpp"
#include "../loads.hpp"
#include "../rows.hpp"

#include <atomic>
#include <cmath>
#include <mutex>
#include <random>

namespace bench {
namespace {

struct Crowd {
    int workspaces = 200, fitting = 40;
    std::chrono::seconds traffic{60};
};
constexpr double kPerSecond = 4, kSkew = 1.1;
constexpr int kMegabytes = 16, kCrowdLanes = 24;
constexpr unsigned kSeed = 1;  // the same traffic in every run

struct Request {
    Clock::duration at{};
    std::size_t whom = 0;
};

std::vector<Request> traffic_of(Crowd const& crowd) {
    std::mt19937 random(kSeed);
    std::vector<double> weights;
    for (int rank = 1; rank <= crowd.workspaces; ++rank) weights.push_back(1 / std::pow(rank, kSkew));
    std::discrete_distribution<std::size_t> whom(weights.begin(), weights.end());
    std::exponential_distribution<double> gap(kPerSecond);
    std::vector<Request> all;
    auto const seconds = std::chrono::duration<double>(crowd.traffic).count();
    for (double at = gap(random); at < seconds; at += gap(random))
        all.push_back(
            {std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(at)), whom(random)});
    return all;
}

/// What a workspace of the crowd takes, as berth itself counts it.
std::uint64_t memory_of_one(Lab& lab) {
    auto const w = begin(lab.client(), random_memory(kMegabytes));
    auto const seen =
        lab.client().call("workspace_get", {{"workspace_id", w.id()}, {"include", {"metrics"}}}).structured();
    return seen.at("metrics").at("memory_bytes").get<std::uint64_t>();
}

struct Outcome {
    Samples took;  // ms from the time that a request was due
    int refused = 0;
    std::string reason;  // of the first refusal
};

Outcome play(ServerUnderTest const& server, std::vector<Request> const& requests,
             std::vector<Lab::Workspace> const& workspaces) {
    Outcome out;
    std::mutex guard;
    std::atomic<std::size_t> next{0};
    auto const began = Clock::now();
    auto const lane = [&] {
        std::unique_ptr<McpClient> client;
        for (auto i = next++; i < requests.size() && !interrupted(); i = next++) {
            auto const due = began + requests[i].at;
            std::this_thread::sleep_until(due);
            base::Json const file = {{"workspace_id", workspaces[requests[i].whom].id()},
                                     {"path", "/etc/debian_version"}};  // which only the guest can read
            try {
                if (!client) client = server.connect();
                (void)client->call("read_file", file);
                auto const took = Clock::now() - due;
                std::lock_guard const held(guard);
                out.took.add(took);
            } catch (Failure const& e) {
                std::lock_guard const held(guard);
                if (out.refused++ == 0) out.reason = e.what();
                client.reset();
            } catch (Interrupted const&) {
                return;
            }
        }
    };
    {
        std::vector<std::jthread> lanes;
        WithoutSignals inherited;
        for (int i = 0; i < kCrowdLanes; ++i) lanes.emplace_back(lane);
    }
    throw_if_interrupted();
    return out;
}

}  // namespace

void measure_crowd(Lab& lab) {
    Crowd crowd;
    if (lab.options().quick) crowd = {12, 4, std::chrono::seconds(4)};
    auto const one = memory_of_one(lab);
    lab.close_server();
    ServeOptions options;
    options.more = "hibernation:\n    memory_ceiling: " +
                   std::to_string(one * static_cast<std::uint64_t>(crowd.fitting)) + "\n";
    auto const server = lab.own_server(options);
    server->wait_for_stock(options.ready, std::chrono::seconds(60));
    auto const client = server->connect();
    std::vector<Lab::Workspace> workspaces;
    for (int i = 0; i < crowd.workspaces; ++i)
        workspaces.push_back(begin(*client, random_memory(kMegabytes)));
    auto const wakes = server->counter("berth_wakes_total "),
               from_files = server->counter("berth_wakes_from_files_total ");
    auto const out = play(*server, traffic_of(crowd), workspaces);
    if (out.took.count() == 0) throw Failure("crowd: every request was refused: " + out.reason);

    auto& report = lab.report();
    auto& e = report.add("crowd",
                         std::to_string(crowd.workspaces) + " workspaces, " + std::to_string(crowd.fitting) +
                             " fit in memory: Zipf 1.1, 4 requests/s",
                         "ms", out.took);
    promise(e, "p50 5, p99 300 ms, none refused", e.p50 <= 5 && e.p99 <= 300 && out.refused == 0);
    auto const requests = out.refused + static_cast<int>(out.took.count());
    Samples refused;
    refused.add(100.0 * out.refused / requests);
    report.add("crowd_refused", "of " + std::to_string(requests) + " requests, refused", "%", refused);
    report.note("crowd: each an idle Python with " + std::to_string(kMegabytes) + " MiB, counted as " +
                std::to_string(one >> 20) + " MiB; " +
                std::to_string(server->counter("berth_wakes_total ") - wakes) + " wakes with memory, " +
                std::to_string(server->counter("berth_wakes_from_files_total ") - from_files) +
                " from files; times from when a request was due" +
                (out.refused > 0 ? "; the first refusal: " + out.reason : ""));
}

}  // namespace bench
