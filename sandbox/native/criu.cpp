#include "criu.hpp"

#include <base/files.hpp>
#include <base/syscalls.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sstream>

namespace sandbox::native::criu {

namespace {

// Numbers of CRIU's images/rpc.proto.
enum RequestType { dump_request = 1, restore_request = 2, notify_request = 6 };
namespace request_field {
enum { type = 1, options = 2, notify_success = 3 };
}
namespace response_field {
enum { type = 1, success = 2, notify = 5, message = 9 };
}
namespace notify_field {
enum { script = 1, pid = 2 };
}
namespace inherit_field {
enum { key = 1, fd = 2 };
}
namespace option {
enum {
    images_dir_fd = 1,
    pid = 2,
    leave_running = 3,
    tcp_established = 5,
    file_locks = 8,
    log_level = 9,
    log_file = 10,
    notify_scripts = 12,
    root = 13,
    work_dir_fd = 17,
    inherit_fd = 27,
    ext_sharing = 29,
    ext_masters = 30,
    manage_cgroups_mode = 34,
    ghost_limit = 35,
    external = 37,
    freeze_cgroup = 44,
    network_lock = 64,
    mntns_compat_mode = 65
};
}

constexpr int kInfo = 3;
constexpr int kCgroupsIgnored = 0;  // ours are
constexpr int kNoNetworkLock = 3;   // nothing comes from outside that could answer a connection meanwhile
constexpr std::uint64_t kGhostLimit =
    1ull << 30;  // of a file that is open but deleted, which is kept in the images
constexpr char const* kAllLoaded = "post-restore";

constexpr std::size_t kMaxLog = 16 << 20, kMaxMessage = 64 * 1024;
constexpr std::size_t kMaxErrors = 3, kMaxWords = 400;
// Called errors, and none: what a root without CAP_SYS_RESOURCE lacks, and a machine without iptables.
constexpr char const* kNoMatter[] = {"RLIMIT_NOFILE for self", "tables-"};

// An image: CRIU's mark of one, that of its kind, and entries, each after its length (criu/include/magic.h).
constexpr std::uint32_t kImageMagic = 0x54564319, kUserNamespaceMagic = 0x55474906, kPageMapMagic = 0x56084025;
constexpr std::size_t kMagics = 8, kLength = 4;

constexpr unsigned kDumpableField = 15;          // of images/mm.proto
namespace page_map {                             // images/pagemap.proto: the head, then what follows it
enum { pages_file = 1 };
enum { pages_to_4_1 = 2, flags = 4, pages = 5 };    // 0 in the first where the second is
constexpr std::uint64_t kPresent = 1 << 2;       // in the file, and not in that of an earlier save
}

std::string word(std::uint32_t value) {
    std::string out;
    for (int i = 0; i < 4; ++i) out.push_back(static_cast<char>(value >> 8 * i));
    return out;
}

std::uint32_t word_at(std::string_view bytes, std::size_t at) {
    std::uint32_t value = 0;
    for (std::size_t i = 4; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
    return value;
}

struct Response {
    std::uint64_t type = 0;
    bool success = false;
    std::string script, message;
    pid_t pid = 0;
};

bool decode(std::string_view bytes, Response& out) {
    wire::Reader reader(bytes);
    for (wire::Field field; reader.next(field);) {
        if (field.number == response_field::type) out.type = field.value;
        if (field.number == response_field::success) out.success = field.value != 0;
        if (field.number == response_field::message) out.message = field.text;
        if (field.number != response_field::notify) continue;
        wire::Reader notify(field.text);
        for (wire::Field part; notify.next(part);) {
            if (part.number == notify_field::script) out.script = part.text;
            if (part.number == notify_field::pid) out.pid = static_cast<pid_t>(part.value);
        }
    }
    return reader.sound();
}

bool send(int socket, wire::Message const& message) {
    auto const& bytes = message.bytes();
    ssize_t n;
    do n = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n == static_cast<ssize_t>(bytes.size());
}

bool receive(int socket, Response& out) {
    std::vector<char> buffer(kMaxMessage);
    ssize_t n;
    do n = ::recv(socket, buffer.data(), buffer.size(), 0);
    while (n < 0 && errno == EINTR);
    out = Response{};
    return n > 0 && decode({buffer.data(), static_cast<std::size_t>(n)}, out);
}

[[noreturn]] void become_criu(std::vector<std::string> command, int socket, Request const& request, pid_t parent) {
    // What this process was killed for is not to be gone on with.
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != parent) ::_exit(1);
    for (auto const& one : request.inherited)
        if (::fcntl(one.fd, F_SETFD, 0) != 0) ::_exit(1);
    if (::fcntl(socket, F_SETFD, 0) != 0) ::_exit(1);
    command.insert(command.end(), {"swrk", std::to_string(socket)});
    std::vector<char*> argv;
    for (auto& word : command) argv.push_back(word.data());
    argv.push_back(nullptr);
    // CRIU starts `ip` and `tar`.
    char const* const env[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", nullptr};
    ::execve(argv[0], argv.data(), const_cast<char* const*>(env));
    ::_exit(1);
}

// True once CRIU has answered, whatever it answered.
bool converse(int socket, Request const& request, Loaded const& loaded, Response& answer,
              std::string& objection) {
    wire::Message whole;
    whole.number(request_field::type, request.kind == Request::Kind::dump ? dump_request : restore_request);
    whole.message(request_field::options, encode(request));
    if (!send(socket, whole)) return false;
    while (receive(socket, answer)) {
        if (answer.type != notify_request) return true;
        base::Status agreed;
        if (answer.script == kAllLoaded) agreed = loaded(answer.pid);
        if (!agreed) objection = agreed.error().message();
        wire::Message reply;
        reply.number(request_field::type, notify_request)
            .number(request_field::notify_success, agreed ? 1 : 0);
        if (!send(socket, reply)) return false;
    }
    return false;
}

std::string read_log(Request const& request) {
    auto fd = base::sys::openat(request.work, request.log_name, O_RDONLY | O_NOFOLLOW);
    if (!fd) return {};
    auto log = base::sys::read_all(fd->get(), kMaxLog, "CRIU's log");
    return log ? *log : std::string();
}

}  // namespace

wire::Message encode(Request const& request) {
    bool const dump = request.kind == Request::Kind::dump;
    wire::Message options;
    options.number(option::images_dir_fd, static_cast<std::uint64_t>(request.images));
    options.number(option::work_dir_fd, static_cast<std::uint64_t>(request.work));
    options.number(option::log_level, kInfo).text(option::log_file, request.log_name);
    options.number(option::tcp_established, 1).number(option::file_locks, 1);
    options.number(option::manage_cgroups_mode, kCgroupsIgnored).number(option::network_lock, kNoNetworkLock);
    // The slot's mounts go on reaching inside, and the host's groups of mounts are not the sandbox's.
    options.number(option::ext_sharing, 1).number(option::ext_masters, 1);
    for (auto const& one : request.external) options.text(option::external, one);
    if (dump) {
        options.number(option::pid, static_cast<std::uint64_t>(request.process))
            .number(option::leave_running, 1);
        options.number(option::ghost_limit, kGhostLimit);
        options.text(option::freeze_cgroup, request.freezer);
        return options;
    }
    options.text(option::root, request.root).number(option::notify_scripts, 1);
    options.number(option::mntns_compat_mode,
                   1);  // the newer way of mounting gets EINVAL in a user namespace
    for (auto const& one : request.inherited) {
        wire::Message fd;
        fd.text(inherit_field::key, one.key).number(inherit_field::fd, static_cast<std::uint64_t>(one.fd));
        options.message(option::inherit_fd, fd);
    }
    return options;
}

bool run(std::vector<std::string> const& command, Request const& request, Loaded const& loaded, Failure& failure) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        failure = {Ended::refused, base::errno_error("socketpair").message()};
        return false;
    }
    base::UniqueFd ours(ends[0]), its(ends[1]);
    pid_t const parent = ::getpid();
    pid_t const pid = ::fork();
    if (pid < 0) {
        failure = {Ended::refused, base::errno_error("fork").message()};
        return false;
    }
    if (pid == 0) become_criu(command, its.get(), request, parent);
    its.reset();
    Response answer;
    std::string objection;
    bool const answered = converse(ours.get(), request, loaded, answer, objection);
    ours.reset();
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (answered && answer.success) return true;
    failure.how = answered ? Ended::refused : Ended::broken;
    failure.words = objection.empty() ? words_of(read_log(request)) : objection;
    if (failure.words.empty()) failure.words = answer.message;
    if (failure.words.empty())
        failure.words = WIFSIGNALED(status) ? "criu was ended by signal " + std::to_string(WTERMSIG(status))
                                            : "criu ended with status " + std::to_string(WEXITSTATUS(status));
    return false;
}

