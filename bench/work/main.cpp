// What the row `native` does in each place: one static file, so that the very same bytes run in every sandbox
// and outside.
//
//   berth-bench-work spawn TIMES                     fork, execute /bin/true, wait
//   berth-bench-work files COUNT TIMES               make, look at, rename and remove that many small files
//   berth-bench-work compute TIMES                   multiply two matrices of doubles
//   berth-bench-work echo TIMES                      a byte over loopback TCP and back
//   berth-bench-work stream MIB TIMES                that much over loopback TCP, one way
//   berth-bench-work repeat TIMES PREPARE COMMAND    two lines of shell, of which the second is timed
//   berth-bench-work tree COUNT                      writes a tree of small files into the directory `tree`;
//   prints nothing berth-bench-work idle FILE                       makes the file, then waits for ever
//
// Prints the nanoseconds of each time, one a line, measured by the clock of where it runs. Any failure ends
// it with 1.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMatrix = 256, kFilesInFolder = 50;
constexpr std::size_t kBlock = 64 * 1024;

[[noreturn]] void fail(std::string const& what) {
    throw std::system_error(errno, std::generic_category(), what);
}

void must(bool done, std::string const& what) {
    if (!done) fail(what);
}

int number(std::string_view text) {
    int value = 0;
    auto const [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (ec != std::errc() || end != text.data() + text.size() || value < 1)
        throw std::runtime_error("not a number: " + std::string(text));
    return value;
}

template <class Work>
void timed(int times, Work const& work) {
    for (; times > 0; --times) {
        auto const began = Clock::now();
        work();
        auto const took = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - began);
        std::printf("%lld\n", static_cast<long long>(took.count()));
    }
}

void execute(std::vector<char const*> argv) {
    argv.push_back(nullptr);
    pid_t const child = ::fork();
    if (child == 0) {
        ::execv(argv[0], const_cast<char* const*>(argv.data()));
        ::_exit(127);
    }
    must(child > 0, "fork");
    int status = 0;
    must(::waitpid(child, &status, 0) == child, "wait");
    if (status != 0)
        throw std::runtime_error(std::string(argv[0]) + " ended with status " + std::to_string(status));
}

void shell(char const* line) { execute({"/bin/sh", "-c", line}); }

void write_file(std::string const& path, std::string_view text) {
    int const fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    must(fd >= 0, "make " + path);
    must(::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()), "write " + path);
    ::close(fd);
}

void storm(int count) {
    std::string const folder = "storm";
    must(::mkdir(folder.c_str(), 0755) == 0, "make " + folder);
    auto const name = [&](char const* kind, int i) { return folder + "/" + kind + std::to_string(i); };
    for (int i = 0; i < count; ++i) write_file(name("a", i), "a small file\n");
    struct stat st {};
    for (int i = 0; i < count; ++i) must(::stat(name("a", i).c_str(), &st) == 0, "look at a file");
    for (int i = 0; i < count; ++i)
        must(::rename(name("a", i).c_str(), name("b", i).c_str()) == 0, "rename a file");
    for (int i = 0; i < count; ++i) must(::unlink(name("b", i).c_str()) == 0, "remove a file");
    must(::rmdir(folder.c_str()) == 0, "remove " + folder);
}

void plant(int count) {
    must(::mkdir("tree", 0755) == 0, "make tree");
    std::string folder;
    for (int i = 0; i < count; ++i) {
        if (i % kFilesInFolder == 0) {
            folder = "tree/part" + std::to_string(i / kFilesInFolder);
            must(::mkdir(folder.c_str(), 0755) == 0, "make " + folder);
        }
        auto const of = std::to_string(i);
        write_file(folder + "/file" + of + ".c",
                   "/* file " + of + " */\nint value" + of + "(void) { return " + of + "; }\n");
    }
}

