#pragma once
#include <base/json.hpp>

#include <memory>
#include <string>
#include <vector>

struct sqlite3;

namespace servers {

/// Full-text search over tools (SQLite FTS5 in memory, BM25): names, descriptions and argument names, names
/// counting most.
class ToolSearch {
  public:
    struct Document {
        std::string name, server, description, arguments;
    };
    ToolSearch();
    ~ToolSearch();
    ToolSearch(ToolSearch const&) = delete;
    ToolSearch& operator=(ToolSearch const&) = delete;

    void fill(std::vector<Document> const& documents);
    /// Names, best first. Every word of `query` counts, none is needed.
    std::vector<std::string> find(std::string const& query, std::size_t limit) const;

  private:
    sqlite3* db_ = nullptr;
};

/// Names and descriptions of a tool's arguments, as one text.
std::string argument_text(base::Json const& definition);

}  // namespace servers
