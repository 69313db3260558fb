#pragma once
#include <base/result.hpp>

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

namespace registry {

class Database;

/// A prepared statement borrowed from its connection for one use: reset with its bindings cleared at the end.
class Statement {
  public:
    Statement(Statement const&) = delete;
    Statement& operator=(Statement const&) = delete;
    ~Statement();

    // Parameters in order. Text and blobs are copied.
    Statement& bind(std::string_view text);
    Statement& bind_blob(std::string_view bytes);
    Statement& bind(std::int64_t number);
    Statement& bind(std::uint64_t number);    ///< at most INT64_MAX, else `step` answers errc::invalid
    Statement& bind(int number) { return bind(static_cast<std::int64_t>(number)); }
    Statement& bind(bool flag) { return bind(static_cast<std::int64_t>(flag)); }

    /// True when there is a row.
    base::Result<bool> step();
    /// For a statement without rows.
    base::Status run();

    // Columns of the current row, in order.
    std::string text();
    std::int64_t number();
    std::uint64_t natural() { return static_cast<std::uint64_t>(number()); }

  private:
    friend class Database;
    Statement(Database& db, sqlite3_stmt* stmt) : db_(db), stmt_(stmt) {}
    Database& db_;
    sqlite3_stmt* stmt_;    ///< null when it could not be prepared
    int parameter_ = 0, column_ = 0;
    bool out_of_range_ = false;
};

/// The one connection. Threads: one at a time.
class Database {
  public:
    /// Opens or creates `path` (0600), refuses what is damaged, foreign or newer, and brings an older one up to date.
    static base::Result<std::unique_ptr<Database>> open(std::string const& path);
    ~Database();

    /// Kept prepared for the connection's life. `sql` must be a literal: its address is the key.
    Statement statement(char const* sql);
    base::Status execute(char const* sql);
    int changes() const { return sqlite3_changes(db_); }
    /// False once SQLite has rolled back by itself, as it does when the disk is full.
    bool in_transaction() const { return sqlite3_get_autocommit(db_) == 0; }

    /// Pages in the WAL that no checkpoint has copied yet.
    int wal_pages() const { return wal_pages_; }
    /// Copies them back; the next writer starts the WAL anew.
    base::Status checkpoint();

    /// The last failure as an error of ours.
    base::Error failure(std::string const& what) const;

  private:
    Database(std::string path, sqlite3* db) : path_(std::move(path)), db_(db) {}
    base::Status prepare(bool existed, bool unclean);

    std::string path_;
    sqlite3* db_;
    std::unordered_map<char const*, sqlite3_stmt*> statements_;
    int wal_pages_ = 0;
};

/// Creates the tables or brings those of an older version up to date, in one transaction.
base::Status migrate(Database&, std::string const& path);

}  // namespace registry
