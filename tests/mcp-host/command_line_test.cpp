#include <command_line.hpp>

#include <doctest/doctest.h>

using host::parse_command_line;

namespace {

std::string refusal(std::vector<std::string> const& words) {
    try {
        parse_command_line(words);
        return "accepted";
    } catch (host::UsageError const& e) {
        return e.what();
    }
}

}  // namespace

TEST_CASE("the command line") {
    SUBCASE("is a command with its options, wherever they stand") {
        auto const o = parse_command_line({"--data", "/d", "serve", "--listen=[::1]:80", "--config", "c.yaml", "--servers=s.json"});
        CHECK(o.command == "serve");
        CHECK(o.data == "/d");
        CHECK(o.listen == "[::1]:80");
        CHECK(o.config == "c.yaml");
        CHECK(o.servers == "s.json");
        CHECK_FALSE(o.on_demand);
    }
    SUBCASE("has the shipped data directory unless it names one") { CHECK(parse_command_line({"serve"}).data == "/var/lib/berth"); }
    SUBCASE("has words where the command takes some") {
        auto const o = parse_command_line({"tool", "read_file", R"({"path": "a=b"})"});
        CHECK(o.rest == std::vector<std::string>{"read_file", R"({"path": "a=b"})"});
        CHECK(parse_command_line({"tool"}).rest.empty());
        CHECK(parse_command_line({"servers", "import", "f.json", "--insecure"}).insecure);
    }
    SUBCASE("may ask for help, of one command or of all, and whatever else stands there") {
        CHECK(parse_command_line({"--help"}).help);
        CHECK(parse_command_line({"serve", "-h", "too", "much"}).help);
        auto const o = parse_command_line({"help", "doctor"});
        CHECK(o.command == "doctor");
        CHECK(o.help);
        CHECK(parse_command_line({"help"}).command.empty());
        CHECK(parse_command_line({"--version"}).version);
    }
    SUBCASE("is refused with what is wrong with it") {
        CHECK(refusal({"bogus"}) == "unknown command bogus: see berth --help");
        CHECK(refusal({"bogus", "--help"}) == "unknown command bogus: see berth --help");
        CHECK(refusal({"serve", "--prot", "1"}) == "unknown option --prot: see berth --help");
        CHECK(refusal({"serve", "--data"}) == "--data needs a value");
        CHECK(refusal({"serve", "--data="}) == "--data needs a value");
        CHECK(refusal({"serve", "--help=yes"}) == "--help takes no value");
        CHECK(refusal({"serve", "now"}) == "unexpected argument now: see berth serve --help");
        CHECK(refusal({"tool", "a", "{}", "b"}) == "unexpected argument b: see berth tool --help");
        CHECK(refusal({"servers", "add", "a", "b"}) == "unexpected argument b: see berth servers --help");
    }
    SUBCASE("is refused where the command would not heed an option") {
        CHECK(refusal({"stdio", "--listen", "127.0.0.1:1"}) == "berth stdio takes no --listen: see berth stdio --help");
        CHECK(refusal({"serve", "--insecure"}) == "berth serve takes no --insecure: see berth serve --help");
        CHECK(refusal({"down", "--on-demand"}) == "berth down takes no --on-demand: see berth down --help");
        CHECK(refusal({"config", "--config", "c.yaml"}) == "berth config takes no --config: see berth config --help");
        CHECK(parse_command_line({"serve", "--on-demand"}).on_demand);
    }
}

TEST_CASE("help") {
    SUBCASE("lists every command") {
        auto const all = host::help_for("");
        for (auto const& name : host::command_names()) CHECK_MESSAGE(all.find("\n  berth " + name + " ") != std::string::npos, name);
        CHECK(host::help_for("bogus") == all);
    }
    SUBCASE("of a command lists its use and the options that it takes, and no others") {
        for (auto const& name : host::command_names()) {
            INFO(name);
            auto const help = host::help_for(name);
            CHECK(help.starts_with("berth " + name));
            for (std::string const option : {"--data", "--listen", "--config", "--servers", "--insecure", "--on-demand"}) {
                INFO(option);
                std::vector<std::string> words{name, option};
                if (option != "--insecure" && option != "--on-demand") words.push_back("x");
                bool const hidden = option == "--on-demand";
                CHECK((help.find("\n  " + option) != std::string::npos) == (refusal(words) == "accepted" && !hidden));
            }
        }
    }
    SUBCASE("fits into a terminal of 132 columns") {
        for (auto const& name : host::command_names()) {
            std::size_t width = 0;
            for (char const c : host::help_for(name)) CHECK((width = c == '\n' ? 0 : width + 1) <= 132);
        }
    }
}
