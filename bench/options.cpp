#include "options.hpp"

#include "interrupt.hpp"

#include <charconv>
#include <filesystem>

namespace bench {
namespace {

int positive(std::string const& name, std::string const& text) {
    int value = 0;
    auto const [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (ec != std::errc() || end != text.data() + text.size() || value < 1)
        throw Failure(name + ": expected a number from 1 on, not '" + text + "'");
    return value;
}

}  // namespace

Options parse_options(int argc, char** argv) {
    Options o;
    o.berth = (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "berth").string();
    for (int i = 1; i < argc; ++i) {
        std::string const a = argv[i];
        auto const value = [&]() -> std::string {
            if (i + 1 >= argc) throw Failure(a + " needs a value");
            return argv[++i];
        };
        if (a == "--help" || a == "-h")
            o.help = true;
        else if (a == "--json")
            o.json = value();
        else if (a == "--only")
            o.only.push_back(value());
        else if (a == "--n")
            o.n = positive(a, value());
        else if (a == "--quick")
            o.quick = true;
        else if (a == "--long")
            o.long_run = true;
        else if (a == "--cycles")
            o.cycles = positive(a, value());
        else if (a == "--density")
            o.density = positive(a, value());
        else if (a == "--berth")
            o.berth = std::filesystem::absolute(value());  // children start elsewhere
        else if (a == "--templates")
            o.templates = std::filesystem::absolute(value());
        else if (a == "--peers")
            o.peers = std::filesystem::absolute(value());
        else
            throw Failure("unknown option " + a + ": see --help");
    }
    return o;
}

}  // namespace bench
