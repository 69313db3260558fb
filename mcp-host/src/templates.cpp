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

std::string how_to_make(std::string const& name, std::string const& directory) {
    if (name != "base" && name != "notebook") return "docs/config.md says at templates_dir how to make one";
    auto const where = directory == config::Settings{}.templates_dir ? "" : "BERTH_TEMPLATES=" + directory + " ";
    return "make it with " + where + "scripts/setup-template" + (name == "base" ? "" : " " + name);
}

base::Status check_templates(config::Settings const& settings, std::map<std::string, sandbox::Template> const& there) {
    auto const missing = [&](std::string const& key, std::string const& name) -> base::Status {
        if (there.contains(name) || !settings.given(key)) return {};
        std::string names;
        for (auto const& [known, image] : there) names += (names.empty() ? "" : ", ") + known;
        return base::error(base::errc::invalid, settings.where(key) + "there is no template named " + name + " in " +
                                                    settings.templates_dir + ", which holds " + (names.empty() ? "none" : names) +
                                                    ": " + how_to_make(name, settings.templates_dir));
    };
    if (auto s = missing("default_template", settings.default_template); !s) return s;
    for (auto const& [name, pool] : settings.pools)
        if (auto s = missing("pools." + name, name); !s) return s;
    for (auto const& name : settings.native.templates)
        if (auto s = missing("native.templates", name); !s) return s;
    return {};
}

}  // namespace host
