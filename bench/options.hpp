#pragma once
#include <string>
#include <vector>

namespace bench {

struct Options {
    bool help = false;
    std::string json;               ///< "" for none
    std::vector<std::string> only;  ///< rows; empty for all but density
    int n = 0;                      ///< measurements of each row; 0 leaves it to the row
    int density = 0;                ///< warm sandboxes of the density row; 0 when not asked for
    std::string berth;              ///< the program; beside this one unless given
    std::string templates = "/var/lib/berth/templates";
    std::string peers;  ///< where scripts/bench put the npm servers; "" measures none
};

/// Failure names what is wrong on the command line.
Options parse_options(int argc, char** argv);

}  // namespace bench
