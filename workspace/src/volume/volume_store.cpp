#include "loop.hpp"
#include "turns.hpp"
#include "volume_copy.hpp"
#include "volume_directory.hpp"
#include <base/files.hpp>
#include <base/ids.hpp>
#include <base/launcher.hpp>
#include <base/syscalls.hpp>
#include <base/timeout.hpp>
#include <base/uncancelled.hpp>

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/statfs.h>

#include <algorithm>
#include <deque>
#include <filesystem>
#include <map>
#include <optional>

namespace workspace {
namespace {

namespace vd = volume_directory;
using base::errc;
using base::error;
using base::Result;
using base::Status;
using base::Task;
using Open = std::shared_ptr<vd::OpenVolume>;

constexpr std::uint64_t kMinBytes = 16ull << 20;  // room for the journal and something beside it
constexpr std::uint64_t kMaxBytes = 16ull << 40;  // ext4 with blocks of 4 KiB
constexpr auto kFormatLimit = std::chrono::minutes(2);
constexpr auto kCheckLimit = std::chrono::minutes(10);
constexpr auto kStockRetry = std::chrono::seconds(10);
constexpr base::milliseconds kQuiet{60};  // after a claim: a burst of them is not slowed by refilling

// Names that no id can have, because an id does not start with a dot: what has no owner yet, or no more.
constexpr char const* kUnowned = ".stock-";
constexpr char const* kDoomed = ".gone-";

Status check_id(std::string const& id) {
    bool const good = !id.empty() && id.size() <= 128 && id[0] != '.' &&
                      std::all_of(id.begin(), id.end(), [](unsigned char c) {
                          return std::isalnum(c) || c == '-' || c == '_' || c == '.';
                      });
    if (!good) return error(errc::invalid, "\"" + id.substr(0, 128) + "\" is not a volume id");
    return {};
}

bool exists(std::string const& path) { return ::access(path.c_str(), F_OK) == 0; }

// mkfs, mount, and its two directories. Leaves nothing behind when it fails.
Task<Result<Open>> make_image_volume(base::BlockingPool& pool, std::string directory, std::uint64_t bytes) {
    auto failed = [&](base::Error e) -> Task<Result<Open>> {
        auto clean = [directory] {
            (void)vd::destroy(directory);
            return 0;
        };
        co_await base::blocking(pool, std::move(clean));
        co_return base::wrap(std::move(e), "make a volume");
    };
    auto prepare = [directory, bytes] { return vd::prepare_image(directory, bytes); };
    auto prepared = co_await base::blocking(pool, std::move(prepare));
    if (!prepared) co_return co_await failed(prepared.error());
    base::Launch mkfs;
    mkfs.argv = vd::format_command(directory, bytes);
    auto formatted = co_await base::run(std::move(mkfs), kFormatLimit);
    if (!formatted) co_return co_await failed(formatted.error());
    if (formatted->exit_code != 0)
        co_return co_await failed(error(errc::unavailable, "mkfs.ext4: " + formatted->err));
    auto finish = [directory]() -> Result<Open> {
        if (auto ok = vd::mount_image(directory); !ok) return ok.error();
        if (auto ok = vd::furnish(directory); !ok) return ok.error();
        return vd::open("", directory);
    };
    auto opened = co_await base::blocking(pool, std::move(finish));
    if (!opened) co_return co_await failed(opened.error());
    co_return opened;
}

Task<Result<Open>> make_plain_volume(base::BlockingPool& pool, std::string directory) {
    auto make = [directory]() -> Result<Open> {
        auto ok = vd::furnish(directory);
        if (ok) return vd::open("", directory);
        (void)vd::destroy(directory);
        return base::wrap(ok.error(), "make a volume");
    };
    co_return co_await base::blocking(pool, std::move(make));
}

class Store final : public VolumeStore {
  public:
    Store(asio::io_context& io, base::BlockingPool& pool, Options options)
        : pool_(pool), options_(std::move(options)), stock_wanted_(io), stocker_ended_(io) {
        if (!options_.use_images) images_ = false;
        stocker_ended_.expires_at(base::Clock::time_point::max());
    }

