#include "control.hpp"

#include <base/hash.hpp>
#include <base/json.hpp>
#include <base/syscalls.hpp>
#include <base/timeout.hpp>
#include <sandbox/image.hpp>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

namespace sandbox::gvisor {

using base::errc;
using base::Json;

namespace {

constexpr std::size_t kMaxAnswer = 1 << 20;
constexpr std::size_t kMaxWords = 300;
constexpr std::uint64_t kFull = 64 * 1024;

// The names runsc gives them, in the order in which its calls take them.
constexpr char const* kFiles[] = {"checkpoint.img", "pages_meta.img", "pages.img"};

base::Status send(int socket, std::string const& text, std::vector<int> const& fds) {
    iovec part{const_cast<char*>(text.data()), text.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * std::size(kFiles))] = {};
    if (!fds.empty()) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
        cmsghdr* const header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
        std::memcpy(CMSG_DATA(header), fds.data(), sizeof(int) * fds.size());
    }
    ssize_t n;
    do n = ::sendmsg(socket, &message, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0) return base::errno_error("send to the sandbox's control socket");
    // A few hundred bytes into an empty buffer.
    if (static_cast<std::size_t>(n) != text.size()) return base::error(errc::unavailable, "the control socket is full");
    return {};
}

// Answers are JSON without a length or an end: complete when it parses.
base::Task<base::Result<Json>> converse(std::string path, std::string text, std::vector<int> fds) {
    asio::local::stream_protocol::socket socket(co_await asio::this_coro::executor);
    boost::system::error_code ec;
    asio::local::stream_protocol::endpoint const endpoint(path);
    socket.connect(endpoint, ec);
    if (ec) co_return base::Error{ec, "connect to the sandbox's control socket"};
    if (auto s = send(socket.native_handle(), text, fds); !s) co_return s.error();
    std::string answer;
    std::vector<char> chunk(16 * 1024);
    for (;;) {
        auto const buffer = asio::buffer(chunk);
        auto [read_ec, n] = co_await socket.async_read_some(buffer, base::as_tuple);
        if (read_ec) co_return base::Error{read_ec, "the sandbox's control socket"};
        answer.append(chunk.data(), n);
        if (answer.size() > kMaxAnswer) co_return base::error(errc::limit, "the runtime's answer is too long");
        auto parsed = Json::parse(answer, nullptr, false);
        if (parsed.is_object()) co_return parsed;
    }
}

base::Task<base::Status> call(Runsc runsc, Slot slot, std::string method, Json arg, std::vector<int> fds,
                              base::milliseconds limit) {
    auto const path = runsc.root + "/runsc-" + slot.id + ".sock";
    Json const request{{"method", method}, {"arg", std::move(arg)}};
    auto conversation = converse(path, base::dump(request), std::move(fds));
    auto answer = co_await base::with_timeout(std::move(conversation), limit, "the runtime's " + method);
    if (!answer) co_return answer.error();
    if (auto const ok = answer->find("success"); ok != answer->end() && ok->is_boolean() && ok->get<bool>())
        co_return base::Status{};
    auto const words = answer->find("err");
    std::string text = words != answer->end() && words->is_string() ? words->get<std::string>() : "no reason given";
    co_return error(image_errc::refused, std::move(text));
}

base::Result<std::vector<base::UniqueFd>> open_files(std::string const& directory, int flags) {
    std::vector<base::UniqueFd> files;
    for (char const* name : kFiles) {
        auto fd = base::sys::open(directory + "/" + name, flags | O_NOFOLLOW, 0600);
        if (!fd) return fd.error();
        files.push_back(std::move(*fd));
    }
    return files;
}

std::vector<int> numbers(std::vector<base::UniqueFd> const& files) {
    std::vector<int> out;
    for (auto const& file : files) out.push_back(file.get());
    return out;
}

// 127.0.0.1 and ::1, as `runsc restore --network=none` sets them up.
Json loopback() {
    auto const route = [](char const* address, std::string const& mask) {
        return Json{{"Destination", {{"IP", address}, {"Mask", base::base64_encode(mask)}}}, {"Gateway", nullptr}};
    };
    Json link{{"Name", "lo"},
              {"Addresses", Json::array({{{"Address", "127.0.0.1"}, {"PrefixLen", 8}}, {{"Address", "::1"}, {"PrefixLen", 128}}})},
              {"Routes", Json::array({route("127.0.0.0", {"\xff\0\0\0", 4}), route("::1", std::string(16, '\xff'))})},
              {"GVisorGRO", false}};
    return {{"LoopbackLinks", Json::array({std::move(link)})}};
}