std::string words_of(std::string const& log) {
    std::vector<std::string> errors;
    std::istringstream lines(log);
    // "(00.012345)     17: Error (criu/files.c:123): the words", until it says that this was all.
    for (std::string line; std::getline(lines, line);) {
        auto const error = line.find("Error (");
        if (error == line.npos) continue;
        if (line.find("FAILED") != line.npos) break;
        if (std::any_of(std::begin(kNoMatter), std::end(kNoMatter),
                        [&](char const* words) { return line.find(words) != line.npos; }))
            continue;
        auto const end = line.find("): ", error);
        auto words = end == line.npos ? line.substr(error) : line.substr(end + 3);
        if (std::find(errors.begin(), errors.end(), words) == errors.end())
            errors.push_back(std::move(words));
    }
    std::string out;
    for (std::size_t i = errors.size() - std::min(errors.size(), kMaxErrors); i < errors.size(); ++i)
        out += (out.empty() ? "" : "; ") + errors[i];
    for (char& c : out)
        if (static_cast<unsigned char>(c) < ' ') c = ' ';
    return out.substr(0, std::min(out.size(), kMaxWords));
}

std::string user_namespace_image(std::uint32_t first, std::uint32_t count) {
    wire::Message extent, entry;
    extent.number(1, 0).number(2, first).number(3, count);
    entry.message(1, extent).message(2, extent);
    return word(kImageMagic) + word(kUserNamespaceMagic) + word(static_cast<std::uint32_t>(entry.bytes().size())) + entry.bytes();
}

