// berth-contain SPEC: starts one native sandbox and ends. What `runsc run -detach` is for gVisor.
#include "contain.hpp"

#include <base/files.hpp>
#include <base/json.hpp>
#include <base/syscalls.hpp>

#include <fcntl.h>
#include <sys/stat.h>

#include <cstdio>

namespace {

constexpr std::size_t kMaxSpec = 1 << 20;

base::Status start(std::string const& file) {
    using namespace sandbox::native;
    auto text = base::read_file(file, kMaxSpec);
    if (!text) return text.error();
    auto json = base::parse_json(*text);
    if (!json) return json.error();
    auto spec = spec_from(*json);
    if (!spec) return spec.error();
    // Opened before the host's mounts are left.
    auto pid_file = base::sys::open(spec->pid_file, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
    if (!pid_file) return pid_file.error();
    auto const pid = contain(*spec);
    if (!pid) return pid.error();
    return base::sys::write_all(pid_file->get(), std::to_string(*pid), "write " + spec->pid_file);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fputs("usage: berth-contain SPECIFICATION\n", stderr);
        return 2;
    }
    ::umask(022);                                            // the server's own could hide the root's directories from the sandbox
    auto const started = start(argv[1]);
    if (started) return 0;
    std::fprintf(stderr, "%s\n", started.error().message().c_str());
    return 1;
}
