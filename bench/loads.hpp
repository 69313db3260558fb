#pragma once
#include "lab.hpp"

#include <string>
#include <vector>

namespace bench {

/// What an agent leaves running in a workspace. The same program runs under bare runsc.
struct Load {
    std::string name, what;
    std::vector<std::string>
        program;          ///< writes "1" and a line end once it holds what it holds, and then waits
    int by_default = 10;  ///< measurements
    double hibernate_ms = 0, wake_ms = 0;  ///< promised p95; 0 = none
};

Load idle_shell();
/// Python with that much random memory, which no compression makes smaller.
Load random_memory(int mb);
/// Those whose sleep and wake are measured.
std::vector<Load> sleeping_loads();

/// Starts the load in a workspace, and waits until it is ready.
void start(McpClient&, std::string const& workspace_id, Load const&);
/// A workspace with the load running in it and ready; `arguments` are those of workspace_create.
Lab::Workspace begin(McpClient&, Load const&, base::Json const& arguments = base::Json::object());

}  // namespace bench
