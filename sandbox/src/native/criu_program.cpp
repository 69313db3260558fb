#include "criu_program.hpp"

#include <base/files.hpp>
#include <base/launcher.hpp>

#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <charconv>
#include <utility>
#include <criu.hpp>

namespace sandbox::native {

using base::errc;

namespace {

constexpr base::milliseconds kAsk{10'000}, kCheck{30'000};

using Release = std::pair<int, int>;
// The first that saves all that a sandbox is made of (rseq); and from the kernel on that refuses SO_PASSCRED of a TCP socket, the
// first that does not ask for it.
constexpr Release kOldest{4, 0}, kSocketsChanged{6, 16}, kOldestThere{4, 2};

Release first_two(std::string const& version) {
    Release out{0, 0};
    auto const* const end = version.data() + version.size();
    auto const [dot, ec] = std::from_chars(version.data(), end, out.first);
    if (ec == std::errc() && dot != end && *dot == '.') std::from_chars(dot + 1, end, out.second);
    return out;
}

std::string build_of(std::string const& path) {
    struct stat st {};
    utsname kernel{};
    if (::stat(path.c_str(), &st) != 0 || ::uname(&kernel) != 0) return {};
    return std::to_string(st.st_size) + "-" + std::to_string(st.st_mtim.tv_sec) + "-" +
           std::to_string(st.st_ino) + "-" + kernel.release;
}

// Before anything else runs, so there is nothing to hold up.
base::Result<std::string> ask_version(CriuProgram const& criu) {
    auto const& path = criu.path;
    base::Launch launch;
    launch.argv = criu.command;
    launch.argv.push_back("--version");
    asio::io_context io;
    base::Result<base::Finished> finished = base::error(errc::internal, "not asked");
    auto ask = [](base::Launch what, base::Result<base::Finished>& out) -> base::Task<void> {
        out = co_await base::run(std::move(what), kAsk);
    };
    asio::co_spawn(io, ask(std::move(launch), finished), asio::detached);
    io.run();
    if (!finished) return base::wrap(finished.error(), path + " --version");
    auto version = criu_version(finished->out);
    if (version.empty())
        return base::error(errc::unavailable, path + " --version ended with status " +
                                                  std::to_string(finished->exit_code) + ": " +
                                                  (finished->out + finished->err).substr(0, 200));
    return version;
}

}  // namespace

std::string criu_version(std::string const& text) {
    constexpr std::string_view kKey = "Version: ";
    auto const at = text.find(kKey);
    if (at == text.npos) return {};
    auto const from = at + kKey.size();
    auto const end = text.find_first_not_of("0123456789.", from);
    return text.substr(from, end == text.npos ? end : end - from);
}

std::vector<std::string> criu_with_libraries(std::string const& directory) {
    auto const loader = directory + "/loader", program = directory + "/program";
    if (::access(loader.c_str(), X_OK) != 0 || ::access(program.c_str(), X_OK) != 0) return {};
    return {loader, "--library-path", directory + "/lib", program};    // ld.so(8)
}

base::Result<CriuProgram> CriuProgram::find(std::string const& known) {
    CriuProgram out;
    out.command = criu_with_libraries(kOwn);
    if (out.command.empty()) out.command = {base::find_program("criu")};
    out.path = out.command.back();
    if (out.path.empty())
        return base::error(errc::unavailable, std::string("criu is not installed: ") + kHowToInstall);
    out.build = build_of(out.path);
    // "<build> <version>"
    if (auto noted = base::read_file(known, 512); noted && noted->starts_with(out.build + " "))
        out.version = noted->substr(out.build.size() + 1);
    if (out.version.empty()) {
        auto version = ask_version(out);
        if (!version) return version.error();
        out.version = std::move(*version);
        (void)base::replace_file(known, out.build + " " + out.version, 0600);
    }
    utsname kernel{};
    (void)::uname(&kernel);
    auto const oldest = first_two(kernel.release) >= kSocketsChanged ? kOldestThere : kOldest;
    if (first_two(out.version) < oldest)
        return base::error(errc::unavailable, out.path + " is version " + out.version + ", too old for Linux " + kernel.release +
                                                  ": " + kHowToInstall);
    out.build = out.version + "-" + out.build;
    return out;
}

base::Task<base::Result<std::string>> check_criu(CriuProgram program) {
    base::Launch launch;
    launch.argv = program.command;
    launch.argv.push_back("check");
    auto finished = co_await base::run(std::move(launch), kCheck);
    if (!finished) co_return finished.error();
    if (finished->exit_code == 0) co_return std::string();
    auto words = criu::words_of(finished->err + finished->out);
    if (words.empty()) words = "criu check ended with status " + std::to_string(finished->exit_code);
    co_return words;
}

}  // namespace sandbox::native