    Task<Result<std::shared_ptr<Volume>>> take(std::uint64_t bytes) override {
        return base::uncancelled(take_now(bytes));
    }
    Task<Result<std::shared_ptr<Volume>>> create(std::string id, std::uint64_t bytes) override {
        return base::uncancelled(create_now(std::move(id), bytes));
    }
    Task<Result<std::shared_ptr<Volume>>> open_volume(std::string id) override {
        return base::uncancelled(open_now(std::move(id)));
    }
    Task<Result<VolumeCopy>> clone(std::string from, std::string to, base::milliseconds limit) override {
        return base::uncancelled(clone_now(std::move(from), std::move(to), limit));
    }
    Task<Status> release(std::string id) override { return base::uncancelled(release_now(std::move(id))); }
    Task<Status> remove(std::string id) override { return base::uncancelled(remove_now(std::move(id))); }
    Task<int> recover(std::set<std::string> known) override {
        return base::uncancelled(recover_now(std::move(known)));
    }

    Result<VolumeUsage> usage_of(std::string const& id) const override {
        auto const there = open_.find(id);
        if (there == open_.end()) return VolumeUsage{};
        struct statfs fs {};
        if (::fstatfs(there->second->files().fd(), &fs) < 0) return base::errno_error("statfs volume " + id);
        auto const block = static_cast<std::uint64_t>(fs.f_bsize);
        return VolumeUsage{(fs.f_blocks - fs.f_bfree) * block, fs.f_blocks * block, fs.f_files - fs.f_ffree,
                           fs.f_files};
    }

    std::size_t stocked() const override { return stock_.size(); }
    void start_stocking() override {
        if (stocking_ || options_.stock <= 0) return;
        stocking_ = true;
        asio::co_spawn(stock_wanted_.get_executor(), keep_stock(), [this](std::exception_ptr) {
            stocking_ = false;
            stocker_ended_.cancel();
        });
    }

    Task<void> stop(bool unmount_all) override {
        stopping_ = true;
        stock_wanted_.cancel();
        while (stocking_) co_await stocker_ended_.async_wait(base::as_tuple);
        while (!stock_.empty()) {
            auto const directory = directory_of(stock_.front()->id());
            stock_.pop_front();  // with it its descriptors
            auto destroy = [directory] { return vd::destroy(directory); };
            (void)co_await base::blocking(pool_, std::move(destroy));
        }
        if (!unmount_all) co_return;
        std::vector<std::string> ids;
        for (auto const& [id, volume] : open_) ids.push_back(id);
        for (auto const& id : ids) (void)co_await release(id);  // one in use stays for `recover`
    }

    bool quota_enforced() const override { return images_.value_or(true); }

  private:
    std::string directory_of(std::string const& id) const { return options_.directory + "/" + id; }
    std::string fresh(char const* prefix) const {
        return options_.directory + "/" + prefix + base::random_id(10);
    }

    Task<Result<Open>> make(std::string directory, std::uint64_t bytes) {
        if (images_.value_or(true)) {
            auto made = co_await make_image_volume(pool_, directory, bytes);
            if (made) images_ = true;
            if (made || images_) co_return made;
            // The very first one failed. Whether that is this host's way (no mkfs or privilege, no loop devices, a kernel
            // without ext4) shows on the smallest.
            auto const probe = fresh(kUnowned);
            auto smallest = co_await make_image_volume(pool_, probe, kMinBytes);
            images_ = smallest.has_value();
            if (smallest) {
                smallest = made;  // with it its descriptors
                auto destroy = [probe] { return vd::destroy(probe); };
                (void)co_await base::blocking(pool_, std::move(destroy));
                co_return made;
            }
        }
        co_return co_await make_plain_volume(pool_, std::move(directory));
    }

    Task<void> keep_stock() {
        while (!stopping_) {
            auto const wanted = static_cast<std::size_t>(options_.stock);
            if (auto const due = last_claim_ + kQuiet;
                stock_.size() < wanted && stock_.size() * 2 > wanted && base::Clock::now() < due) {
                stock_wanted_.expires_at(due);
            } else if (stock_.size() < wanted) {
                auto made = co_await make_named("v-" + base::random_id(16), options_.default_bytes);
                if (made) {
                    stock_.push_back(std::move(*made));
                    continue;
                }
                // The next `create` meets the same failure and reports it.
                stock_wanted_.expires_after(kStockRetry);
            } else {
                stock_wanted_.expires_at(base::Clock::time_point::max());
            }
            if (!stopping_) co_await stock_wanted_.async_wait(base::as_tuple);
        }
    }

