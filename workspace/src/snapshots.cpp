// Snapshots: made, listed, deleted. A record names the copies once they are whole; it goes before they do.
#include "capture.hpp"
#include <base/ids.hpp>
#include <base/uncancelled.hpp>

#include <algorithm>

namespace workspace {
namespace {

constexpr std::size_t kMaxSnapshotName = 63;
constexpr std::size_t kNamedInErrors = 3;

SnapshotView view_of_snapshot(registry::SnapshotRecord const& r) {
    SnapshotView v;
    v.id = r.id;
    v.name = r.name;
    v.workspace = r.workspace;
    v.memory = !r.image.empty();
    v.note = r.note;
    v.files_bytes = r.files_bytes;
    v.memory_bytes = r.memory_bytes;
    v.created_ms = r.created_ms;
    return v;
}

std::string shown_size(std::uint64_t bytes) {
    if (bytes < (10ull << 30)) return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB";
    return std::to_string(bytes >> 30) + " GiB";
}

std::uint64_t weight(registry::SnapshotRecord const& r) { return r.files_bytes + r.memory_bytes; }

Status good_snapshot_name(std::string const& name) {
    auto const plain = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
               c == '_' || c == '.';
    };
    if (name.empty() || (name.size() <= kMaxSnapshotName && std::all_of(name.begin(), name.end(), plain) &&
                         name.front() != '-' && name.front() != '.' && !name.starts_with("sn-")))
        return {};
    return base::error(
        base::errc::invalid,
        "name: expected letters, digits, '-', '_' and '.', at most 63 and not beginning with \"sn-\", "
        "for example \"before-upgrade\"");
}

}  // namespace

Result<registry::SnapshotRecord> Workspaces::Impl::find_snapshot(Workspace const& w,
                                                                 std::string const& wanted) const {
    if (auto const there = snapshots.find(w.record.id); there != snapshots.end())
        for (auto const& s : there->second)
            if (!wanted.empty() && (s.id == wanted || s.name == wanted)) return s;
    return base::error(base::errc::not_found, "workspace " + w.record.id + " has no snapshot \"" +
                                                  wanted.substr(0, 80) +
                                                  "\"; snapshot_list shows those it has");
}

Status Workspaces::Impl::room_for_snapshot(Workspace const& w, std::uint64_t bytes) const {
    std::vector<registry::SnapshotRecord> owners;
    for (auto const& [id, some] : snapshots)
        if (auto const other = table.find(id);
            other != table.end() && other->second->record.owner == w.record.owner)
            owners.insert(owners.end(), some.begin(), some.end());
    auto const most = config.snapshots.max_bytes;
    std::uint64_t used = 0;
    for (auto const& s : owners) used += weight(s);
    if (used + bytes <= most) return {};
    std::sort(owners.begin(), owners.end(),
              [](auto const& a, auto const& b) { return weight(a) > weight(b); });
    std::string largest;
    for (std::size_t i = 0; i < owners.size() && i < kNamedInErrors; ++i)
        largest += (i ? ", " : "") + (owners[i].name.empty() ? owners[i].id : "\"" + owners[i].name + "\"") +
                   " of " + owners[i].workspace + " (" + shown_size(weight(owners[i])) + ")";
    return base::error(
        base::errc::limit,
        "your snapshots take " + shown_size(used) + " of " + shown_size(most) +
            " (snapshots.max_bytes), and this one needs " + shown_size(bytes) +
            (largest.empty() ? "" : ": delete one with snapshot_delete; the largest are " + largest));
}

