// Previews: one small program in a workspace, asked through its preview; beside the same requests made
// inside, and beside nginx in front of the same program outside of any sandbox. All are asked by the same
// client, by turns.
#include "../interrupt.hpp"
#include "../loads.hpp"
#include "../nginx.hpp"
#include "../rows.hpp"
#include "../web_program.hpp"
#include <base/files.hpp>

#include <filesystem>
#include <functional>
#include <optional>

namespace bench {
namespace {

constexpr int kPort = 8000, kPreviewRounds = 5;
constexpr std::chrono::milliseconds kBeforeVisit{400};

// Where requests go, and what they took.
struct PreviewWay {
    std::string name;
    std::function<Asked(int connections, int requests)> ask;
    std::function<double(bool down, std::uint64_t bytes)> move;
    Samples took{}, rate{};
};

// A workspace that serves, and what reaches it.
class Site {
  public:
    explicit Site(Lab& lab)
        : lab_(lab), workspace_(lab.workspace()), program_(lab.children(), lab.web_program(), lab.file("")) {
        files_ = lab.host_files(workspace_);
        std::filesystem::copy_file(lab.web_program(), files_ + "/web");
        std::filesystem::permissions(files_ + "/web", std::filesystem::perms(0755));
        auto const started =
            lab.client().call("run_command", {{"workspace_id", workspace_.id()},
                                              {"command", "./web serve " + std::to_string(kPort)},
                                              {"background", true}});
        auto const process = started.structured().at("process_id").get<std::string>();
        auto const said =
            lab.client().call("read_process_output", {{"process_id", process}, {"wait_ms", 20'000}});
        if (said.structured().at("output") != "ready\n")
            throw Failure("the program of the preview does not start");
        auto const link = lab.client().call("get_preview_url", link_arguments(kPort)).structured();
        auto const url = link.at("url").get<std::string>();
        auto const host = url.find("//") + 2;
        fields_ = {"Host: " + url.substr(host, url.find('/', host) - host),
                   "Berth-Preview-Token: " + link.at("token").get<std::string>()};
    }

    base::Json link_arguments(int port) const { return {{"workspace_id", workspace_.id()}, {"port", port}}; }
    std::string const& id() const { return workspace_.id(); }
    WebProgram& program() { return program_; }

    PreviewWay preview() {
        auto const port = lab_.server().port();
        return {"the preview",
                [this, port](int connections, int requests) {
                    return program_.ask(port, connections, requests, fields_);
                },
                [this, port](bool down, std::uint64_t bytes) {
                    return program_.move(down, port, bytes, fields_);
                }};
    }
    PreviewWay inside() {
        auto const port = std::to_string(kPort);
        return {
            "the request made inside",
            [this, port](int connections, int requests) {
                return read_asked(
                    run("ask " + port + " " + std::to_string(connections) + " " + std::to_string(requests)));
            },
            [this, port](bool down, std::uint64_t bytes) {
                return read_rate(run((down ? "down " : "up ") + port + " " + std::to_string(bytes)), bytes);
            }};
    }

  private:
    // What it prints is more than a tool's answer holds.
    std::string run(std::string const& words) {
        auto const ran = lab_.client().call(
            "run_command",
            {{"workspace_id", id()}, {"command", "./web " + words + " > printed"}, {"timeout_ms", 50'000}});
        if (ran.structured().value("exit_code", -1) != 0)
            throw Failure("the program of the preview: " +
                          ran.structured().value("output", "").substr(0, 300));
        return base::read_file(files_ + "/printed", 64u << 20).value();
    }

    Lab& lab_;
    Lab::Workspace workspace_;
    WebProgram program_;
    std::string files_;  // of the workspace, on this machine
    std::vector<std::string> fields_;
};

// nginx and the program behind it; nothing where scripts/bench has not brought nginx.
struct Outside {
    WebProgram::Server server;
    std::unique_ptr<Nginx> nginx;

    Outside(Lab& lab, WebProgram& program) {
        auto const file = lab.peers().nginx();
        if (file.empty()) return;
        server = program.serve();
        nginx = std::make_unique<Nginx>(lab.children(), file, lab.file("nginx"), server.port);
    }
};

std::vector<PreviewWay> ways_of(Site& site, Outside& outside) {
    std::vector<PreviewWay> ways;
    ways.push_back(site.preview());
    ways.push_back(site.inside());
    if (!outside.nginx) return ways;
    auto& program = site.program();
    auto const through = [&program](std::string name, std::uint16_t port) {
        return PreviewWay{
            std::move(name),
            [&program, port](int connections, int requests) {
                return program.ask(port, connections, requests);
            },
            [&program, port](bool down, std::uint64_t bytes) { return program.move(down, port, bytes); }};
    };
    ways.push_back(through("nginx, outside of any sandbox", outside.nginx->port()));
    ways.push_back(through("no proxy, outside of any sandbox", outside.server.port));
    return ways;
}

void ask_all(Lab& lab, std::vector<PreviewWay>& ways, int connections, int requests) {
    for (auto& way : ways) way.took = way.rate = {};
    int const rounds = std::min(requests, kPreviewRounds), each = std::max(requests / rounds, connections);
    for (int round = -1; round < rounds; ++round) {
        for (auto& way : ways) {
            throw_if_interrupted();
            auto const asked =
                way.ask(connections, round < 0 ? std::max(each / 4, 1) : each);  // the first warms up
            if (round < 0) continue;
            way.took.add(asked.took);
            way.rate.add(asked.per_second);
        }
    }
    auto const at = std::to_string(connections) + (connections == 1 ? " connection" : " connections");
    auto& report = lab.report();
    for (std::size_t i = 1; i < ways.size(); ++i) {
        auto& e = report.add("preview", "1 KiB through a preview, " + at, "ms", ways[0].took, ways[i].name,
                             ways[i].took);
        if (i == 1 && connections == 1) promise(e, "at most 1.5 x", e.ratio.value_or(2) <= 1.5);
    }
    for (std::size_t i = 1; i < ways.size(); ++i)
        report.add("preview_rate", "the same, " + at, "requests/s", ways[0].rate, ways[i].name, ways[i].rate);
}

void move_all(Lab& lab, std::vector<PreviewWay>& ways) {
    std::uint64_t const bytes = (lab.options().quick ? 16u : 64u) << 20;
    int const n = std::min(lab.count(5), 5);
    for (bool const down : {true, false}) {
        for (auto& way : ways) way.rate = {};
        for (int i = -1; i < n; ++i)
            for (auto& way : ways) {
                throw_if_interrupted();
                auto const rate = way.move(down, bytes);
                if (i >= 0) way.rate.add(rate);
            }
        for (std::size_t i = 1; i < ways.size(); ++i)
            lab.report().add("preview_bytes",
                             std::string("one ") + (down ? "download" : "upload") + " of " +
                                 std::to_string(bytes >> 20) + " MiB",
                             "MB/s", ways[0].rate, ways[i].name, ways[i].rate);
    }
}

}  // namespace

void measure_preview(Lab& lab) {
    Site site(lab);
    Outside outside(lab, site.program());
    auto ways = ways_of(site, outside);
    for (auto const& [connections, by_default] : {std::pair(1, 1000), {16, 4000}, {64, 4000}})
        ask_all(lab, ways, connections, lab.count(by_default));
    move_all(lab, ways);
    if (!outside.nginx) lab.report().note("preview: without nginx, which scripts/bench brings");
}

void measure_preview_url(Lab& lab) {
    constexpr int kFirstPort = 20'000, kPortsEach = 50, kWarmUp = 5;  // a workspace has at most 64 previews
    int const n = lab.count(200);
    Site const site(lab);
    Samples known, first;
    std::optional<Lab::Workspace> workspace;
    for (int i = -kWarmUp; i < n; ++i) {
        auto const port = (i + kWarmUp) % kPortsEach;
        if (port == 0) workspace.emplace(lab.workspace());
        auto const found = lab.client().call("get_preview_url", site.link_arguments(kPort)).took;
        base::Json const fresh = {{"workspace_id", workspace->id()}, {"port", kFirstPort + port}};
        auto const made = lab.client().call("get_preview_url", fresh).took;
        if (i < 0) continue;
        known.add(found);
        first.add(made);
    }
    auto& e = lab.report().add("preview_url", "get_preview_url of a program that listens", "ms", known,
                               "the first of a port", first);
    promise(e, "under 1 ms", e.p50 < 1);
}

void measure_preview_wake(Lab& lab) {
    int const n = lab.count(10);
    Site site(lab);
    auto const preview = site.preview();
    Samples asleep, awake;
    for (int i = -1; i < n; ++i) {
        pause(kBeforeVisit);
        (void)lab.client().call("workspace_hibernate", {{"workspace_id", site.id()}});
        pause(kBeforeVisit);
        auto const woke = preview.ask(1, 1), next = preview.ask(1, 1);
        if (i < 0) continue;
        asleep.add(woke.took);
        awake.add(next.took);
    }
    lab.report().add("preview_wake", "a request to a hibernated workspace, to its answer", "ms", asleep,
                     "the next request", awake);
}

}  // namespace bench
