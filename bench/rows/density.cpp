// Many sandboxes in stock on one machine: what they cost to make, to have and to claim.
#include "../interrupt.hpp"
#include "../process_tree.hpp"
#include "../rows.hpp"

#include <cstdio>

namespace bench {
namespace {

constexpr int kDefault = 300, kThreadsEach = 32, kSpareThreads = 2000;
constexpr int kClaimGroup = 3;
constexpr double kMiB = 1 << 20;
constexpr std::chrono::seconds kSettleFor{5}, kIdle{20};

Samples only(double value) {
    Samples one;
    one.add(value);
    return one;
}

// A sandbox that cannot have its threads fails in ways that say nothing: look first.
void check_room(int sandboxes) {
    int const wanted = threads_now() + sandboxes * kThreadsEach + kSpareThreads;
    if (wanted > threads_at_most())
        throw Failure("density: " + std::to_string(sandboxes) + " sandboxes need about " +
                      std::to_string(wanted) + " threads and the machine allows " +
                      std::to_string(threads_at_most()) + ": raise kernel.pid_max and kernel.threads-max");
}

}  // namespace

void measure_density(Lab& lab) {
    int const n = lab.options().density > 0 ? lab.options().density : kDefault;
    check_room(n);
    lab.close_server();
    auto const memory_before = memory_available();
    auto const began = Clock::now();
    auto const server = lab.own_server(n, std::min(n, ServeOptions().awake), n + 50);
    Samples boots;  // a second, over the last ten seconds or so each
    auto slice = began;
    std::uint64_t booted = 0;
    auto const limit = began + std::chrono::seconds(60 + n * 2);
    while (server->stock() < n) {
        pause(std::chrono::milliseconds(50));
        auto const now = Clock::now();
        if (now > limit)
            throw Failure("density: the stock holds " + std::to_string(server->stock()) +
                          " and grows no more");
        if (now - slice < std::chrono::seconds(10)) continue;
        auto const total = server->boots();
        boots.add(static_cast<double>(total - booted) / std::chrono::duration<double>(now - slice).count());
        std::fprintf(stderr, "berth-bench: density: %d of %d in stock\n", server->stock(), n);
        booted = total;
        slice = now;
    }
    auto const fill = std::chrono::duration<double>(Clock::now() - began).count();
    if (boots.count() == 0) boots.add(static_cast<double>(n) / fill);

    pause(kSettleFor);
    auto const mark = server->data() + "/";
    auto tree = tree_of(mark);
    std::vector<pid_t> const server_alone{server->pid()};
    auto const from = use_of(tree), server_from = use_of(server_alone);
    auto const idle_from = Clock::now();
    pause(kIdle);
    auto const to = use_of(tree), server_to = use_of(server_alone);
    auto const idle_seconds = std::chrono::duration<double>(Clock::now() - idle_from).count();
    auto const share = [idle_seconds](TreeUse const& first, TreeUse const& last) {
        return 100 * (last.cpu_seconds - first.cpu_seconds) / idle_seconds;
    };
    auto const cpu = share(from, to);
    auto const pss = static_cast<double>(pss_of(tree)) / kMiB / n;
    auto const memory_after = memory_available();
    auto const gone =
        memory_before > memory_after ? static_cast<double>(memory_before - memory_after) / kMiB / n : 0;

    int const claims = lab.count(100);
    Samples claim;
    int cold = 0;
    auto const client = server->connect();
    for (int tried = 0; static_cast<int>(claim.count()) < claims && tried < 2 * claims;) {
        std::vector<Lab::Workspace> made;
        for (int i = 0; i < kClaimGroup && static_cast<int>(claim.count()) < claims; ++i, ++tried) {
            auto const answer = client->call("workspace_create", base::Json::object());
            made.emplace_back(*client, answer.structured());
            if (answer.structured().at("source") == "pool")
                claim.add(answer.took);
            else
                ++cold;
        }
        made.clear();
        server->wait_for_stock(n, std::chrono::seconds(60));
        pause(std::chrono::milliseconds(150));
    }

    auto const with = " with " + std::to_string(n) + " in stock";
    auto& report = lab.report();
    report.add("density_fill", "to fill the stock with " + std::to_string(n), "s", only(fill));
    report.add("density_boots", "boots a second, slices of 10 s", "boots/s", boots);
    report.add("density_memory", "proportional set size of a sandbox" + with, "MiB", only(pss));
    report.add("density_memory", "available memory gone for a sandbox" + with, "MiB", only(gone));
    report.add("density_threads", "threads of a sandbox" + with, "1",
               only(static_cast<double>(from.threads) / n));
    auto& idle = report.add("density_idle_cpu", "of one core, everything idle" + with, "%", only(cpu));
    if (n >= 1000) promise(idle, "under 2 % of one core at 1,000", cpu < 2);
    report.add("density_claim", "workspace_create" + with, "ms", claim);
    char idle_note[160];
    std::snprintf(idle_note, sizeof idle_note,
                  "density: idle over %d s, %d processes; of the CPU %.2f %% are the server's own, the rest "
                  "its sandboxes'",
                  static_cast<int>(kIdle.count()), from.processes, share(server_from, server_to));
    report.note(idle_note);
    report.note("density: " + std::to_string(cold) + " claims not from the stock, not counted");
}

}  // namespace bench