Task<Result<Snapped>> Workspaces::Impl::snapshot(Ptr w, std::string name) {
    auto const begun = base::Clock::now();
    if (auto ok = good_snapshot_name(name); !ok) co_return ok.error();
    auto const most = static_cast<std::size_t>(config.snapshots.per_workspace);
    if (snapshots[w->record.id].size() >= most) {
        std::string names;
        for (auto const& s : snapshots[w->record.id])
            names += (names.empty() ? "" : ", ") + (s.name.empty() ? s.id : s.name);
        co_return base::error(base::errc::limit, "a workspace may have " + std::to_string(most) +
                                                     " snapshots: delete one with snapshot_delete (it has " +
                                                     names + ")");
    }
    if (!name.empty() && find_snapshot(*w, name))
        co_return base::error(base::errc::exists,
                              "name: " + w->record.id + " has a snapshot \"" + name +
                                  "\" already; take another name or delete it with snapshot_delete");
    // What it will take is only known afterwards; that it is at least its files, before.
    std::uint64_t least = 0;
    if (auto const used = volumes.usage_of(w->record.volume)) least = used->bytes;
    if (auto ok = room_for_snapshot(*w, least); !ok) co_return ok.error();

    registry::SnapshotRecord record;
    record.id = "sn-" + base::random_id(10);
    auto captured = co_await capture(w, record.id, Lasts::on);
    if (!captured) co_return base::wrap(captured.error(), "snapshot of " + w->record.id);
    record.workspace = w->record.id;
    record.name = std::move(name);
    record.volume = captured->volume;
    record.files_bytes = captured->files_bytes;
    record.note = captured->why;
    record.created_ms = now_ms();
    std::optional<registry::ImageRecord> image;
    if (captured->image) {
        record.image = record.id;
        record.generation = captured->image->ref.generation;
        record.memory_bytes = captured->image->bytes;
        image.emplace();
        image->workspace = record.workspace;
        image->image = record.image;
        image->kind = "snapshot";
        image->generation = record.generation;
        image->bytes = record.memory_bytes;
        image->template_stamp = captured->image->facts.template_stamp;
        image->runtime_build = captured->image->facts.runtime_build;
        image->guest_build = captured->image->facts.guest_build;
        image->created_ms = captured->image->created_ms;
    }
    auto kept = room_for_snapshot(*w, weight(record));
    bool const recording = kept.has_value();
    if (recording) kept = co_await records.insert_snapshot(record, image);
    if (!kept) {
        // A record that was not confirmed in time may still come: taken back behind it, or the copies stay for it.
        auto const taken_back = !recording || co_await records.delete_snapshot(record.id);
        if (taken_back) co_await forget(w->record.id, *captured);
        co_return kept.error();
    }
    Snapped out;
    out.snapshot = view_of_snapshot(record);
    out.dropped = captured->dropped;
    out.still_ms = captured->still_ms;
    snapshots[w->record.id].push_back(std::move(record));
    out.ms = elapsed_ms(begun);
    co_return out;
}

Task<Status> Workspaces::Impl::delete_snapshot(Ptr w, registry::SnapshotRecord record) {
    if (auto s = co_await records.delete_snapshot(record.id); !s) co_return s;
    std::erase_if(snapshots[w->record.id], [&](auto const& s) { return s.id == record.id; });
    // What a crash, or a failure, leaves of it from here on is removed by the next start.
    if (images && !record.image.empty()) (void)co_await images->remove(w->record.id, record.image);
    co_return co_await volumes.remove(record.volume);
}

Task<Result<Snapped>> Workspaces::snapshot(std::string owner, std::string id, std::string name) {
    auto w = impl_->find(owner, id);
    if (!w) co_return w.error();
    auto held = co_await (*w)->turn.take();
    if ((*w)->deleted()) co_return unknown(id);
    (*w)->used();
    auto work = impl_->snapshot(*w, std::move(name));
    co_return co_await base::uncancelled(std::move(work));
}

Result<std::vector<SnapshotView>> Workspaces::snapshots(std::string const& owner,
                                                        std::string const& id) const {
    auto w = impl_->find(owner, id);
    if (!w) return w.error();
    std::vector<SnapshotView> out;
    if (auto const there = impl_->snapshots.find((*w)->record.id); there != impl_->snapshots.end())
        for (auto const& s : there->second) out.push_back(view_of_snapshot(s));
    std::reverse(out.begin(), out.end());
    return out;
}

Task<Result<SnapshotView>> Workspaces::delete_snapshot(std::string owner, std::string id,
                                                       std::string snapshot) {
    auto w = impl_->find(owner, id);
    if (!w) co_return w.error();
    auto held = co_await (*w)->turn.take();
    if ((*w)->deleted()) co_return unknown(id);
    auto record = impl_->find_snapshot(**w, snapshot);
    if (!record) co_return record.error();
    auto work = impl_->delete_snapshot(*w, *record);
    auto done = co_await base::uncancelled(std::move(work));
    if (!done) co_return done.error();
    co_return view_of_snapshot(*record);
}

}  // namespace workspace
