// berth-jail UID PORT PROGRAM [ARGUMENT...]: runs a program where it reaches nothing but one socket. Standard
// input is a Unix socket to whoever started it; the environment is the program's.
#include "jail.hpp"

#include <sys/stat.h>

#include <charconv>
#include <cstdio>
#include <cstring>

namespace {

template <class Number>
bool read(char const* text, Number& out) {
    auto const end = text + std::strlen(text);
    auto const [at, ec] = std::from_chars(text, end, out);
    return ec == std::errc() && at == end && out > 0;
}

}  // namespace

int main(int argc, char** argv) {
    sandbox::jail::Spec spec;
    if (argc < 4 || !read(argv[1], spec.uid) || !read(argv[2], spec.port)) {
        std::fputs("usage: berth-jail UID PORT PROGRAM [ARGUMENT...]\n", stderr);
        return 2;
    }
    ::umask(022);
    spec.argv = argv + 3;
    auto const ended = sandbox::jail::run(spec, 0);
    if (ended) return *ended;
    std::fprintf(stderr, "%s\n", ended.error().message().c_str());
    return 1;
}
