// The same programs over the same files in a native workspace, in gVisor, in bubblewrap and outside of all of
// them, by turns: what each wall costs, for whoever has to choose one (docs/native.md).
#include "../interrupt.hpp"
#include "../loads.hpp"
#include "../rows.hpp"
#include "../workplaces.hpp"
#include <base/files.hpp>
#include <base/syscalls.hpp>

#include <cstdio>
#include <filesystem>
#include <functional>
#include <sstream>

namespace bench {
namespace {

namespace fs = std::filesystem;

constexpr int kUnits = 4;  // translation units of the C++ build
constexpr double kNsInMs = 1e6, kNsInUs = 1e3;
constexpr std::chrono::seconds kStockLimit{120};
constexpr std::chrono::milliseconds kBetweenNaps{400};

// One kind of work, and what it took in each place.
struct Job {
    std::string row, what, unit;
    std::string line;  // of shell; prints nanoseconds
    std::function<double(double ns)> value;
    int rounds = 5;
    std::vector<Samples> took{};  // by place
};

double in_ms(double ns) { return ns / kNsInMs; }

constexpr char const* kUnitSource = R"(#include <iostream>
#include <map>
#include <regex>
#include <string>
#include <vector>

std::map<std::string, std::vector<int>> count(std::istream& in) {
    std::map<std::string, std::vector<int>> words;
    std::regex const word("[a-z]+");
    int line = 0;
    for (std::string text; std::getline(in, text); ++line)
        for (std::sregex_iterator it(text.begin(), text.end(), word), end; it != end; ++it) words[it->str()].push_back(line);
    return words;
}
)";

constexpr char const* kPythonLoop = R"(import sys, time
for _ in range(int(sys.argv[1])):
    began = time.perf_counter_ns()
    total = 0
    for i in range(1_000_000):
        total += i * i % 7
    print(time.perf_counter_ns() - began)
)";

constexpr char const* kNumpy = R"(import sys, time
import numpy
numbers = numpy.random.default_rng(7)
a, b, c = numbers.random((400, 400)), numbers.random((400, 400)), numbers.random(1_000_000)
for _ in range(int(sys.argv[1])):
    began = time.perf_counter_ns()
    a @ b
    numpy.sort(c)
    numpy.fft.fft(c[:1 << 18])
    print(time.perf_counter_ns() - began)
)";

constexpr char const* kNumpyEnv = "PYTHONPATH=/workspace/numpy/python LD_LIBRARY_PATH=/workspace/numpy/lib ";

void put(std::string const& file, std::string const& text) { base::replace_file(file, text, 0644).value(); }

// What the jobs work on, the same in every place; the trees of git and the compiler are made inside.
void lay_out(Lab& lab, Workplace& place, int tracked) {
    auto const& files = place.files();
    fs::create_directory(files + "/build");
    std::string names;
    for (int i = 0; i < kUnits; ++i) {
        auto const name = "unit" + std::to_string(i);
        put(files + "/build/" + name + ".cpp", "namespace " + name + " {}\n" + kUnitSource);
        names += " " + name + ".o";
    }
    put(files + "/build/Makefile", "all:" + names + "\n%.o: %.cpp\n\tg++ -O1 -c -o $@ $<\n");
    put(files + "/loop.py", kPythonLoop);
    put(files + "/arrays.py", kNumpy);
    for (auto const& [from, name] :
         {std::pair(lab.peers().npm_project(), "/npm"), {lab.peers().numpy(), "/numpy"}})
        if (!from.empty())
            fs::copy(from, files + name, fs::copy_options::recursive | fs::copy_options::copy_symlinks);
    (void)place.run("./work tree " + std::to_string(tracked) +
                    " && cd tree && git init -q && git add -A && git -c user.name=b -c user.email=b@b commit "
                    "-qm all && git status");
}