bool full(std::string const& directory) {
    struct statvfs disk{};
    return ::statvfs(directory.c_str(), &disk) == 0 && disk.f_bavail * disk.f_frsize < kFull;
}

bool mentions(std::string const& text, char const* words) { return text.find(words) != text.npos; }

// What the guest found no process for: a descriptor that is on its way through a Unix socket, say.
std::string deleted_file_in(std::string const& text) {
    constexpr std::string_view kBefore = "dentry(\"volume/", kHome = "home/";
    auto const at = text.find(kBefore);
    auto const end = text.find('"', at == text.npos ? at : at + kBefore.size());
    if (end == text.npos) return "a deleted file of the volume is open: " + first_words(text);
    auto path = text.substr(at + kBefore.size(), std::min(end - at - kBefore.size(), kMaxWords));
    path = path.starts_with(kHome) ? "/home/agent/" + path.substr(kHome.size()) : "/" + path;
    return path + ", which was deleted, is still open, though in no process: on its way through a socket, for example";
}

}  // namespace

std::string first_words(std::string const& message) {
    auto text = message.substr(0, std::min(message.find('\n'), kMaxWords));
    while (!text.empty() && (text.back() == ':' || text.back() == ' ')) text.pop_back();
    return text;
}

base::Task<base::Status> pause(Runsc runsc, Slot slot, base::milliseconds limit) {
    std::vector<int> no_files;
    auto done = co_await call(std::move(runsc), std::move(slot), "containerManager.Pause", nullptr, std::move(no_files), limit);
    co_return done;
}

base::Task<base::Status> resume(Runsc runsc, Slot slot, base::milliseconds limit) {
    std::vector<int> no_files;
    auto done = co_await call(std::move(runsc), std::move(slot), "containerManager.Resume", nullptr, std::move(no_files), limit);
    co_return done;
}

base::Task<base::Status> checkpoint(Runsc runsc, Slot slot, std::string directory, base::milliseconds limit) {
    auto files = open_files(directory, O_RDWR | O_CREAT | O_EXCL);
    if (!files) co_return files.error();
    // Without Resume the sentry ends itself after any failure, and everything inside is lost.
    Json arg{{"key", nullptr},
             {"metadata", {{"compression", "none"}}},
             {"MemoryFileSaveOpts", {{"ExcludeCommittedZeroPages", false}}},
             {"have_pages_file", true},
             {"Resume", true}};
    auto done = co_await call(std::move(runsc), std::move(slot), "containerManager.Checkpoint", std::move(arg), numbers(*files), limit);
    if (done || !is(done.error(), image_errc::refused)) co_return done;
    auto const& text = done.error().context;
    // A full disk often shows as a failure of the runtime's own, so the disk is asked too.
    if (mentions(text, "no space left on device") || mentions(text, "disk quota exceeded") || full(directory))
        co_return base::error(errc::limit, "no space for the memory image");
    if (mentions(text, "deleted and invalidated dentries"))
        co_return error(image_errc::open_deleted_file, deleted_file_in(text));
    co_return error(image_errc::refused, first_words(text));
}

base::Task<base::Status> restore(Runsc runsc, Slot slot, std::string directory, base::milliseconds limit) {
    auto files = open_files(directory, O_RDONLY);
    if (!files) {
        int const why = files.error().code.value();
        if (why == ENOENT || why == ELOOP) co_return error(image_errc::damaged, files.error().message());
        co_return files.error();
    }
    // Saved connections look for their addresses: without a loopback link one of them ends the runtime.
    std::vector<int> no_files;
    auto linked = co_await call(runsc, slot, "Network.CreateLinksAndRoutes", loopback(), std::move(no_files), limit);
    if (!linked) co_return linked;
    Json arg{{"HavePagesFile", true}, {"HaveDeviceFile", false}};
    auto done = co_await call(std::move(runsc), std::move(slot), "containerManager.Restore", std::move(arg), numbers(*files), limit);
    if (done || !is(done.error(), image_errc::refused)) co_return done;
    auto const& text = done.error().context;
    if (mentions(text, "incompatible CPU") || mentions(text, "FeatureSet"))
        co_return error(image_errc::other_cpu, first_words(text));
    for (char const* words : {"header error", "unexpected EOF", "EOF", "decoding error", "checksum"})
        if (mentions(text, words)) co_return error(image_errc::damaged, "the runtime cannot read it: " + first_words(text));
    co_return error(image_errc::refused, first_words(text));
}

}  // namespace sandbox::gvisor
