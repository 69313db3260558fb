#include "slot.hpp"

#include "mounts.hpp"

#include <sandbox/protocol.hpp>
#include <base/files.hpp>
#include <base/ids.hpp>
#include <base/json.hpp>
#include <base/syscalls.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

namespace sandbox {

using base::errc;
using base::error;
using base::Json;

std::string Slot::new_id() { return "s" + base::random_id(10); }

bool Slot::valid_id(std::string_view id) {
    return id.size() == kIdLength && id[0] == 's' && std::all_of(id.begin() + 1, id.end(), [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= '2' && c <= '7');
           });
}

base::Status Slot::create(SlotRecord const& record) const {
    if (auto s = base::sys::mkdir(directory, 0700); !s) return s;
    if (auto s = write_record(record); !s) return s;
    for (char const* name : {"in", "out"})
        if (auto s = base::sys::mkfifo(path(name), 0600); !s) return s;
    for (char const* name : {"bundle", "mnt", "mnt/volume"})
        if (auto s = base::sys::mkdir(path(name), 0755); !s) return s;
    return mounts::seal(path("mnt"));
}

base::Status Slot::write_record(SlotRecord const& r) const {
    Json const j{{"template", r.template_name},      {"stamp", r.stamp},           {"runtime", r.runtime_build},
                 {"guest", r.guest_build},           {"created_ms", r.created_ms}, {"sentry", r.sentry},
                 {"sentry_start", r.sentry_start},   {"blank", r.blank},           {"kind", to_string(r.runtime)}};
    auto const temporary = path("slot.json.new");
    auto fd = base::sys::open(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (!fd) return fd.error();
    if (auto s = base::sys::write_all(fd->get(), base::dump(j) + "\n", "write " + temporary); !s) return s;
    return base::sys::rename(temporary, path("slot.json"));
}

base::Result<SlotRecord> Slot::read_record() const {
    auto text = base::read_file(path("slot.json"), 64 * 1024);
    if (!text) return text.error();
    auto j = base::parse_json(*text);
    if (!j) return j.error();
    try {
        SlotRecord r;
        r.template_name = j->at("template").get<std::string>();
        r.stamp = j->at("stamp").get<std::string>();
        r.runtime_build = j->at("runtime").get<std::string>();
        r.guest_build = j->at("guest").get<std::string>();
        r.created_ms = j->at("created_ms").get<std::int64_t>();
        r.sentry = j->at("sentry").get<pid_t>();
        r.sentry_start = j->at("sentry_start").get<std::uint64_t>();
        r.blank = j->value("blank", false);
        auto const kind = runtime_kind(j->value("kind", "gvisor"));
        if (!kind) return error(errc::corrupt, path("slot.json") + ": an unknown runtime");
        r.runtime = *kind;
        return r;
    } catch (Json::exception const& e) {
        return error(errc::corrupt, path("slot.json") + ": " + e.what());
    }
}

base::Result<std::pair<base::UniqueFd, base::UniqueFd>> Slot::open_fifos() const {
    auto in = base::sys::open(path("in"), O_RDWR | O_NOFOLLOW | O_NONBLOCK);
    if (!in) return in.error();
    auto out = base::sys::open(path("out"), O_RDWR | O_NOFOLLOW | O_NONBLOCK);
    if (!out) return out.error();
    // Room for a stream's whole window, so that neither side stops for each other's turn. As it was is enough to work.
    for (int fd : {in->get(), out->get()}) (void)::fcntl(fd, F_SETPIPE_SZ, static_cast<int>(protocol::kWindow));
    return std::pair(std::move(*in), std::move(*out));
}

base::Status Slot::mark_claimed() const {
    auto fd = base::sys::open(path("claimed"), O_WRONLY | O_CREAT, 0600);
    if (!fd) return fd.error();
    return {};
}

bool Slot::claimed() const { return ::access(path("claimed").c_str(), F_OK) == 0; }

base::Status Slot::mark_paused() const {
    auto fd = base::sys::open(path("paused"), O_WRONLY | O_CREAT, 0600);
    if (!fd) return fd.error();
    return {};
}

base::Status Slot::unmark_paused() const { return base::sys::unlink(path("paused")); }

bool Slot::paused() const { return ::access(path("paused").c_str(), F_OK) == 0; }

base::Status dismantle(Slot const& slot, Cgroup const& cgroup) {
    using namespace std::chrono_literals;
    if (auto s = cgroup.kill_all(10s); !s) return base::wrap(s.error(), "end sandbox " + slot.id);
    if (auto s = mounts::detach_all(slot.directory, 2s); !s) return base::wrap(s.error(), "unmount " + slot.id);
    if (auto s = cgroup.remove(5s); !s) return base::wrap(s.error(), "remove the cgroup of " + slot.id);
    return {};
}

}  // namespace sandbox