std::vector<Job> jobs(Lab& lab, bool numpy, int tracked) {
    auto const times = [&](int by_default) { return std::to_string(lab.count(by_default)); };
    int const small = lab.options().quick ? 100 : 500, mib = lab.options().quick ? 16 : 256;
    auto const rate = [mib](double ns) { return static_cast<double>(std::uint64_t(mib) << 20) * 1e3 / ns; };
    std::vector<Job> all{
        {"fork_exec", "fork, execute /bin/true, wait", "ms", "./work spawn " + times(40), in_ms},
        {"files", std::to_string(small) + " files made, looked at, renamed, removed", "ms",
         "./work files " + std::to_string(small) + " " + times(2), in_ms},
        {"git_status", "git status among " + std::to_string(tracked) + " files", "ms",
         "./work repeat " + times(4) + " true 'cd tree && git status --porcelain'", in_ms},
        {"cpp_build", "make -j2 of " + std::to_string(kUnits) + " C++ files", "ms",
         "./work repeat 1 'rm -f build/*.o' 'make -s -j2 -C build'", in_ms, 3},
        {"compute", "a product of matrices, in C++", "ms", "./work compute " + times(4), in_ms},
        {"python_loop", "a million turns of a loop in Python", "ms", "python3 loop.py " + times(2), in_ms},
        {"tcp_round_trip", "a byte over loopback and back", "us", "./work echo " + times(400),
         [](double ns) { return ns / kNsInUs; }},
        {"tcp_stream", std::to_string(mib) + " MiB over loopback", "MB/s",
         "./work stream " + std::to_string(mib) + " 1", rate},
    };
    if (numpy)
        all.push_back({"numpy", "numpy: a product, a sort, a Fourier transform", "ms",
                       std::string(kNumpyEnv) + "python3 arrays.py " + times(2), in_ms});
    if (!lab.peers().npm_project().empty())
        all.push_back({"npm_install", "npm ci of 71 packages from its cache", "ms",
                       "./work repeat 1 'rm -rf npm/node_modules' 'cd npm && npm ci --offline "
                       "--ignore-scripts --no-audit --no-fund "
                       "--loglevel=error --cache /workspace/npm/cache >npm.log'",
                       in_ms, 3});
    if (lab.options().quick)
        for (auto& job : all) job.rounds = 1;
    return all;
}

// All of it in one table, a column for each place.
struct Table {
    std::vector<std::vector<std::string>> lines;

    explicit Table(std::vector<std::unique_ptr<Workplace>> const& places) : lines{{"p50 by turns"}} {
        for (auto const& place : places) lines[0].push_back(place->name());
    }
    std::string const& name(std::size_t place) const { return lines[0][place + 1]; }
    void add(std::string const& what, std::vector<Samples> const& by_place) {
        lines.push_back({what});
        for (std::size_t i = 1; i < lines[0].size(); ++i) {
            char text[32] = "";
            if (i <= by_place.size()) {
                double const p50 = by_place[i - 1].p50();
                std::snprintf(text, sizeof text, "%.*f", p50 >= 100 ? 0 : p50 >= 10 ? 1 : 2, p50);
            }
            lines.back().emplace_back(text);
        }
    }
    void note(Report& report) const {
        std::vector<std::size_t> width(lines[0].size());
        for (auto const& line : lines)
            for (std::size_t i = 0; i < line.size(); ++i) width[i] = std::max(width[i], line[i].size());
        for (auto const& line : lines) {
            std::string text = "|";
            for (std::size_t i = 0; i < line.size(); ++i)
                text += " " + line[i] + std::string(width[i] - line[i].size(), ' ') + " |";
            report.note(text);
        }
    }
};

void report(Lab& lab, Table& table, std::string const& row, std::string const& what, std::string const& unit,
            std::vector<Samples> const& by_place) {
    for (std::size_t i = 1; i < by_place.size(); ++i)
        lab.report().add("native/" + row, what, unit, by_place[0], table.name(i), by_place[i]);
    table.add(what + ", " + unit, by_place);
}

// Memory to disk and back, or what the tools say in its place.
struct Nap {
    Samples hibernate{}, wake{};
    std::string fidelity{}, why{};
};

