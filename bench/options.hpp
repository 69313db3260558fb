#pragma once
#include <string>
#include <vector>

namespace bench {

struct Options {
    bool help = false;
    std::string json;               ///< "" for none
    std::vector<std::string> only;  ///< rows; empty for those that are measured by default
    int n = 0;                      ///< measurements of each row; 0 leaves it to the row
    bool quick = false;             ///< little of everything: whether it works, not how fast it is
    bool long_run = false;          ///< also what takes many minutes
    int cycles = 0;                 ///< of the row cycles; 0 when not asked for
    int density = 0;                ///< warm sandboxes of the density row; 0 when not asked for
    std::string berth;              ///< the program; beside this one unless given
    std::string templates = "/var/lib/berth/templates";
    std::string peers;  ///< where scripts/bench put the npm servers; "" measures none
};

/// Failure names what is wrong on the command line.
Options parse_options(int argc, char** argv);

}  // namespace bench
