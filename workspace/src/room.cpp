// Room for one more: the longest idle go to sleep before anyone is refused, and some already before anyone comes.
#include "impl.hpp"
#include <base/files.hpp>
#include <base/timeout.hpp>

#include <spdlog/spdlog.h>

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <set>

namespace workspace {
namespace {

constexpr std::uint64_t kSpare = 256ull << 20;  // of the machine's memory, never counted on
constexpr base::milliseconds kLook{100};        // the kernel takes its time to add it up
constexpr std::uint64_t kSpareShare = 10;       // at most this part of the ceiling is kept free for who comes next
// Who was used since does not make way unasked; work inside is noticed within six seconds.
constexpr base::milliseconds kQuiet{10'000}, kQuietInNeed{7'000};
constexpr base::milliseconds kSlotLook{100};
constexpr int kSlotLooks = 20, kSlotTries = 200;
constexpr double kShare = 0.8;                  // of the machine's memory, when nothing is configured

std::string mebibytes(std::uint64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

std::uint64_t machine_memory() {
    static auto const bytes = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                              static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    return bytes;
}

// What the kernel could still give without swapping; everything when it does not say.
std::uint64_t memory_left_now() {
    auto const text = base::read_file("/proc/meminfo", 16 * 1024);
    if (!text) return UINT64_MAX;
    auto at = text->find("MemAvailable:");
    if (at == text->npos) return UINT64_MAX;
    at = text->find_first_of("0123456789", at);
    std::uint64_t kib = 0;
    std::from_chars(text->data() + at, text->data() + text->size(), kib);
    return kib * 1024;
}

}  // namespace

std::uint64_t Workspaces::Impl::memory_left() {
    if (base::Clock::now() - memory_seen > kLook) {
        memory_seen = base::Clock::now();
        memory_seen_left = memory_left_now();
    }
    return memory_seen_left;
}

std::uint64_t Workspaces::Impl::memory_ceiling() const {
    if (config.hibernation.memory_ceiling > 0) return config.hibernation.memory_ceiling;
    return static_cast<std::uint64_t>(kShare * static_cast<double>(machine_memory()));
}

std::uint64_t Workspaces::Impl::memory_in_use() const {
    std::uint64_t bytes = *arriving;
    for (auto const& [id, w] : table)
        if (w->sandbox) bytes += w->memory_bytes;
    return bytes;
}

// Nobody asleep, nothing kept free; else two of the largest ones can come back without a wait.
std::uint64_t Workspaces::Impl::spare_memory() const {
    std::uint64_t largest = 0;
    for (auto const& [id, w] : table)
        if (w->state == State::hibernated && w->image) largest = std::max<std::uint64_t>(largest, w->image->bytes);
    return std::min(2 * largest, memory_ceiling() / kSpareShare);
}

Workspaces::Impl::Ptr Workspaces::Impl::longest_idle(base::milliseconds quiet) const {
    std::set<std::string> kept;
    for (auto const& [id, p] : processes)
        if (p.running && p.keep_alive) kept.insert(p.workspace);
    Ptr found;
    auto const now = base::Clock::now();
    for (auto const& [id, w] : table) {
        bool const may = is_awake(w->state) && w->sandbox && w->sandbox->alive() && !w->in_use() &&
                         w->turn.is_free() && !w->settings.idle.keep_alive && now >= w->sleep_again &&
                         now - w->last_used >= quiet &&
                         !kept.contains(id);
        if (may && (!found || w->last_used < found->last_used)) found = w;
    }
    return found;
}

Task<Status> Workspaces::Impl::make_room(std::uint64_t bytes, bool slot) {
    auto const ceiling = memory_ceiling();
    auto const short_of_memory = [&] {
        auto const used = memory_in_use();
        return (used > 0 && used + bytes > ceiling) || memory_left() < bytes + kSpare;
    };
    if (!slot && !short_of_memory()) co_return Status();
    auto one_at_a_time = co_await making_room.take();
    while (slot || short_of_memory()) {
        auto const idle = images ? longest_idle({}) : nullptr;
        if (!idle) {
            if (slot) co_return base::error(base::errc::busy, "every sandbox of this server is at work");
            co_return base::error(base::errc::busy,
                                  "the memory for workspaces is in use (" + mebibytes(memory_in_use()) +
                                      " of " + mebibytes(ceiling) +
                                      ") by some that are at work; call again once one is idle, or stop one");
        }
        bool const until_gone = slot || memory_left() < bytes + kSpare;
        bool const made_way = co_await make_way(idle, until_gone);
        if (made_way) slot = false;
    }
    co_return Status();
}

// False when it could not: then it is not looked at again for a while.
Task<bool> Workspaces::Impl::make_way(Ptr idle, bool until_gone) {
    auto held = idle->turn.try_take();
    auto const sandbox = idle->sandbox;
    spdlog::info("workspace {}: hibernates to make room", idle->record.id);
    HibernateRequest const request;
    auto slept = co_await hibernate(idle, request);
    held.reset();
    if (!slept) co_return false;
    if (until_gone) (void)co_await sandbox->destroy();
    memory_seen = {};
    co_return true;
}

void Workspaces::Impl::keep_spare() {
    if (keeping_spare || stopping || !images) return;
    auto const who_may_go = [this]() -> Ptr {
        if (memory_left() < kSpare) return longest_idle(kQuietInNeed);
        auto const used = memory_in_use();
        return used > 0 && used + spare_memory() > memory_ceiling() ? longest_idle(kQuiet) : nullptr;
    };
    if (!who_may_go()) return;
    auto work = [](Impl* self, auto who) -> Task<void> {
        try {
            while (!self->stopping) {
                auto one_at_a_time = co_await self->making_room.take();
                auto const idle = who();
                if (!idle || self->stopping) break;
                (void)co_await self->make_way(idle, self->memory_left() < kSpare);
            }
        } catch (std::exception const& e) {
            spdlog::error("keeping room for workspaces: {}", e.what());
        }
        self->keeping_spare = false;
        --self->background;
    };
    keeping_spare = true;
    ++background;
    asio::co_spawn(io, work(this, who_may_go), asio::detached);
}

// A slot that someone left may be filled up by the stock before we get it; what is in stock is given up for us once it is
// whole, which takes a moment.
Task<bool> Workspaces::Impl::wait_for_slot(int tries) {
    if (tries % kSlotLooks == 0) {
        auto room = co_await make_room(0, true);
        if (room) co_return tries < kSlotTries;
        if (tries > 0) co_return false;
    }
    co_await base::sleep_for(kSlotLook);
    co_return true;
}

}  // namespace workspace