void compute(int times) {
    std::vector<double> const a(kMatrix * kMatrix, 1.25), b(kMatrix * kMatrix, 0.75);
    std::vector<double> c(kMatrix * kMatrix);
    double sum = 0;  // so that nothing of it can be left out
    timed(times, [&] {
        std::fill(c.begin(), c.end(), 0.0);
        for (int i = 0; i < kMatrix; ++i)
            for (int k = 0; k < kMatrix; ++k)
                for (int j = 0; j < kMatrix; ++j)
                    c[i * kMatrix + j] += a[i * kMatrix + k] * b[k * kMatrix + j];
        sum += c[kMatrix + 1];
    });
    if (sum != times * kMatrix * 1.25 * 0.75) throw std::runtime_error("the product is wrong");
}

// Both ends of a connection over loopback: ours, and one for a thread.
struct Connection {
    int here = -1, there = -1;

    Connection() {
        int const listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        auto* const at = reinterpret_cast<sockaddr*>(&address);
        must(listener >= 0 && ::bind(listener, at, size) == 0 && ::listen(listener, 1) == 0 &&
                 ::getsockname(listener, at, &size) == 0,
             "listen");
        here = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        must(here >= 0 && ::connect(here, at, size) == 0, "connect");
        there = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        must(there >= 0, "accept");
        ::close(listener);
        int const on = 1;
        for (int fd : {here, there}) ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    ~Connection() {
        ::close(here);
        ::close(there);
    }
};

void echo(int times) {
    Connection const c;
    std::thread other([&] {
        char byte = 0;
        while (::read(c.there, &byte, 1) == 1)
            if (::write(c.there, &byte, 1) != 1) return;
    });
    timed(times, [&] {
        char byte = 'x';
        must(::write(c.here, &byte, 1) == 1 && ::read(c.here, &byte, 1) == 1, "echo");
    });
    ::shutdown(c.here, SHUT_WR);
    other.join();
}

void stream(int mib, int times) {
    Connection const c;
    auto const bytes = static_cast<std::uint64_t>(mib) << 20;
    std::thread other([&] {
        std::vector<char> block(kBlock);
        for (std::uint64_t got = 0;;) {
            auto const n = ::read(c.there, block.data(), block.size());
            if (n <= 0) return;
            got += static_cast<std::uint64_t>(n);
            if (got % bytes == 0 && ::write(c.there, "y", 1) != 1) return;
        }
    });
    std::vector<char> const block(kBlock, 'x');
    timed(times, [&] {
        for (std::uint64_t left = bytes; left > 0;) {
            auto const n = ::write(c.here, block.data(), std::min<std::uint64_t>(left, block.size()));
            must(n > 0, "send");
            left -= static_cast<std::uint64_t>(n);
        }
        char byte = 0;
        must(::read(c.here, &byte, 1) == 1, "wait for the other end");
    });
    ::shutdown(c.here, SHUT_WR);
    other.join();
}

[[noreturn]] void idle(std::string const& file) {
    write_file(file, "");
    for (;;) ::pause();
}

int run(std::vector<std::string> const& words) {
    auto const is = [&](char const* name, std::size_t arguments) {
        return words.size() == arguments + 1 && words[0] == name;
    };
    if (is("spawn", 1))
        timed(number(words[1]), [] { execute({"/bin/true"}); });
    else if (is("files", 2))
        timed(number(words[2]), [&, count = number(words[1])] { storm(count); });
    else if (is("compute", 1))
        compute(number(words[1]));
    else if (is("echo", 1))
        echo(number(words[1]));
    else if (is("stream", 2))
        stream(number(words[1]), number(words[2]));
    else if (is("tree", 1))
        plant(number(words[1]));
    else if (is("idle", 1))
        idle(words[1]);
    else if (is("repeat", 3))
        for (int left = number(words[1]); left > 0; --left) {
            shell(words[2].c_str());
            timed(1, [&] { shell(words[3].c_str()); });
        }
    else
        throw std::runtime_error("see the first lines of its source");
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run({argv + 1, argv + argc});
    } catch (std::exception const& e) {
        std::fprintf(stderr, "berth-bench-work: %s\n", e.what());
        return 1;
    }
}