void nap(Lab& lab, McpClient& client, std::string const& kind, Nap& taken) {
    auto const load = random_memory(64);
    auto const w = begin(client, load, {{"runtime", kind}});
    base::Json which = {{"workspace_id", w.id()}};
    auto const sleep = [&] {
        try {
            return client.call("workspace_hibernate", which).took;
        } catch (Failure const& refused) {
            taken.why = refused.what();
        }
        base::Json files = which;
        files["files_only"] = true;
        return client.call("workspace_hibernate", files).took;
    };
    for (int i = 0; i < std::min(lab.count(5), 10); ++i) {
        pause(kBetweenNaps);
        taken.hibernate.add(sleep());
        pause(kBetweenNaps);
        auto const woken = client.call("workspace_wake", which);
        taken.wake.add(woken.took);
        taken.fidelity = woken.structured().at("fidelity").get<std::string>();
        if (taken.fidelity != "memory") start(client, w.id(), load);
    }
}

void measure_naps(Lab& lab, McpClient& client, Table& table) {
    Nap native, gvisor;
    nap(lab, client, "native", native);
    nap(lab, client, "gvisor", gvisor);
    std::string const of = "Python with 64 MiB";
    auto const kept = native.fidelity == "memory" ? "" : ", native: files only";
    report(lab, table, "hibernate", of + " to disk" + kept, "ms", {native.hibernate, gvisor.hibernate});
    report(lab, table, "wake", of + " from disk" + kept, "ms", {native.wake, gvisor.wake});
    for (auto const* one : {&native, &gvisor})
        if (!one->why.empty())
            lab.report().note("native: files only, since: " + one->why.substr(0, one->why.find('\n')));
}

}  // namespace

void measure_native(Lab& lab) {
    bool const quick = lab.options().quick;
    int const idle = quick ? 1 : 4, tracked = quick ? 200 : 3000;
    lab.close_server();  // the machine's processors are for this row alone
    ServeOptions options;
    options.ready = idle;
    options.awake = 0;
    options.more =
        "idle:\n    hibernate_after: 0\nnative:\n    allow: true\n    templates: [base]\n    ready: " +
        std::to_string(idle) + "\n";
    auto const server = lab.own_server(std::move(options));
    auto const client = server->connect();
    server->wait_for_stock(idle, kStockLimit);
    server->wait_for_stock(idle, kStockLimit, "native");

    auto const places = all_workplaces(lab, *server, *client);
    Table table(places);
    for (auto const& place : places) lay_out(lab, *place, tracked);
    bool numpy = !lab.peers().numpy().empty();
    if (numpy) try {
            (void)places.back()->run(std::string(kNumpyEnv) + "python3 -c 'import numpy'");
        } catch (Failure const& e) {
            numpy = false;
            lab.report().note(std::string("native: Debian's numpy here is not for the template's Python: ") +
                              e.what());
        }
    for (auto& job : jobs(lab, numpy, tracked)) {
        job.took.resize(places.size());
        for (int round = quick ? 0 : -1; round < job.rounds; ++round)  // the first warms up
            for (std::size_t i = 0; i < places.size(); ++i) {
                std::istringstream printed(places[i]->run(job.line));
                int times = 0;
                for (double ns; printed >> ns; ++times)
                    if (round >= 0) job.took[i].add(job.value(ns));
                if (times == 0 || !printed.eof())
                    throw Failure(job.row + " in " + places[i]->name() + " printed no times: " + printed.str());
            }
        report(lab, table, job.row, job.what, job.unit, job.took);
    }
    std::vector<Samples> memory;
    server->wait_for_stock(idle, kStockLimit);
    server->wait_for_stock(idle, kStockLimit, "native");
    for (auto const& place : places) memory.push_back(place->idle_memory(idle));
    report(lab, table, "idle_memory", "memory of an idle one, beside " + std::to_string(idle - 1) + " alike",
           "MiB", memory);
    measure_naps(lab, *client, table);

    lab.report().note(
        "native: volumes of the same kind everywhere; bubblewrap and bare, which is a chroot, see the "
        "template too");
    table.note(lab.report());
    lab.report().note("native: idle memory is what processes hold, without the kernel's own");
    auto const& peers = lab.peers();
    for (auto const& [there, what] : {std::pair(peers.bubblewrap(), "bubblewrap"),
                                      {peers.npm_project(), "npm"},
                                      {peers.numpy(), "numpy"}})
        if (there.empty())
            lab.report().note(std::string("native: without ") + what + ", which scripts/bench brings");
}

}  // namespace bench
