#pragma once
#include "children.hpp"
#include "stats.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace bench {

/// What many requests took, and how many of them were answered a second.
struct Asked {
    Samples took;
    double per_second = 0;
};
/// From what `berth-bench-web ask` prints.
Asked read_asked(std::string const& printed);

/// The program berth-bench-web (web/main.cpp), run outside of any sandbox.
class WebProgram {
  public:
    /// `file`: the program. `directory`, which must exist, takes what it prints.
    WebProgram(Children&, std::string file, std::string directory);

    /// A server of it until the object ends.
    struct Server {
        std::unique_ptr<Child> child;
        std::uint16_t port = 0;
    };
    Server serve();
    /// GETs of 1 KiB over that many connections; `fields` are whole header lines. Failure when one of them
    /// fails.
    Asked ask(std::uint16_t port, int connections, int requests, std::vector<std::string> const& fields = {});
    /// One body of that size, down or up: MB/s.
    double move(bool down, std::uint16_t port, std::uint64_t bytes,
                std::vector<std::string> const& fields = {});

    std::string const& file() const { return file_; }

  private:
    std::string run(std::vector<std::string> words, std::vector<std::string> const& fields);
    Children& children_;
    std::string file_, directory_;
};

/// MB/s, of what `berth-bench-web down` and `up` print.
double read_rate(std::string const& printed, std::uint64_t bytes);

}  // namespace bench
