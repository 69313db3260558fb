#pragma once
#include <base/asio.hpp>
#include <base/result.hpp>

#include <string>
#include <vector>

namespace sandbox::native {

/// The installed CRIU. A value.
struct CriuProgram {
    std::string path;
    std::vector<std::string> command;            ///< what runs it, before its own arguments: `path` itself, or a loader of its own
    std::string version;                         ///< "4.1.1"
    std::string build;                           ///< changes whenever the program does, or the kernel whose state it saves

    static constexpr char const* kOwn = "/usr/local/lib/berth/criu";    ///< where scripts/setup puts one of its own
    static constexpr char const* kHowToInstall = "install CRIU 4.0 or later, 4.2 on Linux 6.16 or later (scripts/setup)";

    /// Ours before the system's. errc::unavailable when there is none, or only one that is too old, in words
    /// for people. Asks the program once for each build, which blocks for the start of a process; the answer
    /// is noted in the file `known`.
    static base::Result<CriuProgram> find(std::string const& known);
};

/// The command of one that came with its libraries: DIRECTORY/program, which DIRECTORY/loader starts with what is in
/// DIRECTORY/lib. Empty when it is not there.
std::vector<std::string> criu_with_libraries(std::string const& directory);

/// "4.1.1" of `criu --version`, "" when it cannot be told.
std::string criu_version(std::string const& text);

/// What CRIU says about this kernel (`criu check`): its complaint, "" when there is none.
base::Task<base::Result<std::string>> check_criu(CriuProgram program);

}  // namespace sandbox::native
