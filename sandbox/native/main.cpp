// berth-contain: what the server has to have done by a process with one thread. Each form does one thing and
// ends.
//
//   berth-contain SPECIFICATION              starts a native sandbox, as `runsc run -detach` does for gVisor
//   berth-contain --hold SPECIFICATION       starts what stands for one that is still to be loaded
//   berth-contain --save SPECIFICATION ORDER
//   berth-contain --load SPECIFICATION ORDER writes the host's number of process 1, and lets it run once it
//   reads a "g"
#include "contain.hpp"
#include "memory.hpp"
#include <base/files.hpp>
#include <base/json.hpp>
#include <base/syscalls.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <string_view>

namespace {

using namespace sandbox::native;

constexpr std::size_t kMaxFile = 1 << 20;

template <class T>
base::Result<T> read_json(char const* file, base::Result<T> (*parse)(base::Json const&)) {
    auto text = base::read_file(file, kMaxFile);
    if (!text) return text.error();
    auto json = base::parse_json(*text);
    if (!json) return json.error();
    return parse(*json);
}

// Opened before the host's mounts are left.
base::Result<base::UniqueFd> open_pid_file(Spec const& spec) {
    return base::sys::open(spec.pid_file, O_WRONLY | O_CREAT | O_NOFOLLOW, 0600);
}

base::Status write_pid(int pid_file, pid_t pid) {
    if (::ftruncate(pid_file, 0) != 0) return base::errno_error("empty the file of the process id");
    return base::sys::write_all(pid_file, std::to_string(pid), "write the process id");
}

base::Status start(Spec const& spec, base::Result<pid_t> (*how)(Spec const&)) {
    auto pid_file = open_pid_file(spec);
    if (!pid_file) return pid_file.error();
    auto const pid = how(spec);
    if (!pid) return pid.error();
    return write_pid(pid_file->get(), *pid);
}

base::Status ask_server(int pid_file, pid_t pid) {
    if (auto s = write_pid(pid_file, pid); !s) return s;
    if (auto s = base::sys::write_all(1, std::to_string(pid) + "\n", "tell the server"); !s) return s;
    char word = 0;
    if (::read(0, &word, 1) == 1 && word == 'g') return {};
    return base::error(base::errc::cancelled, "the server is gone, or does not take it");
}

int tell(base::Status const& ended, int otherwise) {
    if (ended) return outcome::done;
    std::fprintf(stderr, "%s\n", ended.error().message().c_str());
    return otherwise;
}

int with_order(std::string_view form, Spec const& spec, char const* file) {
    auto const order = read_json(file, order_from);
    if (!order) return tell(order.error(), outcome::failed);
    if (form == "--load") {
        auto pid_file = open_pid_file(spec);
        if (!pid_file) return tell(pid_file.error(), outcome::failed);
        return tell(load(spec, *order, [&](pid_t pid) { return ask_server(pid_file->get(), pid); }),
                    outcome::failed);
    }
    criu::Ended how{};
    auto const saved = save(spec, *order, how);
    return tell(saved, how == criu::Ended::broken ? outcome::broken : outcome::failed);
}

}  // namespace

int main(int argc, char** argv) {
    std::string_view const form = argc > 1 ? argv[1] : "";
    bool const ordered = form == "--save" || form == "--load", held = form == "--hold";
    if (argc != (ordered ? 4 : held ? 3 : 2)) {
        std::fputs("usage: berth-contain [--hold | --save | --load] SPECIFICATION [ORDER]\n", stderr);
        return outcome::misused;
    }
    ::umask(022);  // the server's own could hide the root's directories from the sandbox
    auto const spec = read_json(argv[ordered || held ? 2 : 1], spec_from);
    if (!spec) return tell(spec.error(), outcome::failed);
    if (ordered) return with_order(form, *spec, argv[3]);
    return tell(start(*spec, held ? hold_place : contain), outcome::failed);
}
