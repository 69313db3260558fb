#include "interrupt.hpp"
#include "rows.hpp"
#include <base/files.hpp>

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace {

constexpr char const* kHelp = R"(berth-bench: what berth takes, beside what it stands on and what others take.

  berth-bench [--json FILE] [--only ROW]... [--n N] [--quick] [--long] [--density N] [--cycles N]
              [--peers DIR] [--berth FILE] [--templates DIR]

  --json FILE      also writes every line of the table as an array of objects
  --only ROW       measures this row; may be given again
  --n N            measurements of each row, in place of its own number
  --quick          very few measurements, small ones where rows are long: whether everything works
  --long           also the row asleep, with 2,000 workspaces
  --cycles N       also the row cycles, with N cycles; it runs the test program test_hibernation, beside this one
  --density N      also the row density, with N sandboxes (300 with --only density alone)
  --peers DIR      where scripts/bench put the npm servers that are measured beside; without it they are left out
  --berth FILE     the program under test (default: berth beside this one)
  --templates DIR  where the template `base` is (default /var/lib/berth/templates)

Starts a server of its own on a free port, with a data directory of its own, and removes both. Rows:

)";

void print_help() {
    std::fputs(kHelp, stdout);
    for (auto const& row : bench::all_rows())
        std::printf("  %-15s %s%s\n", row.name, row.help,
                    row.when == bench::Row::When::always ? "" : " (only when asked for)");
}

std::vector<bench::Row> chosen(bench::Options const& o) {
    auto const& all = bench::all_rows();
    for (auto const& name : o.only)
        if (std::none_of(all.begin(), all.end(), [&](auto const& row) { return row.name == name; }))
            throw bench::Failure("--only: there is no row " + name + ": see --help");
    std::vector<bench::Row> rows;
    for (auto const& row : all) {
        bool const asked = std::find(o.only.begin(), o.only.end(), row.name) != o.only.end();
        bool const by_number = (row.measure == bench::measure_density && o.density > 0) ||
                               (row.measure == bench::measure_cycles && o.cycles > 0);
        bool const by_itself =
            row.when == bench::Row::When::always || (row.when == bench::Row::When::long_run && o.long_run);
        if (asked || by_number || (o.only.empty() && by_itself)) rows.push_back(row);
    }
    return rows;
}

void check_machine(bench::Options const& o) {
    if (::geteuid() != 0) throw bench::Failure("this needs root (mounts and cgroups): run it with sudo");
    if (::access(o.berth.c_str(), X_OK) != 0)
        throw bench::Failure("there is no program " + o.berth + ": build it first");
    auto const rootfs = o.templates + "/base/rootfs";
    if (::access(rootfs.c_str(), R_OK) != 0)
        throw bench::Failure("there is no " + rootfs + ": run scripts/setup");
}

// A row that cannot be measured does not take the others with it: false when there was one.
bool measure(bench::Options const& o) {
    auto const rows = chosen(o);
    check_machine(o);
    bench::Scratch const scratch;
    bench::Children children;
    bench::Lab lab(o, scratch, children);
    bool all = true;
    for (auto const& row : rows) {
        std::fprintf(stderr, "berth-bench: %s\n", row.name);
        try {
            row.measure(lab);
        } catch (bench::Interrupted const&) {
            throw;
        } catch (std::exception const& e) {
            all = false;
            lab.close_server();  // the next row begins with one that nobody has left in the middle of
                                 // something
            std::fprintf(stderr, "berth-bench: %s: %s\n", row.name, e.what());
            lab.report().note(std::string(row.name) + ": NOT MEASURED: " + e.what());
        }
    }
    lab.report().print_table();
    if (!o.json.empty()) base::replace_file(o.json, lab.report().json().dump(2) + "\n", 0644).value();
    return all;
}

}  // namespace

int main(int argc, char** argv) {
    bench::notice_interrupts();
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)::setrlimit(RLIMIT_NOFILE, &files);
    }
    try {
        auto const options = bench::parse_options(argc, argv);
        if (options.help) return print_help(), 0;
        return measure(options) ? 0 : 1;
    } catch (bench::Interrupted const&) {
        std::fputs("berth-bench: interrupted\n", stderr);
        return 130;
    } catch (std::exception const& e) {
        std::fprintf(stderr, "berth-bench: %s\n", e.what());
        return 1;
    }
}
