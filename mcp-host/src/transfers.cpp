#include "transfers.hpp"

#include <base/hash.hpp>
#include <base/json.hpp>
#include <base/syscalls.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>

namespace host {
namespace {

using base::errc;
using base::error;
using base::Json;

constexpr std::size_t kPiece = 256 * 1024;
constexpr std::string_view kPrefix = "/transfer/";

http::Status status_of(base::Error const& e) {
    if (base::is(e, errc::not_found)) return http::Status::not_found;
    if (base::is(e, errc::denied)) return http::Status::forbidden;
    if (base::is(e, errc::invalid)) return http::Status::bad_request;
    if (base::is(e, errc::limit)) return http::Status::payload_too_large;
    if (e.code == boost::system::errc::no_space_on_device) return http::Status::insufficient_storage;
    return http::Status::internal_server_error;
}

base::Task<void> answer(http::Reply& reply, http::Status status, Json body) {
    http::Fields fields;
    fields.set("Content-Type", "application/json");
    std::string text = base::dump(body) + "\n";
    (void)co_await reply.send(status, std::move(fields), std::move(text));
}

base::Task<void> refuse(http::Reply& reply, base::Error e) {
    Json body = {{"error", e.message()}};
    co_await answer(reply, status_of(e), std::move(body));
}

std::int64_t now_ms() {
    return std::chrono::duration_cast<base::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// A name that a header can carry; the client chooses where it puts the file anyway.
std::string plain_name(std::string const& path) {
    std::string name = path.substr(path.rfind('/') + 1);
    for (char& c : name)
        if (c < 0x20 || c > 0x7e || c == '"' || c == '\\') c = '_';
    return name;
}

}  // namespace

std::optional<ByteRange> parse_range(std::string_view header, std::uint64_t size) {
    constexpr std::string_view unit = "bytes=";
    if (!header.starts_with(unit)) return std::nullopt;
    header.remove_prefix(unit.size());
    auto const dash = header.find('-');
    // Of several ranges none is served: the whole file is a right answer too.
    if (dash == header.npos || header.find(',') != header.npos) return std::nullopt;
    auto const number = [](std::string_view text) -> std::optional<std::uint64_t> {
        std::uint64_t value = 0;
        auto const [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
        return value;
    };
    auto const from = number(header.substr(0, dash)), to = number(header.substr(dash + 1));
    bool const open_start = dash == 0, open_end = dash + 1 == header.size();
    if ((!from && !open_start) || (!to && !open_end) || (open_start && open_end)) return std::nullopt;
    if (open_start) {  // the last bytes
        if (*to == 0 || size == 0) return ByteRange{0, 0, true};
        auto const count = std::min(*to, size);
        return ByteRange{size - count, count};
    }
    if (to && *to < *from) return std::nullopt;
    if (*from >= size) return ByteRange{0, 0, true};
    auto const last = to ? std::min(*to, size - 1) : size - 1;
    return ByteRange{*from, last - *from + 1};
}

std::string Transfers::seal(Link const& link) const {
    auto const payload = base::dump(Json{{"o", link.owner},
                                         {"w", link.workspace},
                                         {"p", link.path},
                                         {"d", link.direction == Direction::upload ? "up" : "down"},
                                         {"e", link.expires_ms}});
    return base::base64url_encode(payload) + "." +
           base::base64url_encode(base::hmac_sha256(key_.reveal(), payload));
}

base::Result<Transfers::Link> Transfers::unseal(std::string_view token) const {
    auto const unknown = error(errc::denied, "this is no link of this server, or no longer: ask for a new one");
    std::string payload, tag;
    auto const dot = token.find('.');
    if (dot == token.npos || !base::base64url_decode(token.substr(0, dot), payload) ||
        !base::base64url_decode(token.substr(dot + 1), tag) ||
        !base::constant_time_equal(base::hmac_sha256(key_.reveal(), payload), tag))
        return unknown;
    auto const json = base::parse_json(payload);
    if (!json) return unknown;
    Link link;
    link.owner = json->at("o").get<std::string>();
    link.workspace = json->at("w").get<std::string>();
    link.path = json->at("p").get<std::string>();
    link.direction = json->at("d") == "up" ? Direction::upload : Direction::download;
    link.expires_ms = json->at("e").get<std::int64_t>();
    if (link.expires_ms < now_ms()) return error(errc::denied, "this link has expired: ask for a new one");
    return link;
}

std::string Transfers::url(Link const& link) const {
    return (base_url_.empty() ? "http://localhost" : base_url_) + std::string(kPrefix) + seal(link);
}

std::string Transfers::curl(Link const& link) const {
    std::string command = "curl -fS";
    if (base_url_.empty()) command += " --unix-socket '" + socket_ + "'";
    command += link.direction == Direction::upload ? " -T FILE" : " -o FILE";
    return command + " '" + url(link) + "'";
}

std::vector<http::Route> Transfers::routes() {
    auto handler = [this](http::Request request, http::Reply& reply) -> base::Task<void> {
        auto link = unseal(std::string_view(request.path).substr(kPrefix.size()));
        bool const puts = request.verb == http::Verb::put;
        if (link && puts != (link->direction == Direction::upload))
            link = error(errc::denied, puts ? "this link is for a download" : "this link is for an upload: use PUT");
        if (!link)
            co_await refuse(reply, link.error());
        else if (puts)
            co_await upload(std::move(*link), reply);
        else
            co_await download(std::move(*link), std::move(request), reply);
    };
    http::Route route;
    route.path = std::string(kPrefix) + "*";
    route.verbs = {http::Verb::get, http::Verb::head, http::Verb::put};
    route.access = http::Access::open;
    route.max_body = 1ull << 40;  // the volume's quota is what bounds it
    route.streams_body = true;
    route.handler = handler;
    return {route};
}

base::Task<void> Transfers::download(Link link, http::Request request, http::Reply& reply) {
    auto place = co_await workspaces_.place(link.owner, link.workspace, link.path);
    if (place && !place->root) place = error(errc::invalid, link.path + " is outside /workspace and /home/agent");
    if (!place) co_return co_await refuse(reply, place.error());
    struct Opened {
        base::UniqueFd fd;
        std::uint64_t size = 0;
    };
    auto const where = *place;
    auto open = [where]() -> base::Result<std::shared_ptr<Opened>> {
        auto fd = where.root->open_file(where.path);
        if (!fd) return fd.error();
        struct stat st{};
        if (::fstat(fd->get(), &st) != 0) return base::errno_error(where.path);
        return std::make_shared<Opened>(Opened{std::move(*fd), static_cast<std::uint64_t>(st.st_size)});
    };
    auto opened = co_await base::blocking(pool_, std::move(open));
    if (!opened) co_return co_await refuse(reply, opened.error());
    auto const file = *opened;

    http::Fields fields;
    fields.set("Content-Type", "application/octet-stream");
    // What a sandbox wrote must never run as a page of this server's.
    fields.set("X-Content-Type-Options", "nosniff");
    fields.set("Content-Disposition", "attachment; filename=\"" + plain_name(link.path) + "\"");
    fields.set("Cache-Control", "private, no-store");
    fields.set("Accept-Ranges", "bytes");
    std::uint64_t at = 0, left = file->size;
    auto status = http::Status::ok;
    if (auto const range = parse_range(request.field("Range"), file->size)) {
        if (range->unsatisfiable) {
            fields.set("Content-Range", "bytes */" + std::to_string(file->size));
            (void)co_await reply.send(http::Status::range_not_satisfiable, std::move(fields), "");
            co_return;
        }
        at = range->first;
        left = range->count;
        status = http::Status::partial_content;
        fields.set("Content-Range", "bytes " + std::to_string(at) + "-" + std::to_string(at + left - 1) + "/" +
                                        std::to_string(file->size));
    }
    auto sent = co_await reply.begin(status, std::move(fields), left);
    while (sent && left > 0 && request.verb != http::Verb::head) {
        auto read = [file, at, want = std::min<std::uint64_t>(left, kPiece)] {
            std::string bytes(want, '\0');
            auto const n = ::pread(file->fd.get(), bytes.data(), want, static_cast<off_t>(at));
            bytes.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
            return bytes;
        };
        auto bytes = co_await base::blocking(pool_, std::move(read));
        if (bytes.empty()) co_return;  // cut short inside meanwhile: so is the answer, for the client to see
        at += bytes.size();
        left -= bytes.size();
        sent = co_await reply.write(std::move(bytes));
    }
    if (sent) (void)co_await reply.finish();
}

base::Task<void> Transfers::upload(Link link, http::Reply& reply) {
    auto place = co_await workspaces_.place(link.owner, link.workspace, link.path);
    if (place && !place->root) place = error(errc::invalid, link.path + " is outside /workspace and /home/agent");
    if (!place) co_return co_await refuse(reply, place.error());
    auto const where = *place;
    using Incoming = base::Beneath::Incoming;
    auto open = [where]() -> base::Result<std::shared_ptr<Incoming>> {
        auto file = where.root->incoming(where.path);
        if (!file) return file.error();
        return std::make_shared<Incoming>(std::move(*file));
    };
    auto opened = co_await base::blocking(pool_, std::move(open));
    if (!opened) co_return co_await refuse(reply, opened.error());
    auto const file = *opened;
    std::uint64_t bytes = 0;
    for (;;) {
        auto piece = co_await reply.receive();
        if (!piece) co_return co_await refuse(reply, piece.error());
        if (piece->empty()) break;
        bytes += piece->size();
        auto write = [file, text = std::move(*piece)] { return file->write(text); };
        auto written = co_await base::blocking(pool_, std::move(write));
        if (!written) co_return co_await refuse(reply, written.error());
    }
    auto const awake = co_await workspaces_.awake_for(link.owner, where, workspace::Touch::write);
    if (!awake) co_return co_await refuse(reply, awake.error());
    auto commit = [file] { return file->commit(); };
    auto committed = co_await base::blocking(pool_, std::move(commit));
    if (!committed) co_return co_await refuse(reply, committed.error());
    workspaces_.file_changed(where);
    Json body = {{"path", link.path}, {"bytes", bytes}};
    co_await answer(reply, http::Status::created, std::move(body));
}

}  // namespace host
