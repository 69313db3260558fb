#include "distance.hpp"
#include "keys.hpp"

#include <base/files.hpp>
#include <base/json.hpp>

#include <yaml-cpp/eventhandler.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

namespace config {
namespace {

constexpr std::size_t kMaxBytes = 1 << 20;

std::string nearest(std::string const& key) {
    auto const& all = keys();
    auto const best = std::min_element(all.begin(), all.end(), [&](Key const& a, Key const& b) {
        return distance(key, a.name) < distance(key, b.name);
    });
    return best->name;
}

// A key as it stands in the table, "" for `entry` unless a name of the operator's own is part of it.
struct Pattern {
    std::string name, entry;
};
Pattern pattern_of(std::string const& path) {
    static std::string const prefix = "pools.";
    if (!path.starts_with(prefix)) return {path, ""};
    // A template's name may hold dots, so its end is the last one; a section has none.
    auto const dot = path.rfind('.');
    if (dot < prefix.size()) return {"pools.NAME", path.substr(prefix.size())};
    return {"pools.NAME" + path.substr(dot), path.substr(prefix.size(), dot - prefix.size())};
}

// Counts documents, and keeps where the second one begins.
class Documents final : public YAML::EventHandler {
  public:
    void OnDocumentStart(YAML::Mark const& mark) override {
        if (++count == 2) second_line = mark.line + 1;
    }
    void OnDocumentEnd() override {}
    void OnNull(YAML::Mark const&, YAML::anchor_t) override {}
    void OnAlias(YAML::Mark const&, YAML::anchor_t) override {}
    void OnScalar(YAML::Mark const&, std::string const&, YAML::anchor_t, std::string const&) override {}
    void OnSequenceStart(YAML::Mark const&, std::string const&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
    void OnSequenceEnd() override {}
    void OnMapStart(YAML::Mark const&, std::string const&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
    void OnMapEnd() override {}

    int count = 0, second_line = 1;
};

class Loader {
  public:
    explicit Loader(std::string name) : name_(std::move(name)) {}

    base::Result<Settings> load(std::string const& text) {
        // Two steps at most: yaml-cpp 0.7's LoadAll never ends on text such as ",0", of which no document takes anything.
        std::istringstream stream(text);
        YAML::Parser parser(stream);
        Documents documents;
        while (documents.count < 2 && parser.HandleNextDocument(documents)) {}
        if (documents.count > 1) return fail(documents.second_line, "", "expected one document");
        YAML::Node const root = YAML::Load(text);
        if (!root.IsNull()) {
            if (!root.IsMap()) return fail(line_of(root), "", "expected keys with values");
            if (auto status = section("", root); !status) return status.error();
        }
        for (auto& [name, pool] : settings_.pools)
            if (!lines_.contains("pools." + name + ".awake")) pool.awake = std::min(pool.awake, pool.ready);
        settings_.file = name_;
        settings_.lines = lines_;
        if (auto const finding = check(settings_))
            return fail(blamed_line(finding->key), finding->key, finding->expected);
        return std::move(settings_);
    }

    base::Error fail(int line, std::string const& key, std::string const& expected) const {
        auto where = name_ + ":" + std::to_string(std::max(line, 1)) + ": " + (key.empty() ? "" : key + ": ") + expected;
        return base::error(base::errc::invalid, base::to_utf8(where));
    }

  private:
    static int line_of(YAML::Node const& node) { return node.Mark().line + 1; }

    int blamed_line(std::string key) const {
        for (;;) {
            if (auto const at = lines_.find(key); at != lines_.end()) return at->second;
            auto const dot = key.rfind('.');
            if (dot == key.npos) return 1;    // only a default to blame
            key.resize(dot);
        }
    }

    // Sections are those that a key of the table begins with; below "pools" any name opens one.
    static bool is_section(std::string const& pattern) {
        auto const& all = keys();
        return std::any_of(all.begin(), all.end(), [&](Key const& k) { return k.name.starts_with(pattern + "."); });
    }

    base::Status section(std::string const& prefix, YAML::Node const& map) {
        std::set<std::string> seen;
        for (auto const& item : map) {
            int const line = line_of(item.first);
            if (!item.first.IsScalar()) return fail(line, prefix, "expected a plain key");
            std::string const name = item.first.Scalar();
            std::string const path = prefix.empty() ? name : prefix + "." + name;
            if (!seen.insert(name).second) return fail(line, path, "this key stands here twice");
            if (auto status = entry(prefix, name, path, item.second, line); !status) return status;
        }
        return {};
    }

    base::Status entry(std::string const& prefix, std::string const& name, std::string const& path,
                       YAML::Node const& node, int line) {
        bool const template_name = prefix == "pools";
        Pattern const known = template_name ? Pattern{"pools.NAME", name} : pattern_of(path);
        if (prefix.empty() && name.find('.') != name.npos) return unknown(line, path);
        if (template_name)
            if (auto const problem = check_name(name); !problem.empty()) return fail(line, path, problem);

        lines_.emplace(path, line);
        if (is_section(known.name)) {
            if (path == "pools") settings_.pools.clear();
            if (template_name) settings_.pools[name];
            if (node.IsNull()) return {};    // every key below it is commented out
            if (!node.IsMap()) return fail(line, path, "expected keys with values below it");
            return section(path, node);
        }
        auto const& all = keys();
        auto const key = std::find_if(all.begin(), all.end(), [&](Key const& k) { return k.name == known.name; });
        if (key == all.end()) return unknown(line, path);
        int at = 0;
        auto const problem = key->read(settings_, node, known.entry, at);
        return problem.empty() ? base::Status() : base::Status(fail(at ? at : line, path, problem));
    }

    base::Error unknown(int line, std::string const& path) const {
        return fail(line, path.substr(0, 100), "there is no such key; the nearest is " + nearest(path));
    }

    std::string name_;
    Settings settings_;
    std::map<std::string, int> lines_;    // of every key in the file
};

}  // namespace

std::string toolset_names() {
    std::string all;
    for (auto const name : kToolsets) all.append(all.empty() ? "" : ", ").append(name);
    return all;
}

std::string Settings::where(std::string const& key) const {
    auto const at = lines.find(key);
    return (at == lines.end() ? "" : file + ":" + std::to_string(at->second) + ": ") + key + ": ";
}

base::Result<Settings> parse_settings(std::string const& text, std::string const& name) {
    Loader loader(name);
    if (text.size() > kMaxBytes) return loader.fail(1, "", "expected at most 1 MiB");
    // yaml-cpp takes other bytes as they are and would show them in messages.
    if (!base::valid_utf8(text)) return loader.fail(1, "", "expected UTF-8");
    try {
        return loader.load(text);
    } catch (YAML::Exception const& e) {
        return loader.fail(e.mark.is_null() ? 1 : e.mark.line + 1, "", "not valid YAML: " + e.msg);
    }
}

base::Result<Settings> load_settings(std::optional<std::string> const& path) {
    if (!path) return Settings{};
    auto const text = base::read_file(*path, kMaxBytes);
    if (!text) return base::wrap(text.error(), "read the settings");
    return parse_settings(*text, *path);
}

}  // namespace config
