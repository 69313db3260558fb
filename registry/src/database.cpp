#include "database.hpp"

#include <base/syscalls.hpp>

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <limits>

namespace registry {
namespace {

// quick_check reads every page, about 1 ms per MiB. Up to here it is always worth the certainty; a larger file is checked
// only after an unclean end, the one time at which a write may have been torn by more than the WAL protects from.
constexpr std::uintmax_t kAlwaysCheck = 64 << 20;

std::uintmax_t size_of(std::string const& path) {
    struct stat st {};
    return ::stat(path.c_str(), &st) == 0 ? static_cast<std::uintmax_t>(st.st_size) : 0;
}

}  // namespace

Statement::~Statement() {
    if (!stmt_) return;
    sqlite3_reset(stmt_);
    sqlite3_clear_bindings(stmt_);
}

Statement& Statement::bind(std::string_view text) {
    // An empty view may have a null pointer, which SQLite would bind as NULL.
    sqlite3_bind_text64(stmt_, ++parameter_, text.data() ? text.data() : "", text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
    return *this;
}
Statement& Statement::bind_blob(std::string_view bytes) {
    sqlite3_bind_blob64(stmt_, ++parameter_, bytes.data() ? bytes.data() : "", bytes.size(), SQLITE_TRANSIENT);
    return *this;
}
Statement& Statement::bind(std::int64_t number) {
    sqlite3_bind_int64(stmt_, ++parameter_, number);
    return *this;
}
Statement& Statement::bind(std::uint64_t number) {
    if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) out_of_range_ = true;
    return bind(static_cast<std::int64_t>(number));
}

base::Result<bool> Statement::step() {
    if (out_of_range_) return base::error(base::errc::invalid, "a number is beyond 63 bits");
    if (!stmt_) return db_.failure("prepare a statement");
    column_ = 0;
    switch (sqlite3_step(stmt_)) {
        case SQLITE_ROW: return true;
        case SQLITE_DONE: return false;
        default: return db_.failure("use");
    }
}

base::Status Statement::run() {
    for (;;) {
        auto const row = step();
        if (!row) return row.error();
        if (!*row) return {};
    }
}

std::string Statement::text() {
    int const c = column_++;
    auto const* bytes = static_cast<char const*>(sqlite3_column_blob(stmt_, c));
    return bytes ? std::string(bytes, static_cast<std::size_t>(sqlite3_column_bytes(stmt_, c))) : std::string();
}
std::int64_t Statement::number() { return sqlite3_column_int64(stmt_, column_++); }

base::Result<std::unique_ptr<Database>> Database::open(std::string const& path) {
    bool const existed = size_of(path) > 0;
    bool const unclean = size_of(path + "-wal") > 0;    // an orderly close removes it
    // SQLite gives its side files the mode of this one.
    auto file = base::sys::open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    if (!file) return file.error();
    if (!existed) {
        if (auto s = base::sys::fsync(file->get(), path); !s) return s.error();
        auto const parent = std::filesystem::path(path).parent_path().string();
        auto dir = base::sys::open(parent, O_RDONLY | O_DIRECTORY);
        if (!dir) return dir.error();
        if (auto s = base::sys::fsync(dir->get(), parent); !s) return s.error();
    }
    file->reset();    // before SQLite locks: closing any descriptor of a file drops the process's POSIX locks on it

    sqlite3* raw = nullptr;
    int const rc = sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
    std::unique_ptr<Database> db(new Database(path, raw));
    if (rc != SQLITE_OK) return db->failure("open");
    if (auto s = db->prepare(existed, unclean); !s) return s.error();
    return db;
}

base::Status Database::prepare(bool existed, bool unclean) {
    sqlite3_extended_result_codes(db_, 1);
    sqlite3_busy_timeout(db_, 2'000);    // an operator's sqlite3 shell may hold a lock for a moment
    sqlite3_db_config(db_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
    sqlite3_db_config(db_, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
    // Reads the header, and so finds a file that is no database; replays a WAL that a crash left behind.
    for (auto const* sql : {"PRAGMA schema_version", "PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL",
                            "PRAGMA foreign_keys=ON", "PRAGMA secure_delete=ON", "PRAGMA cell_size_check=ON"})
        if (auto s = execute(sql); !s) return s;
    sqlite3_wal_hook(
        db_,
        [](void* self, sqlite3*, char const*, int pages) {
            static_cast<Database*>(self)->wal_pages_ = pages;
            return SQLITE_OK;
        },
        this);    // this takes the place of the automatic checkpoint
    if (existed && (unclean || size_of(path_) <= kAlwaysCheck)) {
        auto check = statement("PRAGMA quick_check(1)");
        auto const row = check.step();
        if (!row) return row.error();
        auto found = *row ? check.text() : std::string();
        std::replace(found.begin(), found.end(), '\n', ' ');
        if (found != "ok")
            return base::error(base::errc::corrupt, path_ + " is damaged: " + found.substr(0, 200));
    }
    return migrate(*this, path_);
}

Database::~Database() {
    for (auto const& [sql, stmt] : statements_) sqlite3_finalize(stmt);
    sqlite3_close(db_);    // checkpoints and removes the WAL
}

Statement Database::statement(char const* sql) {
    auto& stmt = statements_[sql];
    if (!stmt) sqlite3_prepare_v3(db_, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, nullptr);
    return Statement(*this, stmt);
}

base::Status Database::execute(char const* sql) {
    if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return failure("use");
    return {};
}

base::Status Database::checkpoint() {
    int left = 0, copied = 0;
    int const rc = sqlite3_wal_checkpoint_v2(db_, nullptr, SQLITE_CHECKPOINT_PASSIVE, &left, &copied);
    if (rc != SQLITE_OK && rc != SQLITE_BUSY) return failure("checkpoint");
    wal_pages_ = left - copied;
    return {};
}

base::Error Database::failure(std::string const& what) const {
    int const code = sqlite3_extended_errcode(db_);
    std::string const text = db_ ? sqlite3_errmsg(db_) : "out of memory";
    std::string const where = what + " " + path_;
    switch (code) {
        case SQLITE_CONSTRAINT_UNIQUE:
        case SQLITE_CONSTRAINT_PRIMARYKEY: return base::error(base::errc::exists, text);
        case SQLITE_CONSTRAINT_FOREIGNKEY: return base::error(base::errc::not_found, "the workspace does not exist");
        default: break;
    }
    switch (code & 0xFF) {
        case SQLITE_CONSTRAINT: return base::error(base::errc::invalid, text);
        case SQLITE_TOOBIG: return base::error(base::errc::limit, where + ": " + text);
        case SQLITE_NOTADB: return base::error(base::errc::corrupt, path_ + " is not a registry: " + text);
        case SQLITE_CORRUPT: return base::error(base::errc::corrupt, path_ + " is damaged: " + text);
        case SQLITE_BUSY:
        case SQLITE_LOCKED: return base::error(base::errc::busy, path_ + " is locked by another program");
        case SQLITE_FULL: return base::errno_error(ENOSPC, where);
        case SQLITE_READONLY: return base::errno_error(EROFS, where);
        case SQLITE_NOMEM: return base::errno_error(ENOMEM, where);
        case SQLITE_IOERR:
        case SQLITE_CANTOPEN: {
            int const saved = sqlite3_system_errno(db_);
            return base::errno_error(saved ? saved : EIO, where);
        }
        default: return base::error(base::errc::internal, where + ": " + text);
    }
}

}  // namespace registry
