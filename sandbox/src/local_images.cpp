// Images as directories of the local disk. What stands under its name is whole: it was renamed there, sealed and flushed.
//
// Pages may be kept packed with zstd, in frames of a piece each. The runtime reads plain files, so a packed one is unpacked
// beside it before each wake, while its pieces are checked; that file goes as soon as nobody needs the opened image. So does
// that of a confidential image, which is plain text for as long as the runtime reads it. Pages of zeros cost nothing either
// way: they are holes.
#include "image_seal.hpp"

#include <base/files.hpp>
#include <base/syscalls.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <set>

namespace sandbox {

using base::errc;
using base::error;

namespace {

constexpr char const* kAside = ".aside";
constexpr std::size_t kSaltBytes = 16;
constexpr std::size_t kMinKey = 32;
constexpr std::size_t kCheckers = 2;             // threads that verify one image
constexpr std::size_t kMaxName = 64;

bool valid_name(std::string const& name) {
    return !name.empty() && name.size() <= kMaxName && std::all_of(name.begin(), name.end(), [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
           });
}

base::Status check_names(ImageRef const& ref) {
    if (valid_name(ref.workspace_id) && valid_name(ref.image_id)) return {};
    return error(errc::invalid, "not the name of an image: " + ref.workspace_id + "/" + ref.image_id);
}

std::int64_t unix_ms() {
    return std::chrono::duration_cast<base::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

base::Status flush(std::string const& path, int flags) {
    auto fd = base::sys::open(path, flags);
    if (!fd) return fd.error();
    return base::sys::fsync(fd->get(), "flush " + path);
}

struct Weight {
    std::uint64_t bytes = 0;                     // allocated, each file once however many names it has
    int images = 0;

    Weight& operator+=(Weight const& more) {
        bytes += more.bytes;
        images += more.images;
        return *this;
    }
    Weight& operator-=(Weight const& less) {
        bytes -= std::min(bytes, less.bytes);
        images -= std::min(images, less.images);
        return *this;
    }
};

class LocalStore final : public ImageStore, public std::enable_shared_from_this<LocalStore> {
  public:
    LocalStore(base::BlockingPool& pool, LocalImages options) : pool_(pool), options_(std::move(options)) {}

    base::Status prepare() {
        if (options_.key.reveal().size() < kMinKey) return error(errc::invalid, "the images' key is too short");
        std::error_code ec;
        std::filesystem::create_directories(options_.directory, ec);
        if (ec) return error(errc::unavailable, options_.directory + ": " + ec.message());
        if (::chmod(options_.directory.c_str(), 0700) != 0) return base::errno_error("chmod " + options_.directory);
        if (auto s = base::sys::mkdir(aside(), 0700); !s) return s;
        weight_ = weigh();
        return {};
    }

    base::Task<base::Result<ImageDraft>> begin(ImageRef ref, std::uint64_t expected) override {
        if (auto s = check_names(ref); !s) co_return s.error();
        if (expected > options_.max_bytes || weight_.bytes + reserved_ > options_.max_bytes - expected)
            co_return error(errc::limit, "memory images may take " + mebibytes(options_.max_bytes) + " of this node, and " +
                                             mebibytes(weight_.bytes + reserved_) + " are in use: no room for " +
                                             mebibytes(expected) + " more");
        struct statvfs disk{};
        if (::statvfs(options_.directory.c_str(), &disk) != 0) co_return base::errno_error("statvfs " + options_.directory);
        auto const free = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
        if (free < expected + reserved_ + options_.keep_free)
            co_return error(errc::limit, "the disk has " + mebibytes(free) + " left: no room for a memory image of " +
                                             mebibytes(expected));
        ImageDraft draft;
        draft.ref = std::move(ref);
        draft.directory = aside() + "/" + base::random_id();
        if (auto s = base::sys::mkdir(draft.directory, 0700); !s) co_return s.error();
        draft.reserved = expected;
        reserved_ += expected;
        co_return draft;
    }

    base::Task<base::Result<ImageInfo>> publish(ImageDraft draft, ImageFacts facts) override {
        auto const self = shared_from_this();
        auto work = [self, draft, facts = std::move(facts)]() -> base::Result<std::pair<ImageInfo, Weight>> {
            seal::Manifest m;
            m.info.ref = draft.ref;
            m.info.facts = facts;
            m.salt = base::random_bytes(kSaltBytes);
            bool const packed = self->options_.compression == Compression::zstd && !draft.short_lived;
            auto const form = draft.confidential ? seal::Form::enciphered : packed ? seal::Form::packed : seal::Form::plain;
            auto files = seal::tag_files(draft.directory, self->options_.key, m.salt, form);
            if (!files) return files.error();
            if (files->empty()) return error(errc::invalid, "an image without files");
            m.files = std::move(*files);
            auto info = self->settle(draft.directory, std::move(m));
            if (!info) return info.error();
            return std::pair(*info, weight_of(self->path(draft.ref)));
        };
        auto info = co_await base::blocking(pool_, std::move(work));
        if (!info) {
            co_await discard(draft);
            co_return info.error();
        }
        forget(draft);
        weight_ += info->second;
        co_return std::move(info->first);
    }

    base::Task<void> discard(ImageDraft draft) override {
        auto const self = shared_from_this();
        forget(draft);
        auto work = [directory = draft.directory] { return base::remove_tree(directory); };
        (void)co_await base::blocking(pool_, std::move(work));
    }

    base::Task<base::Result<OpenImage>> open(ImageRef ref, ImageFacts here) override {
        auto const self = shared_from_this();
        if (auto s = check_names(ref); !s) co_return s.error();
        auto look = [self, ref, here = std::move(here)]() -> base::Result<seal::Manifest> {
            auto const directory = self->path(ref);
            auto m = seal::read(directory, self->options_.key);
            if (!m) return m.error();
            auto const& found = m->info.ref;
            if (found.workspace_id != ref.workspace_id || found.image_id != ref.image_id)
                return error(image_errc::not_ours, "the memory image is another one's, put in this place");
            if (found.generation != ref.generation)
                return error(image_errc::not_ours, "the memory image is of generation " + std::to_string(found.generation) +
                                                       ", recorded is " + std::to_string(ref.generation));
            if (auto s = check_image(m->info.facts, here); !s) return s.error();
            return m;
        };
        auto found = co_await base::blocking(pool_, std::move(look));
        if (!found) co_return found.error();
        auto const m = std::make_shared<seal::Manifest const>(std::move(*found));
        OpenImage image;
        image.info = m->info;
        image.directory = path(ref);
        std::string unpacked;
        if (std::any_of(m->files.begin(), m->files.end(), [](auto const& f) { return f.is_packed(); })) {
            unpacked = aside() + "/" + base::random_id();
            image.directory = unpacked;
            image.keeps = lend(unpacked, m->info.bytes);
            auto prepare = [self, m, ref, unpacked] { return self->prepare_unpacked(*m, self->path(ref), unpacked); };
            auto prepared = co_await base::blocking(pool_, std::move(prepare));
            if (!prepared) co_return prepared.error();
        }
        auto check = [self, m, ref, unpacked](std::size_t part) {
            return [self, m, ref, unpacked, part] {
                return seal::check(self->path(ref), *m, self->options_.key, unpacked, part, kCheckers);
            };
        };
        using namespace asio::experimental::awaitable_operators;
        auto first = base::blocking(pool_, check(0));
        auto second = base::blocking(pool_, check(1));
        auto both = std::move(first) && std::move(second);
        auto const [one, other] = co_await std::move(both);
        for (auto const* result : {&one, &other})
            if (!*result) co_return result->error();
        co_return image;
    }

    base::Task<base::Result<ImageInfo>> clone(ImageRef from, ImageRef to) override {
        auto const self = shared_from_this();
        for (auto const* ref : {&from, &to})
            if (auto s = check_names(*ref); !s) co_return s.error();
        auto work = [self, from, to]() -> base::Result<std::pair<ImageInfo, Weight>> {
            auto m = seal::read(self->path(from), self->options_.key);
            if (!m) return m.error();
            auto const& found = m->info.ref;
            if (found.workspace_id != from.workspace_id || found.image_id != from.image_id ||
                found.generation != from.generation)
                return error(image_errc::not_ours, "the memory image to copy is not the recorded one");
            auto const directory = self->aside() + "/" + base::random_id();
            if (auto s = base::sys::mkdir(directory, 0700); !s) return s.error();
            // Nobody writes to the files of a published image, so one set serves all. Their tags do not name their image.
            for (auto const& file : m->files)
                if (::link((self->path(from) + "/" + file.stored()).c_str(), (directory + "/" + file.stored()).c_str()) != 0) {
                    auto const failed = base::errno_error("link " + file.stored());
                    (void)base::remove_tree(directory);
                    return failed;
                }
            m->info.ref = to;
            auto info = self->settle(directory, std::move(*m));
            if (!info) {
                (void)base::remove_tree(directory);
                return info.error();
            }
            return std::pair(*info, weight_of(self->path(to)));
        };
        auto info = co_await base::blocking(pool_, std::move(work));
        if (!info) co_return info.error();
        weight_ += info->second;
        co_return std::move(info->first);
    }

    base::Task<base::Status> remove(std::string workspace_id, std::string image_id) override {
        auto const self = shared_from_this();
        ImageRef ref;
        ref.workspace_id = std::move(workspace_id);
        ref.image_id = std::move(image_id);
        if (auto s = check_names(ref); !s) co_return s;
        auto work = [self, ref] { return self->take_away(self->path(ref), self->home(ref.workspace_id)); };
        auto removed = co_await base::blocking(pool_, std::move(work));
        if (!removed) co_return removed.error();
        weight_ -= *removed;
        co_return base::Status();
    }

    base::Task<base::Status> remove_workspace(std::string workspace_id) override {
        auto const self = shared_from_this();
        if (!valid_name(workspace_id)) co_return error(errc::invalid, "not a workspace's name: " + workspace_id);
        auto work = [self, workspace_id] { return self->take_away(self->home(workspace_id), {}); };
        auto removed = co_await base::blocking(pool_, std::move(work));
        if (!removed) co_return removed.error();
        weight_ -= *removed;
        co_return base::Status();
    }

    base::Task<base::Result<std::vector<ImageInfo>>> list(std::string workspace_id) override {
        auto const self = shared_from_this();
        auto work = [self, workspace_id] {
            std::vector<ImageInfo> out;
            self->each_image([&](std::string const& workspace, std::string const& directory) {
                if (!workspace_id.empty() && workspace != workspace_id) return;
                if (auto m = seal::read(directory, self->options_.key)) out.push_back(std::move(m->info));
            });
            return out;
        };
        auto all = co_await base::blocking(pool_, std::move(work));
        co_return all;
    }

    base::Task<base::Result<int>> sweep() override {
        auto const self = shared_from_this();
        auto work = [self]() -> base::Result<int> {
            int removed = 0;
            std::error_code ec;
            for (std::filesystem::directory_iterator it(self->aside(), ec), end; !ec && it != end; it.increment(ec)) {
                if (auto s = base::remove_tree(it->path()); !s) return s.error();
                ++removed;
            }
            return removed;
        };
        auto removed = co_await base::blocking(pool_, std::move(work));
        co_await refresh();
        co_return removed;
    }

    Use use() const override { return {weight_.bytes + reserved_, options_.max_bytes, weight_.images}; }

  private:
    std::string aside() const { return options_.directory + "/" + kAside; }
    std::string home(std::string const& workspace) const { return options_.directory + "/" + workspace; }
    std::string path(ImageRef const& ref) const { return home(ref.workspace_id) + "/" + ref.image_id; }
    static std::string mebibytes(std::uint64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

    void forget(ImageDraft const& draft) { reserved_ -= std::min(reserved_, draft.reserved); }

    // On the pool. The plain files as they are, and empty ones for those to unpack.
    base::Status prepare_unpacked(seal::Manifest const& m, std::string const& from, std::string const& to) const {
        if (auto s = base::sys::mkdir(to, 0700); !s) return s;
        for (auto const& file : m.files) {
            auto const place = to + "/" + file.name;
            if (!file.is_packed()) {
                if (::link((from + "/" + file.name).c_str(), place.c_str()) == 0) continue;
                if (errno == ENOENT) return error(image_errc::damaged, "the memory image's " + file.name + " is missing");
                return base::errno_error("link " + place);
            }
            auto fd = base::sys::open(place, O_WRONLY | O_CREAT | O_EXCL, 0600);
            if (!fd) return fd.error();
            if (::ftruncate(fd->get(), static_cast<off_t>(file.size)) != 0) return base::errno_error("size " + place);
        }
        return {};
    }

    // A directory that goes, and its bytes with it, when nobody holds what is returned. What a crash leaves, `sweep` removes.
    std::shared_ptr<void const> lend(std::string const& directory, std::uint64_t bytes) {
        reserved_ += bytes;
        auto const self = shared_from_this();
        return std::shared_ptr<void const>(this, [self, directory, bytes](void const*) {
            self->reserved_ -= std::min(self->reserved_, bytes);
            asio::post(self->pool_, [directory] { (void)base::remove_tree(directory); });
        });
    }

    // On the pool. The order is what a crash leaves whole: the bytes, the manifest that vouches for them, the name.
    base::Result<ImageInfo> settle(std::string const& directory, seal::Manifest m) const {
        m.info.created_ms = unix_ms();
        m.info.bytes = 0;
        for (auto const& file : m.files) {
            m.info.bytes += file.size;
            if (auto s = flush(directory + "/" + file.stored(), O_RDONLY | O_NOFOLLOW); !s) return s.error();
        }
        if (auto s = seal::write(directory, m, options_.key); !s) return s.error();
        auto const parent = home(m.info.ref.workspace_id);
        if (auto s = base::sys::mkdir(parent, 0700); !s) return s.error();
        auto const place = path(m.info.ref);
        if (::renameat2(AT_FDCWD, directory.c_str(), AT_FDCWD, place.c_str(), RENAME_NOREPLACE) != 0) {
            if (errno == EEXIST) return error(errc::exists, "there is an image " + m.info.ref.image_id + " already");
            return base::errno_error("publish " + place);
        }
        for (auto const& changed : {parent, options_.directory})
            if (auto s = flush(changed, O_RDONLY | O_DIRECTORY); !s) return s.error();
        return m.info;
    }

    // On the pool. Out of sight first, so that a crash in between leaves nothing that looks like an image. What it weighed.
    base::Result<Weight> take_away(std::string const& directory, std::string const& parent) const {
        auto const grave = aside() + "/" + base::random_id();
        auto moved = base::sys::rename(directory, grave);
        if (!moved) {
            if (moved.error().code.value() == ENOENT) return Weight{};
            return moved.error();
        }
        Weight gone;
        if (!parent.empty()) {
            (void)::rmdir(parent.c_str());                       // when that was its last
            gone = weight_of(grave);
        } else {
            std::error_code ec;
            for (std::filesystem::directory_iterator it(grave, ec), end; !ec && it != end; it.increment(ec))
                gone += weight_of(it->path().string());
        }
        if (auto s = base::remove_tree(grave); !s) return s.error();
        return gone;
    }

    // What comes or goes with one image: files that others share weigh nothing.
    static Weight weight_of(std::string const& directory) {
        Weight out;
        out.images = 1;
        std::error_code ec;
        for (std::filesystem::directory_iterator f(directory, ec), end; !ec && f != end; f.increment(ec)) {
            struct stat st{};
            if (::lstat(f->path().c_str(), &st) == 0 && st.st_nlink < 2)
                out.bytes += static_cast<std::uint64_t>(st.st_blocks) * 512;
        }
        return out;
    }

    template <class Visit>
    void each_image(Visit visit) const {
        std::error_code ec;
        for (std::filesystem::directory_iterator w(options_.directory, ec), end; !ec && w != end; w.increment(ec)) {
            std::string const workspace = w->path().filename();
            std::error_code inner;
            if (!valid_name(workspace) || !w->is_directory(inner)) continue;
            for (std::filesystem::directory_iterator i(w->path(), inner); !inner && i != end; i.increment(inner))
                visit(workspace, i->path().string());
        }
    }

    Weight weigh() const {
        Weight out;
        std::set<std::pair<dev_t, ino_t>> seen;
        each_image([&](std::string const&, std::string const& directory) {
            ++out.images;
            std::error_code ec;
            for (std::filesystem::directory_iterator f(directory, ec), end; !ec && f != end; f.increment(ec)) {
                struct stat st{};
                if (::lstat(f->path().c_str(), &st) != 0) continue;
                if (st.st_nlink < 2 || seen.emplace(st.st_dev, st.st_ino).second)
                    out.bytes += static_cast<std::uint64_t>(st.st_blocks) * 512;
            }
        });
        return out;
    }

    // All of it again, at start: some microseconds an image, off the thread. From then on what comes and goes is added up.
    base::Task<void> refresh() {
        auto const self = shared_from_this();
        auto work = [self] { return self->weigh(); };
        auto const found = co_await base::blocking(pool_, std::move(work));
        weight_ = found;
    }

    base::BlockingPool& pool_;
    LocalImages options_;
    Weight weight_;
    std::uint64_t reserved_ = 0;
};

// The store lives on while its own work does.
class StoreHandle final : public ImageStore {
  public:
    explicit StoreHandle(std::shared_ptr<LocalStore> store) : store_(std::move(store)) {}
    base::Task<base::Result<ImageDraft>> begin(ImageRef ref, std::uint64_t bytes) override {
        return store_->begin(std::move(ref), bytes);
    }
    base::Task<base::Result<ImageInfo>> publish(ImageDraft draft, ImageFacts facts) override {
        return store_->publish(std::move(draft), std::move(facts));
    }
    base::Task<void> discard(ImageDraft draft) override { return store_->discard(std::move(draft)); }
    base::Task<base::Result<OpenImage>> open(ImageRef ref, ImageFacts here) override {
        return store_->open(std::move(ref), std::move(here));
    }
    base::Task<base::Result<ImageInfo>> clone(ImageRef from, ImageRef to) override {
        return store_->clone(std::move(from), std::move(to));
    }
    base::Task<base::Status> remove(std::string workspace, std::string image) override {
        return store_->remove(std::move(workspace), std::move(image));
    }
    base::Task<base::Status> remove_workspace(std::string workspace) override {
        return store_->remove_workspace(std::move(workspace));
    }
    base::Task<base::Result<std::vector<ImageInfo>>> list(std::string workspace) override {
        return store_->list(std::move(workspace));
    }
    base::Task<base::Result<int>> sweep() override { return store_->sweep(); }
    Use use() const override { return store_->use(); }

  private:
    std::shared_ptr<LocalStore> store_;
};

}  // namespace

base::Result<std::unique_ptr<ImageStore>> open_local_images(base::BlockingPool& pool, LocalImages options) {
    auto store = std::make_shared<LocalStore>(pool, std::move(options));
    if (auto s = store->prepare(); !s) return base::wrap(s.error(), "memory images");
    return std::unique_ptr<ImageStore>(std::make_unique<StoreHandle>(std::move(store)));
}

}  // namespace sandbox
