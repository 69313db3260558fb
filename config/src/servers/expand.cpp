#include "expand.hpp"

#include <base/syscalls.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cstdlib>

namespace config {
namespace servers_json {
namespace {

constexpr std::size_t kMaxSecretFile = 64 * 1024;

bool variable_name(std::string_view name) {
    if (name.empty() || std::isdigit(static_cast<unsigned char>(name[0]))) return false;
    for (char const c : name)
        if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_') return false;
    return true;
}

/// Any shell can export it, whatever characters the id has.
std::string variable_of_input(std::string const& id) {
    std::string out = "BERTH_INPUT_";
    for (unsigned char const c : id) out += std::isalnum(c) ? static_cast<char>(std::toupper(c)) : '_';
    return out;
}

/// The value of what stands between the braces, or nothing and a problem. `from` gets the name of where it was found
/// outside the file.
std::optional<std::string> look_up(std::string const& what, Scope const& scope, std::string& from, std::string& problem) {
    auto const variable = [&](std::string const& name) { return scope.variables.environment(name); };
    if (what == "userHome") return variable("HOME").value_or("/root");
    if (what == "pathSeparator" || what == "/") return "/";
    if (what.starts_with("workspaceFolder"))
        return what == "workspaceFolderBasename" ? "workspace" : "/workspace";
    if (what.starts_with("file:")) {
        auto text = scope.variables.file(what.substr(5));
        if (!text) {
            problem = "a file that can be read in ${" + what + "} (" + text.error().message() + ")";
            return std::nullopt;
        }
        while (!text->empty() && (text->back() == '\n' || text->back() == '\r')) text->pop_back();
        from = what;
        return *text;
    }
    if (what.starts_with("input:")) {
        auto const id = what.substr(6);
        auto const called = variable_of_input(id), as_written = "BERTH_INPUT_" + id;
        auto given = variable(called);
        if (!given && as_written != called && variable_name(as_written)) given = variable(as_written);
        if (given) {
            from = what;
            return given;
        }
        auto const it = scope.inputs.find(id);
        if (it != scope.inputs.end() && !it->second.empty()) return it->second;
        problem = it == scope.inputs.end()
                      ? "an entry of \"inputs\" with the id " + id
                      : "a value for the input " + id +
                            ": nobody can be asked here, so set the variable " + called +
                            " or give the input a default";
        return std::nullopt;
    }
    auto name = what.starts_with("env:") ? what.substr(4) : what;
    std::optional<std::string> otherwise;
    if (auto const at = name.find(":-"); at != name.npos) {
        otherwise = name.substr(at + 2);
        name.resize(at);
    }
    if (!variable_name(name)) {
        problem = "a variable's name in ${" + what.substr(0, 60) + "}";
        return std::nullopt;
    }
    auto found = variable(name);
    if (found && !(otherwise && found->empty())) {
        from = name;
        return found;
    }
    if (otherwise) return otherwise;
    problem = "the environment variable " + name + " to be set where berth runs, or ${" + name + ":-default}";
    return std::nullopt;
}

}  // namespace

Expanded expand(std::string const& text, Scope const& scope) {
    Expanded out;
    for (std::size_t at = 0; at < text.size();) {
        if (text[at] != '$') {
            out.text += text[at++];
            continue;
        }
        std::string what;
        std::size_t next = at + 1;
        if (text.compare(at, 3, "$${") == 0) {
            out.text += "${";
            at += 3;
            continue;
        }
        if (next < text.size() && text[next] == '{') {
            auto const close = text.find('}', next);
            if (close == text.npos) {
                out.problem = "a closing brace after ${";
                return out;
            }
            what = text.substr(next + 1, close - next - 1);
            next = close + 1;
        } else if (scope.bare_names) {
            while (next < text.size() &&
                   (std::isalnum(static_cast<unsigned char>(text[next])) || text[next] == '_'))
                what += text[next++];
        }
        if (what.empty()) {
            out.text += text[at++];
            continue;
        }
        std::string from;
        auto const value = look_up(what, scope, from, out.problem);
        if (!value) return out;
        out.text += *value;
        if (!from.empty()) out.values[from] = *value;
        bool const harmless = what == "userHome" || what == "pathSeparator" || what == "/" ||
                              what.starts_with("workspaceFolder");
        out.from_outside |= !harmless;
        at = next;
    }
    return out;
}

}  // namespace servers_json

ServerVariables process_variables() {
    ServerVariables out;
    out.environment = [](std::string const& name) -> std::optional<std::string> {
        auto const* value = std::getenv(name.c_str());
        return value ? std::optional<std::string>(value) : std::nullopt;
    };
    // As servers.json itself: what it holds decides what runs, or is a secret. A pipe must not make berth wait.
    out.file = [](std::string const& path) -> base::Result<std::string> {
        auto const fd = base::sys::open(path, O_RDONLY | O_NONBLOCK);
        if (!fd) return fd.error();
        struct stat st {};
        if (::fstat(fd->get(), &st) != 0) return base::errno_error("look at " + path);
        if (!S_ISREG(st.st_mode)) return base::error(base::errc::denied, path + " is no regular file");
        if ((st.st_uid != 0 && st.st_uid != ::geteuid()) || (st.st_mode & 022))
            return base::error(base::errc::denied,
                               path + " can be written by others: chown it to root and run chmod go-w on it");
        return base::sys::read_all(fd->get(), servers_json::kMaxSecretFile, "read " + path);
    };
    return out;
}

}  // namespace config
