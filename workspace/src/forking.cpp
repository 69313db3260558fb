// One workspace into many. All of them answer before any is recorded, and they are recorded together: there
// are all or none.
#include "capture.hpp"
#include <base/ids.hpp>
#include <base/uncancelled.hpp>

#include <spdlog/spdlog.h>

#include <algorithm>

namespace workspace {
namespace {

// Runs them beside each other; each reports through what it was given.
Task<void> side_by_side(std::vector<Task<void>> all) {
    auto const executor = co_await asio::this_coro::executor;
    auto const done = std::make_shared<asio::steady_timer>(executor, base::Clock::time_point::max());
    auto const left = std::make_shared<std::size_t>(all.size());
    auto const thrown = std::make_shared<std::exception_ptr>();
    for (auto& one : all)
        asio::co_spawn(executor, std::move(one), [done, left, thrown](std::exception_ptr e) {
            if (e) *thrown = e;
            --*left;
            done->cancel();
        });
    while (*left > 0) co_await done->async_wait(base::as_tuple);
    if (*thrown) std::rethrow_exception(*thrown);
}

}  // namespace

// The same command in two workspaces needs two ids.
Task<std::map<std::string, std::string>> Workspaces::Impl::rename_processes(Ptr w) {
    std::map<std::string, std::string> fresh;
    auto seen = co_await w->sandbox->guest().processes();
    if (!seen) co_return fresh;
    for (auto const& p : *seen) fresh.emplace(p.id, "p-" + base::random_id(10));
    auto const asked = fresh;
    auto renamed = co_await w->sandbox->guest().rename(asked);
    if (!renamed) {  // a guest of an older build: its commands go on, but no call can name them
        spdlog::warn("workspace {}: {}", w->record.id, renamed.error().message());
        fresh.clear();
    }
    co_return fresh;
}

Task<void> Workspaces::Impl::raise_fork(Ptr child, sandbox::OpenImage image, Status* outcome,
                                        std::map<std::string, std::string>* renamed) {
    auto raised = co_await raise(child, child->record.volume, child->record.sleeps, &image, Raise::fork);
    if (!raised) {
        *outcome = raised.error();
        co_return;
    }
    child->sandbox = raised->sandbox;
    child->memory_bytes = raised->memory_bytes;
    child->record.slot = raised->sandbox->slot_id();
    if (auto s = equip(child); !s) *outcome = s;
    *renamed = co_await rename_processes(child);
}

Task<Result<Forked>> Workspaces::Impl::fork(Ptr w, std::vector<Ptr> children) {
    auto const begun = base::Clock::now();
    Forked out;
    auto captured = co_await capture(w, "fk-" + base::random_id(10), Lasts::a_moment);
    if (!captured) co_return captured.error();
    out.dropped = captured->dropped;
    out.still_ms = captured->still_ms;
    out.why = captured->why;
    out.files_bytes = captured->files_bytes;
    children.front()->record.volume = captured->volume;
    Status done;
    for (std::size_t i = 1; done && i < children.size(); ++i) {
        auto copied = co_await volumes.clone(captured->volume, children[i]->record.volume);
        if (!copied) done = copied.error();
    }
    std::optional<sandbox::OpenImage> image;
    if (done && captured->image) {
        auto opened = co_await open_image(*w, captured->image->ref);
        if (opened)
            image = std::move(*opened);
        else
            out.why = opened.error().message();
    }
    auto const needed = image ? image->info.bytes * children.size() : 0;
    if (done && image) done = co_await make_room(needed, false);
    std::optional<Arriving> counted;
    if (done && image) counted.emplace(*this, needed);
    std::vector<Status> outcomes(children.size());
    std::vector<std::map<std::string, std::string>> renamed(children.size());
    if (done && image) {
        std::vector<Task<void>> all;
        for (std::size_t i = 0; i < children.size(); ++i)
            all.push_back(raise_fork(children[i], *image, &outcomes[i], &renamed[i]));
        co_await side_by_side(std::move(all));
        for (auto const& one : outcomes)
            if (!one && done) done = one;
        counted.reset();
    }
    out.memory = image.has_value();
    if (image) out.memory_bytes = image->info.bytes;
    bool recording = false;
    if (done) {
        std::vector<registry::WorkspaceRecord> all;
        for (auto const& child : children) {
            child->record.state = recorded(image ? State::running : State::stopped);
            child->record.fidelity = image ? "memory" : "files";
            child->record.fidelity_reason = image ? "" : out.why;
            all.push_back(child->record);
        }
        recording = true;
        done = co_await records.insert_workspaces(std::move(all));
    }
    if (captured->image) (void)co_await images->remove(w->record.id, captured->image->ref.image_id);
    if (!done) {
        for (auto const& child : children) {
            bool const unnamed = !recording || co_await unrecord(child->record.id);
            if (auto sandbox = std::exchange(child->sandbox, nullptr)) (void)co_await sandbox->destroy();
            if (unnamed) (void)co_await volumes.remove(child->record.volume);
        }
        co_return base::wrap(done.error(), "no fork was made");
    }
    for (std::size_t i = 0; i < children.size(); ++i) {
        std::map<std::string, std::string> origins;
        for (auto const& [from, to] : renamed[i]) origins.emplace(to, from);
        if (children[i]->sandbox && !origins.empty())
            co_await record_processes(children[i], std::move(origins));
    }
    out.processes = std::move(renamed);
    out.ms = elapsed_ms(begun);
    co_return out;
}

Task<Result<std::vector<Workspaces::Impl::Ptr>>> Workspaces::Impl::reserve_forks(
    Ptr w, std::size_t count, std::vector<std::string> names) {
    auto held = co_await creating.take();
    if (table.size() + count > static_cast<std::size_t>(config.max_workspaces))
        co_return base::error(base::errc::busy, "this server holds " + std::to_string(table.size()) +
                                                    " of at most " + std::to_string(config.max_workspaces) +
                                                    " workspaces; delete some with workspace_delete");
    for (std::size_t i = 0; i < names.size(); ++i) {
        if (!plain_name(names[i]))
            co_return base::error(base::errc::invalid,
                                  "names: expected letters, digits, '-', '_' and '.', at most 63, "
                                  "for example \"variant-a\", not \"" +
                                      names[i].substr(0, 80) + "\"");
        if (find_by(w->record.owner, &registry::WorkspaceRecord::name, names[i]) ||
            std::count(names.begin(), names.end(), names[i]) > 1)
            co_return base::error(base::errc::exists, "names: \"" + names[i] + "\" is taken; take another");
    }
    std::vector<Ptr> children;
    for (std::size_t i = 0; i < count; ++i) {
        registry::WorkspaceRecord record;
        record.id = "ws-" + base::random_id(16);
        if (i < names.size()) record.name = names[i];
        record.owner = w->record.owner;
        record.template_name = w->record.template_name;
        record.volume = "v-" + base::random_id(16);
        record.generation = 1;
        record.sleeps = w->record.sleeps + 1;  // what runs inside has seen the numbers before
        record.settings = w->record.settings;
        record.created_ms = record.active_ms = now_ms();
        auto child = std::make_shared<Workspace>(io.get_executor(), std::move(record));
        child->happens(Event::start);
        table.emplace(child->record.id, child);
        children.push_back(std::move(child));
    }
    co_return children;
}

Task<Result<Forked>> Workspaces::Impl::fork_of(Ptr w, std::size_t count, std::vector<std::string> names) {
    auto children = co_await reserve_forks(w, count, std::move(names));
    if (!children) co_return children.error();
    // Whoever finds one by its name meanwhile waits for its turn.
    std::vector<Turn::Held> turns;
    for (auto const& child : *children) {
        auto held = co_await child->turn.take();
        turns.push_back(std::move(held));
    }
    auto forked = co_await fork(w, *children);
    for (auto const& child : *children) {
        child->used();
        child->happens(child->sandbox ? Event::started : Event::failed);
        if (!forked) {
            child->happens(Event::remove);
            table.erase(child->record.id);
        } else {
            forked->workspaces.push_back(view(*child));
            tell(*child, true);
        }
    }
    co_return forked;
}

Task<Result<Forked>> Workspaces::fork(std::string owner, std::string id, int count,
                                      std::vector<std::string> names) {
    if (count < 1 || count > kMaxForks)
        co_return base::error(base::errc::invalid,
                              "count: expected 1 to " + std::to_string(kMaxForks) + ", for example 3");
    if (names.size() > static_cast<std::size_t>(count))
        co_return base::error(base::errc::invalid, "names: " + std::to_string(names.size()) + " names for " +
                                                       std::to_string(count) + " forks");
    auto w = impl_->find(owner, id);
    if (!w) co_return w.error();
    auto held = co_await (*w)->turn.take();
    if ((*w)->deleted()) co_return unknown(id);
    (*w)->used();
    co_await asio::this_coro::throw_if_cancelled(false);
    auto work = impl_->fork_of(*w, static_cast<std::size_t>(count), std::move(names));
    auto forked = co_await base::uncancelled(std::move(work));
    // Nobody is left to hear of them.
    bool const left = co_await base::is_cancelled();
    if (left && forked)
        for (auto const& one : forked->workspaces) {
            auto removal = remove(owner, one.id);
            (void)co_await base::uncancelled(std::move(removal));
        }
    co_await asio::this_coro::throw_if_cancelled(true);
    if (left) co_return base::error(base::errc::cancelled, "the caller went away");
    co_return forked;
}

}  // namespace workspace
