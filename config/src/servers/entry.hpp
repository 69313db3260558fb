#pragma once
#include "expand.hpp"
#include "json_node.hpp"

#include <functional>
#include <set>
#include <string>
#include <vector>

namespace config::servers_json {

/// Reads one entry: finds mistakes, remembers what stood where.
class EntryReader {
  public:
    EntryReader(ServerEntry& into, Scope const& known, std::string file)
        : entry(into), scope(known), file_(std::move(file)) {}

    ServerEntry& entry;
    Scope const& scope;
    std::string dialect;  ///< "" = ours
    bool enabled_said = false, disabled_said = false;
    bool kind_said = false;
    std::string bearer_variable;
    /// What the entry refuses, for the end: a list that allows it may stand below.
    struct Refused {
        int line;
        std::string key, text;
    };
    std::vector<Refused> refused;

    /// The first mistake stands.
    void mistake(int line, std::string const& key, std::string const& expected);
    void note(int line, std::string const& text);
    bool failed() const { return !entry.problem.empty(); }

    // Typed values; a wrong type is a mistake and reads as a default. `expanded` replaces ${...}.
    std::string text(JsonNode const&, std::string const& key);
    HiddenValue hidden(JsonNode const&, std::string const& key, std::string const& name);
    bool flag(JsonNode const&, std::string const& key);
    std::int64_t whole(JsonNode const&, std::string const& key, std::int64_t min, std::int64_t max);
    double fraction(JsonNode const&, std::string const& key, double min, double max);
    std::vector<std::string> texts(JsonNode const&, std::string const& key);
    std::map<std::string, std::string> text_map(JsonNode const&, std::string const& key);

  private:
    std::string file_;
};

/// One key of an entry. `name` is dotted below "sandbox" and "tools".
struct EntryKey {
    std::string name;
    std::vector<std::string> aliases;
    std::string unit, default_value, meaning;
    std::function<void(EntryReader&, JsonNode const&, std::string const& key)> read;
};
std::vector<EntryKey> const& entry_keys();
std::vector<EntryKey> oauth_keys();  ///< those of them that begin with "oauth."

/// A refusal that something allowed opens is a mistake, whichever stands first.
void check_refused(EntryReader& reader);

/// Reads every key of `node` into the reader's entry, then checks what several keys say together.
void read_entry(EntryReader& reader, JsonNode const& node);

}  // namespace config::servers_json
