#include "text.hpp"
#include <base/hash.hpp>
#include <base/syscalls.hpp>
#include <workspace/files.hpp>

#include <fcntl.h>

#include <cerrno>

namespace workspace {
namespace {

using base::errc;
using base::error;

bool disk_full(base::Error const& e) {
    return e.code == boost::system::error_code(ENOSPC, boost::system::system_category());
}

base::Error explain(base::Error e, std::string const& path) {
    if (disk_full(e))
        e.context = path + " was not written: the workspace's disk is full; delete files and try again (" +
                    e.context + ")";
    return e;
}

// A failed append leaves the part that fitted. Takes it off again, unless somebody else wrote behind it.
void undo_append(base::Beneath const& root, std::string const& path, std::string const& before,
                 std::string_view content) {
    auto file = root.open_file(path);
    struct stat st {};
    if (!file || ::fstat(file->get(), &st) < 0) return;
    auto const size = static_cast<std::size_t>(st.st_size);
    if (size <= before.size() || size > before.size() + content.size()) return;
    std::string added(size - before.size(), '\0');
    if (::pread(file->get(), added.data(), added.size(), static_cast<off_t>(before.size())) !=
        static_cast<ssize_t>(added.size()))
        return;
    if (added != content.substr(0, added.size())) return;
    // The same open file for writing; its path may name something else by now.
    auto writable = base::sys::open("/proc/self/fd/" + std::to_string(file->get()), O_WRONLY);
    if (writable) (void)!::ftruncate(writable->get(), static_cast<off_t>(before.size()));
}

}  // namespace

base::Result<Written> write_file(base::Beneath const& root, std::string const& path,
                                 std::string const& content, WriteMode mode,
                                 std::optional<std::string> const& if_sha256) {
    auto const too_large = [&] {
        return error(errc::limit,
                     path + " would be larger than " + std::to_string(kMaxFileBytes >> 20) +
                         " MiB, the most that file tools handle; use a transfer URL or run_command");
    };
    if (content.size() > kMaxFileBytes) return too_large();
    // Links are not followed on the way to a write, so neither here: the file compared is the file replaced.
    auto const there = root.stat(path, false);
    if (!there && !base::is(there.error(), errc::not_found)) return there.error();
    Written out;
    out.created = !there;

    std::string before;
    bool const compare = if_sha256.has_value();
    if (there && there->kind == base::Beneath::Kind::file && (compare || mode == WriteMode::append)) {
        auto bytes = text::read_whole(root, path);
        if (!bytes) return bytes.error();
        before = std::move(*bytes);
    }
    if (compare && (!there || there->kind == base::Beneath::Kind::file))
        if (auto ok = text::expect_sha256(path, there ? &before : nullptr, *if_sha256); !ok)
            return ok.error();

    if (mode == WriteMode::append) {
        if (before.size() + content.size() > kMaxFileBytes) return too_large();
        if (auto ok = root.append(path, content); !ok) {
            if (there)
                undo_append(root, path, before, content);
            else if (disk_full(ok.error()))
                (void)root.remove(path, false);
            return explain(ok.error(), path);
        }
        before += content;
        out.sha256 = base::sha256_hex(before);
        out.bytes = before.size();
        return out;
    }
    if (auto ok = root.replace(path, content); !ok) return explain(ok.error(), path);
    out.sha256 = base::sha256_hex(content);
    out.bytes = content.size();
    return out;
}

}  // namespace workspace
