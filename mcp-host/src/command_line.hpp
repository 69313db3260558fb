#pragma once
#include <stdexcept>
#include <string>
#include <vector>

namespace host {

/// The command line, taken apart.
struct Options {
    std::string command;            ///< "" when there is none
    std::string data;               ///< the data directory
    std::string listen, config;
    std::string servers;            ///< servers.json; "" = DATA/servers.json
    bool help = false, version = false;
    bool on_demand = false;         ///< serve: for `berth stdio` clients only, and no longer than they stay
    bool insecure = false;          ///< servers: takes entries that run outside any sandbox
    std::vector<std::string> rest;  ///< words behind the command
};

/// A command line that means nothing: what() is one line for the one who wrote it.
struct UsageError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Reads what stands behind the program's name. Options may stand anywhere, their values behind them or behind a "=". An option
/// that the command would not heed is refused, as is a word too many, unless help is asked for. Throws UsageError.
Options parse_command_line(std::vector<std::string> const& words);

/// What `--help` prints for that command: its use, and each option that it takes. All commands for "".
std::string help_for(std::string const& command);

/// The names of all commands, in the order of the help.
std::vector<std::string> command_names();

}  // namespace host