std::string dumpable_memory_image(std::string image) {
    constexpr std::size_t kEntry = kMagics + kLength;
    if (image.size() < kEntry) return image;
    auto const length = word_at(image, kMagics);
    if (length != image.size() - kEntry) return image;
    // Of a field that comes twice the last one holds.
    wire::Message more;
    more.number(kDumpableField, 1);
    image.replace(kMagics, kLength, word(length + static_cast<std::uint32_t>(more.bytes().size())));
    return image + more.bytes();
}

std::optional<Pages> pages_of(std::string_view image) {
    if (image.size() < kMagics || word_at(image, 0) != kImageMagic || word_at(image, 4) != kPageMapMagic) return std::nullopt;
    static auto const page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    std::optional<Pages> out;
    for (auto rest = image.substr(kMagics); !rest.empty();) {
        if (rest.size() < kLength || rest.size() - kLength < word_at(rest, 0)) return std::nullopt;
        auto const entry = rest.substr(kLength, word_at(rest, 0));
        rest.remove_prefix(kLength + entry.size());
        std::uint64_t file = 0, count = 0, flags = 0;
        wire::Reader reader(entry);
        for (wire::Field field; reader.next(field);) {
            if (field.number == page_map::pages_file) file = field.value;
            if (field.number == page_map::pages || field.number == page_map::pages_to_4_1) count = std::max(count, field.value);
            if (field.number == page_map::flags) flags = field.value;
        }
        if (!reader.sound()) return std::nullopt;
        if (!out) out = Pages{file, 0};
        else if (flags & page_map::kPresent) out->bytes += count * page;
    }
    return out;
}

}  // namespace sandbox::native::criu
