#include "templates.hpp"

#include <base/files.hpp>

#include <filesystem>

namespace host {

std::map<std::string, sandbox::Template> templates_in(std::string const& directory) {
    std::map<std::string, sandbox::Template> out;
    std::error_code ec;
    for (auto const& entry : std::filesystem::directory_iterator(directory, ec)) {
        auto const name = entry.path().filename().string();
        std::error_code unreadable;
        if (name.starts_with(".") || !std::filesystem::is_directory(entry.path() / "rootfs", unreadable)) continue;
        auto stamp = base::read_file((entry.path() / "stamp").string(), 4096);
        out[name] = {name, (entry.path() / "rootfs").string(), stamp ? *stamp : ""};
    }
    return out;
}

}  // namespace host
