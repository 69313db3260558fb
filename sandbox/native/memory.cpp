#include "memory.hpp"

#include "id_ranges.hpp"
#include "idmap.hpp"
#include "namespaces.hpp"
#include "root.hpp"
#include "upper.hpp"
#include "user_namespace.hpp"
#include <base/files.hpp>
#include <base/json.hpp>
#include <base/syscalls.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <sstream>

namespace sandbox::native {

namespace {

constexpr char const *kUpper = "/upper.tar", *kFacts = "/sandbox.json";
constexpr char const* kVolume = "/berth/volume";
constexpr char const* kStage = "/mnt";  // at a load, where mounts of the host wait to be given to the sandbox
constexpr char const* kFirstMemory = "mm-1.img";    // of process 1: what is mapped, not the pages
constexpr std::size_t kMaxFacts = 1 << 20, kMaxMemoryImage = 64 << 20;
constexpr unsigned kNamespacesOfCriu = 64;

/// A mount that no image holds, since it shows something of the host's.
struct Outside {
    std::string inside, source;
    std::string root = {};  ///< what it shows of its file system, where something else may be mounted there
};

std::vector<Outside> outside_mounts(Spec const& spec) {
    std::string const stage = kStage;
    std::vector<Outside> out{{"/berth", stage + "/berth"}, {kVolume, stage + "/volume"}, {kGuestProgram, stage + "/guest"}};
    for (char const* name : kDevices) {
        auto const path = std::string("/dev/") + name;
        out.push_back({path, path});
    }
    for (char const* path : hidden_paths()) out.push_back({path, "/dev/null", "/null"});
    for (std::size_t i = 0; i < spec.binds.size(); ++i) out.push_back({spec.binds[i].to, stage + "/bind" + std::to_string(i)});
    return out;
}

// Each by itself, since inside a mount cannot be taken from under those that came with it, and where the sandbox's root finds it,
// who cannot pass the directories of the slot. Nobody else sees this: the mounts are this process's own.
base::Status set_stage(Spec const& spec, int user_namespace) {
    std::string const here = "stage";
    if (auto s = base::sys::mkdir(here, 0755); !s) return s;
    if (auto s = base::sys::mount("berth", here, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755"); !s) return s;
    auto const guest = base::sys::open(here + "/guest", O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (!guest) return guest.error();
    if (auto s = base::sys::bind_mount(spec.guest_binary, here + "/guest"); !s) return s;
    for (auto const& [name, source] : {std::pair(std::string("/berth"), spec.slot_mount), std::pair(std::string("/volume"), spec.slot_mount + "/volume")}) {
        if (auto s = base::sys::mkdir(here + name, 0755); !s) return s;
        if (auto s = base::sys::bind_mount(source, here + name); !s) return s;
    }
    for (std::size_t i = 0; i < spec.binds.size(); ++i) {
        auto const place = here + "/bind" + std::to_string(i);
        if (auto s = base::sys::mkdir(place, 0755); !s) return s;
        if (auto s = mount_with_ids(spec.binds[i].from, place, user_namespace, true); !s) return s;
    }
    return base::sys::mount(here, kStage, nullptr, MS_MOVE);
}

/// Where something is mounted, and which part of its file system it is.
base::Result<std::map<std::string, std::string>> mounts_of(pid_t pid) {
    auto text = base::read_file("/proc/" + std::to_string(pid) + "/mountinfo", 4 << 20);
    if (!text) return text.error();
    std::map<std::string, std::string> out;
    std::istringstream lines(*text);
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string id, parent, device, root, point;
        words >> id >> parent >> device >> root >> point;
        out[point] = root;
    }
    return out;
}

// As CRIU names a descriptor whose file is outside: the mount that it was opened in and the file's number,
// both hexadecimal.
base::Result<std::string> descriptor_key(pid_t pid, int fd) {
    auto const process = "/proc/" + std::to_string(pid), number = std::to_string(fd);
    auto info = base::read_file(process + "/fdinfo/" + number, 64 * 1024);
    if (!info) return info.error();
    constexpr std::string_view kKey = "mnt_id:";
    auto const at = info->find(kKey);
    unsigned mount = 0;
    if (at != info->npos) {
        auto const from = info->find_first_not_of(" \t", at + kKey.size());
        if (from != info->npos) std::from_chars(info->data() + from, info->data() + info->size(), mount);
    }
    struct stat st {};
    auto const path = process + "/fd/" + number;
    if (::stat(path.c_str(), &st) != 0) return base::errno_error("stat " + path);
    if (mount == 0 || !S_ISFIFO(st.st_mode))
        return base::error(base::errc::unavailable, "the guest's descriptor " + number + " is none of ours");
    char text[64];
    auto const end = std::to_chars(text, text + sizeof text, mount, 16).ptr;
    *end = ':';
    auto const last = std::to_chars(end + 1, text + sizeof text, st.st_ino, 16).ptr;
    return "file[" + std::string(text, last) + "]";
}

base::Result<base::UniqueFd> open_directory(std::string const& path) {
    return base::sys::open(path, O_RDONLY | O_DIRECTORY);
}

struct Facts {
    std::uint32_t first_id = 0;
    std::string in, out;
};

base::Result<Facts> read_facts(std::string const& images) {
    auto text = base::read_file(images + kFacts, kMaxFacts);
    if (!text) return text.error();
    auto j = base::parse_json(*text);
    if (!j) return j.error();
    try {
        return Facts{j->at("first_id").get<std::uint32_t>(), j->at("in").get<std::string>(),
                     j->at("out").get<std::string>()};
    } catch (base::Json::exception const& e) {
        return base::error(base::errc::corrupt, images + kFacts + ": " + e.what());
    }
}

// Covers an image that is shown by another.
base::Status cover(std::string const& shown, std::string const& name, std::string const& image) {
    auto fd = base::sys::open(name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644);
    if (!fd) return fd.error();
    if (auto s = base::sys::write_all(fd->get(), image, "write " + name); !s) return s;
    return base::sys::bind_mount(name, shown + "/" + name);
}

// CRIU reads most images from inside, as the sandbox's root: it is shown them as that one's own. The one that names ids of the host
// is covered by one for this sandbox, and that of process 1's memory by one that lets it be looked at.
base::Status show_images(std::string const& images, std::string const& here, int user_namespace, std::uint32_t first_id) {
    if (auto s = base::sys::mkdir(here, 0755); !s) return s;
    if (auto s = mount_with_ids(images, here, user_namespace, true); !s) return s;
    // Some are read before there are ids inside. On the host it is a directory above that keeps everybody out.
    if (::chmod(images.c_str(), 0755) != 0) return base::errno_error("chmod " + images);
    std::error_code ec;
    for (std::filesystem::directory_iterator it(images, ec), end; !ec && it != end; it.increment(ec)) {
        std::string const name = it->path().filename();
        if (::chmod(it->path().c_str(), 0644) != 0) return base::errno_error("chmod " + name);
        if (name.starts_with("userns-"))
            if (auto s = cover(here, name, criu::user_namespace_image(first_id, Spec::kIds)); !s) return s;
    }
    if (ec) return base::Error{ec, "read " + images};
    auto memory = base::read_file(images + "/" + kFirstMemory, kMaxMemoryImage);
    if (!memory) return memory.error();
    return cover(here, kFirstMemory, criu::dumpable_memory_image(*memory));
}

// CRIU waits for pages that are missing, as if they were still to come.
base::Status has_all_pages(std::string const& images) {
    std::error_code ec;
    for (std::filesystem::directory_iterator it(images, ec), end; !ec && it != end; it.increment(ec)) {
        if (!it->path().filename().string().starts_with("pagemap-")) continue;
        auto const image = base::read_file(it->path(), kMaxMemoryImage);
        auto const pages = image ? criu::pages_of(*image) : std::nullopt;
        if (!pages || pages->bytes == 0) continue;
        auto const name = "pages-" + std::to_string(pages->file) + ".img";
        std::error_code none;
        auto const size = std::filesystem::file_size(images + "/" + name, none);
        if (none) return base::Error{none, name};
        if (size < pages->bytes) return base::error(base::errc::corrupt, name + " is cut");
    }
    return {};
}

}  // namespace

base::Status save(Spec const& spec, Order const& order, criu::Ended& how) {
    how = criu::Ended::refused;
    auto const lock = base::sys::open(order.work + "/" + kSaving, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    if (!lock) return lock.error();
    if (::flock(lock->get(), LOCK_EX | LOCK_NB) != 0) return base::errno_error("lock " + order.work);
    std::error_code ec;
    if (!std::filesystem::is_empty(order.images, ec) || ec)
        return base::error(base::errc::exists, order.images + " is in use");
    auto const mounts = mounts_of(order.process);
    if (!mounts) return mounts.error();
    auto const in = descriptor_key(order.process, 0), out = descriptor_key(order.process, 1);
    for (auto const* key : {&in, &out})
        if (!*key) return key->error();
    auto const images = open_directory(order.images), work = open_directory(order.work);
    for (auto const* fd : {&images, &work})
        if (!*fd) return fd->error();

    criu::Request request;
    request.kind = criu::Request::Kind::dump;
    request.images = images->get();
    request.work = work->get();
    request.log_name = "save.log";
    request.process = order.process;
    request.freezer = order.freezer;
    request.external = {*in, *out};
    for (auto const& one : outside_mounts(spec)) {
        auto const it = mounts->find(one.inside);
        if (it != mounts->end() && (one.root.empty() || it->second == one.root))
            request.external.push_back("mnt[" + one.inside + "]:" + one.inside);
    }
    // CRIU looks at file systems that others lie upon from a mount namespace of its own, made with the
    // sandbox's rights.
    if (auto s = limit_namespaces_of(order.process, kNamespacesOfCriu); !s) return s;
    criu::Failure failure;
    auto const unasked = [](pid_t) { return base::Status(); };
    bool const dumped = criu::run(order.criu, request, unasked, failure);
    auto const limited = limit_namespaces_of(order.process, 0);
    if (!dumped) {
        how = failure.how;
        return base::error(base::errc::unavailable, failure.words);
    }
    if (!limited) {
        how = criu::Ended::broken;
        return limited;
    }
    base::Json const facts{{"first_id", spec.first_id}, {"in", *in}, {"out", *out}};
    auto fd = base::sys::open(order.images + kFacts, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (!fd) return fd.error();
    if (auto s = base::sys::write_all(fd->get(), base::dump(facts), "write " + order.images + kFacts); !s)
        return s;
    return pack_upper(spec.directory + "/upper/up", order.images + kUpper);
}

base::Status load(Spec const& spec, Order const& order, criu::Loaded const& loaded) {
    auto const facts = read_facts(order.images);
    if (!facts) return facts.error();
    if (auto s = has_all_pages(order.images); !s) return s;
    if (auto s = mount_memory(spec); !s) return s;
    if (auto s = unpack_upper(order.images + kUpper, spec.directory + "/upper/up", facts->first_id,
                              spec.first_id, Spec::kIds);
        !s)
        return s;
    auto const users = user_namespace_of(order.process);
    if (!users) return users.error();
    auto const in = base::sys::open(order.in, O_RDWR | O_NOFOLLOW | O_NONBLOCK),
               out = base::sys::open(order.out, O_RDWR | O_NOFOLLOW | O_NONBLOCK);
    for (auto const* fd : {&in, &out})
        if (!*fd) return fd->error();
    auto const work = open_directory(order.work);
    if (!work) return work.error();

    if (auto s = leave_host_mounts(spec); !s) return s;
    if (auto s = assemble_template(spec, users->get()); !s) return s;
    if (auto s = set_stage(spec, users->get()); !s) return s;
    if (auto s = show_images(order.images, spec.directory + "/image", users->get(), spec.first_id); !s)
        return s;
    auto const images = open_directory(spec.directory + "/image");
    if (!images) return images.error();

    criu::Request request;
    request.kind = criu::Request::Kind::restore;
    request.images = images->get();
    request.work = work->get();
    request.log_name = "load.log";
    request.root = spec.directory + "/" + kRoot;
    for (auto const& one : outside_mounts(spec))
        request.external.push_back("mnt[" + one.inside + "]:" + one.source);
    request.inherited = {{facts->in, in->get()}, {facts->out, out->get()}};
    // What a sandbox's processes have from whoever makes them, and not from the images.
    if (auto s = hide_cgroups(); !s) return s;
    if (auto s = leave_keyring(); !s) return s;
    auto const ask = [&](pid_t pid) -> base::Status {
        if (auto s = limit_namespaces_of(pid, 0); !s) return s;
        if (auto s = IdRanges(spec.id_ranges).hand_over(spec.first_id, spec.slot, pid); !s) return s;
        return loaded(pid);
    };
    criu::Failure failure;
    if (criu::run(order.criu, request, ask, failure)) return {};
    return base::error(base::errc::unavailable, failure.words);
}

}  // namespace sandbox::native
