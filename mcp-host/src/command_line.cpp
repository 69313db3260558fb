#include "command_line.hpp"

#include "engine.hpp"
#include "terminal.hpp"

#include <algorithm>

namespace host {
namespace {

struct Command {
    char const *name, *summary, *use, *about;
    std::vector<std::string> options;    ///< beside --help and --version
    std::size_t max_words = 0;           ///< behind it
};

std::vector<Command> const& commands() {
    static std::vector<Command> const all{
        {"serve", "serve over HTTP (127.0.0.1:7777, endpoint /mcp)", "berth serve [OPTIONS]",
         "Serves over HTTP until it is stopped. The token that clients send stands in DIR/token.\n"
         "SIGTERM and Ctrl-C leave workspaces as they are for the next start; berth down ends everything.",
         {"--data", "--listen", "--config", "--servers"}},
        {"stdio", "serve one client on stdin and stdout", "berth stdio [OPTIONS]",
         "What MCP clients start. It joins the server that runs on DIR; members of the group berth need no root for it. Where none\n"
         "runs, root starts one with the first request: without a request nothing starts and no file is made. All such clients on\n"
         "DIR share it, and it ends with the last of them; --config and --servers are that one's. Workspaces that they brought up\n"
         "then sleep, with all that runs in them, or keep their files alone where the memory cannot be kept within 15 seconds.\n"
         "Those that an earlier server left running go on running.",
         {"--data", "--config", "--servers"}},
        {"tool", "list the tools of the running server, or call one", "berth tool [NAME ['{json}']] [OPTIONS]",
         "Without a name it lists the tools of the running server, those of community servers among them. berth tool NAME --help\n"
         "says what one takes. NAME '{json}' calls it, and prints its structured result, or its text.",
         {"--data"}, 2},
        {"servers", "community MCP servers: import, check, catalogue, add, login, logout", "berth servers VERB [OPTIONS]",
         "Community MCP servers, which stand in DIR/servers.json or in the file of --servers. A running server takes changes up.\n"
         "\n"
         "  import FILE    takes the servers of another client's file, or of the MCP registry's server.json\n"
         "  check          says what is wrong with the file, and what will not work\n"
         "  catalogue      lists the entries that berth brings\n"
         "  add NAME       takes one of those\n"
         "  login NAME     logs in to a server that is reached by URL, in a browser\n"
         "  logout NAME    forgets that login, and has it revoked",
         {"--data", "--servers", "--insecure"}, 2},
        {"config", "print a berth.yaml with every key, its meaning and its default", "berth config",
         "Prints a berth.yaml that changes nothing: every key with its meaning and its default. Begin yours with\n"
         "\n"
         "  berth config > berth.yaml"},
        {"doctor", "what this machine lacks, and how to get it", "berth doctor [OPTIONS]",
         "Says what this machine lacks, and how to get it. Its status is 1 when something is missing.",
         {"--data", "--config"}},
        {"down", "stop the server and every sandbox; files stay", "berth down [OPTIONS]",
         "Stops the server and ends every sandbox; files stay. Where no server runs, it ends what DIR records of earlier ones.",
         {"--data", "--config"}},
    };
    return all;
}

Command const* find(std::string const& name) {
    auto const& all = commands();
    auto const at = std::find_if(all.begin(), all.end(), [&](Command const& c) { return c.name == name; });
    return at == all.end() ? nullptr : &*at;
}

/// What an option means, with its value's name.
std::pair<std::string, std::string> meaning(std::string const& option, std::string const& command) {
    if (option == "--data") return {"--data DIR", std::string("where workspaces, records and the token are kept (") + kDefaultData + ")"};
    if (option == "--listen")
        return {"--listen ADDR:PORT", "where to listen, such as [::1]:7777; goes before listen.address and listen.port of --config"};
    if (option == "--config")
        return {"--config FILE", command == "doctor" ? "berth.yaml, whose templates, pools and certificates are looked at too"
                                                     : "berth.yaml; berth config prints one. Without it the defaults hold"};
    if (option == "--servers") return {"--servers FILE", "community MCP servers (DIR/servers.json)"};
    return {"--insecure", "import takes also what asks to run outside any sandbox"};
}

}  // namespace

std::vector<std::string> command_names() {
    std::vector<std::string> out;
    for (auto const& command : commands()) out.emplace_back(command.name);
    return out;
}

std::string help_for(std::string const& name) {
    std::string out;
    auto const* command = find(name);
    if (!command) {
        out = "berth: an MCP server that gives a model Linux workspaces in gVisor sandboxes.\n\n";
        for (auto const& one : commands()) out += "  berth " + padded(one.name, 9) + one.summary + "\n";
        return out + "\nberth COMMAND --help says more of one, with its options; berth --version says which berth this is.\n";
    }
    out = std::string(command->use) + "\n\n" + command->about + "\n";
    for (auto const& option : command->options) {
        auto const [form, text] = meaning(option, name);
        out += (&option == command->options.data() ? "\n  " : "  ") + padded(form, 20) + text + "\n";
    }
    return out;
}

Options parse_command_line(std::vector<std::string> const& words) {
    Options o;
    o.data = kDefaultData;
    std::vector<std::string> given;
    for (std::size_t i = 0; i < words.size(); ++i) {
        auto const& word = words[i];
        if (!word.starts_with("--") && word != "-h") {
            if (o.command.empty()) o.command = word;
            else o.rest.push_back(word);
            continue;
        }
        auto const equals = word.find('=');
        auto const name = word.substr(0, equals);
        bool* const flag = name == "--help" || name == "-h"  ? &o.help
                           : name == "--version"             ? &o.version
                           : name == "--on-demand"           ? &o.on_demand
                           : name == "--insecure"            ? &o.insecure
                                                             : nullptr;
        std::string* const text = name == "--data"      ? &o.data
                                  : name == "--listen"  ? &o.listen
                                  : name == "--config"  ? &o.config
                                  : name == "--servers" ? &o.servers
                                                        : nullptr;
        if (flag) {
            if (equals != word.npos) throw UsageError(name + " takes no value");
            *flag = true;
        } else if (text) {
            if (equals == word.npos && i + 1 == words.size()) throw UsageError(name + " needs a value");
            *text = equals == word.npos ? words[++i] : word.substr(equals + 1);
            if (text->empty()) throw UsageError(name + " needs a value");
        } else {
            throw UsageError("unknown option " + name + ": see berth --help");
        }
        if (name != "--help" && name != "-h" && name != "--version") given.push_back(name);
    }
    if (o.command == "help") {
        o.command = o.rest.empty() ? "" : o.rest.front();
        o.rest.clear();
        o.help = true;
    }
    if (o.command.empty()) return o;
    auto const* command = find(o.command);
    if (!command) throw UsageError("unknown command " + o.command + ": see berth --help");
    if (o.help || o.version) return o;
    auto const see = ": see berth " + o.command + " --help";
    for (auto const& name : given) {
        auto const& takes = command->options;
        bool const ours = name == "--on-demand" && o.command == "serve";    // of berth stdio alone, and so in no help
        if (!ours && std::find(takes.begin(), takes.end(), name) == takes.end())
            throw UsageError("berth " + o.command + " takes no " + name + see);
    }
    if (o.rest.size() > command->max_words) throw UsageError("unexpected argument " + o.rest[command->max_words] + see);
    return o;
}

}  // namespace host
