#include "tool_search.hpp"

#include <sqlite3.h>

#include <cctype>
#include <stdexcept>

namespace servers {
namespace {

constexpr std::size_t kMaxWords = 24, kMaxWord = 64;

struct Prepared {
    Prepared(sqlite3* db, char const* sql) {
        if (sqlite3_prepare_v2(db, sql, -1, &statement, nullptr) != SQLITE_OK) statement = nullptr;
    }
    ~Prepared() { sqlite3_finalize(statement); }
    Prepared(Prepared const&) = delete;
    Prepared& operator=(Prepared const&) = delete;
    sqlite3_stmt* statement = nullptr;
};

void bind_text(sqlite3_stmt* s, int at, std::string const& text) {
    sqlite3_bind_text(s, at, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
}

/// snake_case, kebab-case and camelCase as words of their own.
std::string as_words(std::string const& name) {
    std::string out;
    for (std::size_t i = 0; i < name.size(); ++i) {
        auto const c = static_cast<unsigned char>(name[i]);
        if (i > 0 && std::isupper(c) && std::islower(static_cast<unsigned char>(name[i - 1]))) out += ' ';
        out += std::isalnum(c) || c >= 0x80 ? static_cast<char>(c) : ' ';
    }
    return out;
}

/// Each word as a quoted prefix, joined by OR: nothing of FTS5's own query language gets through.
std::string match_of(std::string const& query) {
    std::string out, word;
    std::size_t words = 0;
    auto const end_word = [&] {
        if (!word.empty() && words < kMaxWords) {
            out += (out.empty() ? "\"" : " OR \"") + word.substr(0, kMaxWord) + "\"*";
            ++words;
        }
        word.clear();
    };
    for (char const c : as_words(query)) {
        if (c == ' ')
            end_word();
        else
            word += c;
    }
    end_word();
    return out;
}

}  // namespace

ToolSearch::ToolSearch() {
    if (sqlite3_open(":memory:", &db_) != SQLITE_OK ||
        sqlite3_exec(
            db_,
            "CREATE VIRTUAL TABLE tools USING fts5(name UNINDEXED, words, description, arguments, server,"
            " tokenize = 'porter unicode61')",
            nullptr, nullptr, nullptr) != SQLITE_OK) {
        std::string const why = sqlite3_errmsg(db_);
        sqlite3_close(db_);
        throw std::runtime_error("tool search: " + why);
    }
}

ToolSearch::~ToolSearch() { sqlite3_close(db_); }

void ToolSearch::fill(std::vector<Document> const& documents) {
    sqlite3_exec(db_, "BEGIN; DELETE FROM tools", nullptr, nullptr, nullptr);
    {
        Prepared const insert(
            db_, "INSERT INTO tools (name, words, description, arguments, server) VALUES (?, ?, ?, ?, ?)");
        for (auto const& d : documents) {
            if (!insert.statement) break;
            bind_text(insert.statement, 1, d.name);
            bind_text(insert.statement, 2, as_words(d.name));
            bind_text(insert.statement, 3, d.description);
            bind_text(insert.statement, 4, d.arguments);
            bind_text(insert.statement, 5, as_words(d.server));
            sqlite3_step(insert.statement);
            sqlite3_reset(insert.statement);
        }
    }
    sqlite3_exec(db_, "COMMIT", nullptr, nullptr, nullptr);
}

std::vector<std::string> ToolSearch::find(std::string const& query, std::size_t limit) const {
    std::vector<std::string> out;
    auto const match = match_of(query);
    if (match.empty()) return out;
    Prepared const select(
        db_, "SELECT name FROM tools WHERE tools MATCH ? ORDER BY bm25(tools, 0, 10, 4, 1, 3), name LIMIT ?");
    if (!select.statement) return out;
    bind_text(select.statement, 1, match);
    sqlite3_bind_int64(select.statement, 2, static_cast<sqlite3_int64>(limit));
    while (sqlite3_step(select.statement) == SQLITE_ROW)
        out.emplace_back(reinterpret_cast<char const*>(sqlite3_column_text(select.statement, 0)));
    return out;
}

std::string argument_text(base::Json const& definition) {
    std::string out;
    auto const schema = definition.find("inputSchema");
    if (schema == definition.end() || !schema->is_object()) return out;
    auto const properties = schema->find("properties");
    if (properties == schema->end() || !properties->is_object()) return out;
    for (auto const& [name, property] : properties->items()) {
        out += as_words(name) + ' ';
        if (property.is_object())
            if (auto const d = property.find("description"); d != property.end() && d->is_string())
                out += d->get<std::string>().substr(0, 200) + ' ';
    }
    return out;
}

}  // namespace servers