    // Made aside: what a crash leaves of it is never taken for a volume.
    Task<Result<Open>> make_named(std::string id, std::uint64_t bytes) {
        auto const aside = fresh(kUnowned), top = options_.directory, place = directory_of(id);
        auto made = co_await make(aside, bytes);
        if (!made) co_return made;
        auto const at = std::make_shared<std::string>(aside);
        auto name = [aside, top, place, at]() -> Status {
            if (::renameat2(AT_FDCWD, aside.c_str(), AT_FDCWD, place.c_str(), RENAME_NOREPLACE) == 0) {
                *at = place;
                return vd::sync_directory(top);
            }
            if (errno == EEXIST) return error(errc::exists, "the volume exists already");
            return base::errno_error("name the volume " + place);
        };
        auto named = co_await base::blocking(pool_, std::move(name));
        if (named) {
            (*made)->rename(id, place + "/fs");
            co_return made;
        }
        made = named.error();  // with it its descriptors
        auto clean = [at] { return vd::destroy(*at); };
        (void)co_await base::blocking(pool_, std::move(clean));
        co_return base::wrap(named.error(), "create volume " + id);
    }

    Result<std::uint64_t> whole_blocks(std::uint64_t bytes) const {
        if (bytes == 0) return options_.default_bytes;
        if (bytes >= kMinBytes && bytes <= kMaxBytes) return (bytes + 4095) / 4096 * 4096;
        return error(errc::invalid, "a volume has 16 MiB to 16 TiB, not " + std::to_string(bytes) + " bytes");
    }

    Task<Result<std::shared_ptr<Volume>>> take_now(std::uint64_t bytes) {
        auto const size = whole_blocks(bytes);
        if (!size) co_return size.error();
        if (*size != options_.default_bytes || stock_.empty())
            co_return co_await create_now("v-" + base::random_id(16), *size);
        auto volume = std::move(stock_.front());
        stock_.pop_front();
        last_claim_ = base::Clock::now();
        stock_wanted_.cancel();
        open_[volume->id()] = volume;
        co_return std::shared_ptr<Volume>(std::move(volume));
    }

    Task<Result<std::shared_ptr<Volume>>> create_now(std::string id, std::uint64_t bytes) {
        if (auto ok = check_id(id); !ok) co_return ok.error();
        auto const size = whole_blocks(bytes);
        if (!size) co_return size.error();
        auto turn = co_await turns_.take(id);
        if (!turn) co_return turn.error();
        auto made = co_await make_named(id, *size);
        if (!made) co_return made.error();
        open_[id] = *made;
        co_return std::shared_ptr<Volume>(std::move(*made));
    }

    Task<Result<std::shared_ptr<Volume>>> open_now(std::string id) {
        if (auto ok = check_id(id); !ok) co_return ok.error();
        auto turn = co_await turns_.take(id);
        if (!turn) co_return turn.error();
        if (auto const there = open_.find(id); there != open_.end())
            co_return std::shared_ptr<Volume>(there->second);

        auto const directory = directory_of(id);
        auto open = [id, directory]() -> Result<Open> {
            if (!exists(directory + "/fs")) return error(errc::not_found, "volume " + id + " does not exist");
            if (vd::has_image(directory) && !vd::is_mounted(directory))
                if (auto ok = vd::mount_image(directory); !ok) return ok.error();
            return vd::open(id, directory);
        };
        auto again = open;
        auto opened = co_await base::blocking(pool_, std::move(open));
        if (!opened && vd::looks_damaged(opened.error())) {
            base::Launch check;
            check.argv = {"e2fsck", "-p", directory + "/image"};
            auto checked = co_await base::run(std::move(check), kCheckLimit);
            if (!checked) co_return base::wrap(checked.error(), "repair volume " + id);
            if (checked->exit_code > 2)  // e2fsck(8): 1 and 2 are repaired, 4 is left as it is
                co_return error(errc::corrupt, "volume " + id +
                                                   " is damaged and e2fsck -p could not repair it: " +
                                                   checked->out + checked->err);
            opened = co_await base::blocking(pool_, std::move(again));
            if (!opened && vd::looks_damaged(opened.error()))
                co_return error(errc::corrupt, "volume " + id + " is damaged: " + opened.error().message());
        }
        if (!opened) co_return base::wrap(opened.error(), "open volume " + id);
        open_[id] = *opened;
        co_return std::shared_ptr<Volume>(std::move(*opened));
    }

    Task<Status> release_now(std::string id) {
        if (auto ok = check_id(id); !ok) co_return ok.error();
        auto turn = co_await turns_.take(id);
        if (!turn) co_return turn.error();
        if (auto const there = open_.find(id); there != open_.end()) {
            if (there->second.use_count() > 1) co_return error(errc::busy, "volume " + id + " is in use");
            open_.erase(there);
        }
        auto const directory = directory_of(id);
        auto unmount = [directory] { return vd::unmount(directory, vd::Patience::some); };
        auto done = co_await base::blocking(pool_, std::move(unmount));
        if (!done) co_return base::wrap(done.error(), "release volume " + id);
        co_return Status();
    }

