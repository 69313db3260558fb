// Files of 4 KiB: through us, by the system calls themselves on the same volume, and through npm's file
// servers, which are given a directory of that volume too. They take turns, a few calls each.
#include "../file_floor.hpp"
#include "../interrupt.hpp"
#include "../rows.hpp"
#include "../traffic.hpp"

#include <functional>

namespace bench {
namespace {

constexpr std::size_t kBytes = 4096;
constexpr int kFilesWarmUp = 50, kBlock = 20;

std::string four_kib() {
    std::string text;
    while (text.size() < kBytes) text += "A line of a file that a model may have written, again and again.\n";
    text.resize(kBytes);
    return text;
}

// Someone who writes and reads files, and what it took them.
struct Way {
    std::string name;
    std::unique_ptr<ToolConnection> connection;
    std::string root;  // of the paths it is given
    Samples samples;

    Clock::duration write(std::string const& text) const {
        return connection
            ->call("write_file", {{"path", root + "/peer.txt"}, {"content", text}, {"mode", "rewrite"}})
            .took;
    }
    base::Json read_arguments() const { return {{"path", root + "/peer.txt"}}; }
};

std::vector<Way> npm_servers(Lab& lab, std::string const& root) {
    std::vector<Way> ways;
    if (!lab.peers().installed()) return ways;
    ways.push_back({"npm filesystem server", lab.peers().filesystem(root), root, {}});
    ways.push_back({"Desktop Commander", lab.peers().desktop_commander(root), root, {}});
    return ways;
}

base::Json our_write(Lab::Workspace const& w, std::string const& text) {
    return {{"workspace_id", w.id()}, {"path", "ours.txt"}, {"content", text}};
}
base::Json our_read(Lab::Workspace const& w) { return {{"workspace_id", w.id()}, {"path", "ours.txt"}}; }

// Every one in turn, kBlock calls each, so that none pays for the caches that another left cold.
void take_turns(int n, std::vector<std::pair<Samples*, std::function<Clock::duration()>>> const& turns) {
    for (auto const& turn : turns)
        for (int i = 0; i < std::min(n, kFilesWarmUp); ++i) (void)turn.second();
    for (int done = 0; done < n; done += kBlock)
        for (auto const& [samples, one] : turns)
            for (int i = done; i < std::min(n, done + kBlock); ++i) samples->add(one());
}

void note_turns(Lab& lab, char const* row, int n) {
    lab.report().note(std::string(row) + ": by turns of " + std::to_string(kBlock) + " calls, after " +
                      std::to_string(std::min(n, kFilesWarmUp)) + " of each to warm up");
}

}  // namespace

void measure_write_4k(Lab& lab) {
    int const n = lab.count(300);
    auto const text = four_kib();
    auto const workspace = lab.workspace();
    auto const root = lab.host_files(workspace);
    FileFloor const floor(root);
    auto ways = npm_servers(lab, root);
    Samples ours, bare;
    std::vector<std::pair<Samples*, std::function<Clock::duration()>>> turns;
    turns.emplace_back(&ours,
                       [&] { return lab.client().call("write_file", our_write(workspace, text)).took; });
    turns.emplace_back(&bare, [&] { return floor.replace("bare.txt", text); });
    for (auto& way : ways) turns.emplace_back(&way.samples, [&way, &text] { return way.write(text); });
    take_turns(n, turns);
    auto& e = lab.report().add("write_4k", "write_file 4 KiB, durable", "ms", ours,
                               "write+fsync+rename+fsync dir", bare);
    promise(e, "at most 1.5 x", e.ratio.value_or(2) <= 1.5);
    for (auto const& way : ways)
        lab.report().add("write_4k", "write_file 4 KiB, durable", "ms", ours, way.name + ", no fsync",
                         way.samples);
    note_turns(lab, "write_4k", n);
}

void measure_read_4k(Lab& lab) {
    int const n = lab.count(500);
    auto const text = four_kib();
    auto const workspace = lab.workspace();
    auto const root = lab.host_files(workspace);
    FileFloor const floor(root);
    auto ways = npm_servers(lab, root);
    (void)lab.client().call("write_file", our_write(workspace, text));
    for (auto const& way : ways) (void)way.write(text);
    Samples ours, bare;
    std::vector<std::pair<Samples*, std::function<Clock::duration()>>> turns;
    turns.emplace_back(&ours, [&] { return lab.client().call("read_file", our_read(workspace)).took; });
    turns.emplace_back(&bare, [&] { return floor.read("ours.txt", text.size()); });
    for (auto& way : ways)
        turns.emplace_back(&way.samples,
                           [&way] { return way.connection->call("read_file", way.read_arguments()).took; });
    take_turns(n, turns);
    auto& e = lab.report().add("read_4k", "read_file 4 KiB", "ms", ours, "open+read", bare);
    promise(e, "p50 0.2 ms", e.p50 <= 0.2);
    for (auto const& way : ways)
        lab.report().add("read_4k", "read_file 4 KiB", "ms", ours, way.name, way.samples);
    note_turns(lab, "read_4k", n);
}

namespace {

constexpr int kSlices = 10, kLanes = 8;

}  // namespace

void measure_read_rate(Lab& lab) {
    int const calls = lab.count(4000) / kSlices + 1;
    auto const text = four_kib();
    auto const workspace = lab.workspace();
    auto ways = npm_servers(lab, lab.host_files(workspace));
    (void)lab.client().call("write_file", our_write(workspace, text));
    for (auto const& way : ways) (void)way.write(text);
    std::vector<std::unique_ptr<McpClient>> connections;
    std::vector<ToolConnection*> ours;
    for (int i = 0; i < kLanes; ++i) {
        connections.push_back(lab.server().connect());
        ours.push_back(connections.back().get());
    }
    for (int const lanes : {kLanes, 1}) {
        Samples our_rate;
        for (auto& way : ways) way.samples = {};
        auto const first = std::vector(ours.begin(), ours.begin() + lanes);
        for (int slice = -1; slice < kSlices; ++slice) {  // the first warms up
            auto const r = rate(first, calls, "read_file", our_read(workspace));
            if (slice >= 0) our_rate.add(r);
            for (auto& way : ways) {
                auto const theirs = rate(std::vector(static_cast<std::size_t>(lanes), way.connection.get()),
                                         std::max(lanes, calls / 4), "read_file", way.read_arguments());
                if (slice >= 0) way.samples.add(theirs);
            }
        }
        auto const what = lanes == 1 ? std::string("read_file 4 KiB, one at a time")
                                     : "read_file 4 KiB, " + std::to_string(lanes) + " at a time";
        if (ways.empty()) lab.report().add("read_rate", what, "calls/s", our_rate);
        for (auto const& way : ways) {
            auto& e = lab.report().add("read_rate", what, "calls/s", our_rate, way.name, way.samples);
            if (lanes > 1 && &way == &ways.front()) promise(e, "5 x the calls/s", e.ratio.value_or(0) >= 5);
        }
    }
    lab.report().note("read_rate: n counts slices, " + std::to_string(calls) +
                      " calls each (a quarter of that for the "
                      "others), by turns; ours over one connection a call under way, theirs pipelined");
}

}  // namespace bench