    Task<Result<VolumeCopy>> clone_now(std::string from, std::string to, base::milliseconds limit) {
        auto const until = limit.count() > 0 ? base::Clock::now() + limit : vd::Deadline::max();
        for (auto const& id : {from, to})
            if (auto ok = check_id(id); !ok) co_return ok.error();
        auto source = co_await turns_.take(from);
        if (!source) co_return source.error();
        auto target = co_await turns_.take(to);  // a new name: who holds it waits for nothing
        if (!target) co_return target.error();
        auto const aside = fresh(kUnowned), top = options_.directory;
        auto copy = [aside, top, origin = directory_of(from), place = directory_of(to), until]() -> Result<VolumeCopy> {
            auto made = vd::copy(origin, aside, until);
            if (!made) return made.error();
            Status named;
            if (::renameat2(AT_FDCWD, aside.c_str(), AT_FDCWD, place.c_str(), RENAME_NOREPLACE) < 0)
                named = errno == EEXIST ? error(errc::exists, "the volume exists already")
                                        : base::errno_error("name the volume " + place);
            bool const placed = named.has_value();
            if (placed) named = vd::sync_directory(top);
            if (!named) (void)vd::destroy(placed ? place : aside);
            if (!named) return named.error();
            return VolumeCopy{made->bytes, made->shared};
        };
        auto done = co_await base::blocking(pool_, std::move(copy));
        if (!done) co_return base::wrap(done.error(), "copy volume " + from);
        co_return done;
    }

    Task<Status> remove_now(std::string id) {
        if (auto ok = check_id(id); !ok) co_return ok.error();
        auto turn = co_await turns_.take(id);
        if (!turn) co_return turn.error();
        open_.erase(id);
        auto const directory = directory_of(id), doomed = fresh(kDoomed), top = options_.directory;
        auto remove = [directory, doomed, top]() -> Status {
            if (!exists(directory)) return {};
            // The name goes first: what a crash leaves of it is never taken for a volume.
            if (auto ok = base::sys::rename(directory, doomed); !ok) return ok;
            if (auto ok = vd::sync_directory(top); !ok) return ok;
            return vd::destroy(doomed);
        };
        auto done = co_await base::blocking(pool_, std::move(remove));
        if (!done) co_return base::wrap(done.error(), "remove volume " + id);
        co_return Status();
    }

    Task<int> recover_now(std::set<std::string> known) {
        // Not what this process holds.
        for (auto const& stocked : stock_) known.insert(stocked->id());
        for (auto const& [id, volume] : open_) known.insert(id);
        auto const top = options_.directory;
        auto sweep = [top, known = std::move(known)] {
            int removed = 0;
            std::error_code ec;
            std::vector<std::string> names;
            for (auto const& e : std::filesystem::directory_iterator(top, ec))
                names.push_back(e.path().filename());
            for (auto const& name : names) {
                auto const directory = top + "/" + name;
                if (!known.contains(name)) removed += vd::destroy(directory).has_value() && name[0] != '.';
                // One that nothing uses is unmounted; a used one goes on, also one that a copy had stopped, and `open_volume` finds it mounted.
                else if (name[0] != '.')
                    (void)vd::unmount(directory, vd::Patience::none);
            }
            (void)vd::sync_directory(top);
            return removed;
        };
        co_return co_await base::blocking(pool_, std::move(sweep));
    }

    base::BlockingPool& pool_;
    Options options_;
    std::optional<bool> images_;  // whether they can be had here; known once the first was tried
    bool stopping_ = false, stocking_ = false;
    asio::steady_timer stock_wanted_, stocker_ended_;
    std::deque<Open> stock_;
    base::Clock::time_point last_claim_{};
    std::map<std::string, Open> open_;
    Turns turns_;
};

}  // namespace

Result<std::unique_ptr<VolumeStore>> VolumeStore::open(asio::io_context& io, base::BlockingPool& pool,
                                                       Options options) {
    if (auto ok = base::sys::mkdir(options.directory, 0700); !ok) return ok.error();
    // First of all: what a killed server left standing still could not even be asked.
    std::error_code ec;
    for (auto const& e : std::filesystem::directory_iterator(options.directory, ec)) vd::let_go_on(e.path());
    options.default_bytes = std::max(options.default_bytes, kMinBytes) / 4096 * 4096;
    return std::make_unique<Store>(io, pool, std::move(options));
}

}  // namespace workspace
