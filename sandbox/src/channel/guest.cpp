#include <base/json.hpp>
#include <sandbox/channel.hpp>
#include <sandbox/guest.hpp>

#include <algorithm>

namespace sandbox {

using base::errc;
using base::error;
using base::Json;
using base::milliseconds;

namespace {

constexpr milliseconds kMargin{10'000};      // beyond a call's own wait
constexpr std::size_t kMaxText = 4096;

// What comes from inside may have any type: a wrong one reads as absent.
std::int64_t number(Json const& j, char const* key, std::int64_t otherwise = 0) {
    auto const it = j.find(key);
    if (it == j.end() || !it->is_number_integer()) return otherwise;
    if (it->is_number_unsigned() && it->get<std::uint64_t>() > INT64_MAX) return otherwise;
    return it->get<std::int64_t>();
}

std::uint64_t size(Json const& j, char const* key) {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(number(j, key), 0));
}

int small(Json const& j, char const* key, int otherwise = 0) {
    auto const n = number(j, key, otherwise);
    return n < INT32_MIN || n > INT32_MAX ? otherwise : static_cast<int>(n);
}

std::string text(Json const& j, char const* key) {
    auto const it = j.find(key);
    return it != j.end() && it->is_string() ? it->get_ref<std::string const&>().substr(0, kMaxText) : std::string();
}

ProcessView view_of(Json const& j, std::string bytes = {}) {
    ProcessView v;
    v.id = text(j, "id");
    auto const running = j.find("running");
    v.running = running != j.end() && running->is_boolean() && running->get<bool>();
    v.pid = small(j, "pid");
    v.exit_code = small(j, "exit_code", -1);
    v.signal = small(j, "signal");
    v.reason = text(j, "reason");
    v.started_ms = number(j, "started_ms");
    v.ended_ms = number(j, "ended_ms");
    v.total_bytes = size(j, "total");
    v.first_kept = size(j, "first_kept");
    v.output_path = text(j, "output_path");
    v.offset = size(j, "offset");
    std::size_t const head = std::min<std::uint64_t>(size(j, "output_bytes"), bytes.size());
    v.tail = bytes.substr(head);
    bytes.resize(head);
    v.output = std::move(bytes);
    v.tail_offset = size(j, "tail_offset");
    return v;
}

Json setup_request(char const* op, GuestSetup const& setup) {
    return Json{{"op", op},
                {"workspace_id", setup.workspace_id},
                {"hostname", setup.hostname},
                {"env", setup.env},
                {"egress", setup.egress},
                {"volume", setup.volume},
                {"binds", setup.binds},
                {"max_processes_kept", setup.max_processes_kept},
                {"max_processes", setup.max_processes}};
}

Json start_request(ProcessSpec const& spec) {
    return Json{{"op", "start"},
                {"id", spec.id},
                {"command", spec.command},
                {"cwd", spec.cwd},
                {"env", spec.env},
                {"path_env", spec.path_env},
                {"pty", spec.pty},
                {"columns", spec.columns},
                {"rows", spec.rows},
                {"stdin_open", spec.stdin_open},
                {"wait_ms", spec.wait.count()},
                {"max_output", spec.max_output}};
}

constexpr std::size_t kMaxReported = 100;

}  // namespace

Guest::Guest(std::shared_ptr<Channel> channel) : channel_(std::move(channel)) {}

// Every function copies the channel's pointer first: the Guest may be destroyed while the call waits.

base::Task<base::Status> Guest::ping() {
    auto const channel = channel_;
    Json request{{"op", "ping"}};
    auto reply = co_await channel->call(std::move(request), {}, kMargin);
    if (!reply) co_return reply.error();
    co_return base::Status{};
}

base::Task<base::Status> Guest::prepare() {
    auto const channel = channel_;
    Json request{{"op", "prepare"}};
    auto reply = co_await channel->call(std::move(request), {}, kMargin);
    if (!reply) co_return base::wrap(reply.error(), "prepare the sandbox");
    co_return base::Status{};
}

base::Task<base::Status> Guest::configure(GuestSetup setup) {
    auto const channel = channel_;
    auto request = setup_request("configure", setup);
    auto reply = co_await channel->call(std::move(request), {}, kMargin);
    if (!reply) co_return base::wrap(reply.error(), "configure the sandbox");
    co_return base::Status{};
}

base::Task<base::Result<bool>> Guest::configured_for(std::string workspace_id) {
    auto const channel = channel_;
    Json request{{"op", "configured"}};
    auto reply = co_await channel->call(std::move(request), {}, kMargin);
    if (!reply) co_return reply.error();
    co_return !workspace_id.empty() && text(reply->body, "workspace_id") == workspace_id;
}

base::Task<base::Result<ProcessView>> Guest::start(ProcessSpec spec) {
    auto const channel = channel_;
    auto request = start_request(spec);
    auto reply = co_await channel->call(std::move(request), std::move(spec.stdin_bytes), spec.wait + kMargin);
    if (!reply) co_return reply.error();
    auto view = view_of(reply->body, std::move(reply->bytes));
    view.id = spec.id;
    co_return view;
}

base::Task<base::Result<std::unique_ptr<base::ByteStream>>> Guest::start_with_stdio(ProcessSpec spec) {
    auto const channel = channel_;
    Json request{{"op", "start"}, {"id", spec.id},   {"command", spec.command},
                 {"cwd", spec.cwd}, {"env", spec.env}, {"stdio_stream", true}};
    auto stream = co_await channel->open_stream(std::move(request), {}, kMargin);
    co_return stream;
}

base::Task<base::Result<std::unique_ptr<base::ByteStream>>> Guest::start_with_side_stream(ProcessSpec spec) {
    auto const channel = channel_;
    auto request = start_request(spec);
    request["side_stream"] = true;
    auto stream = co_await channel->open_stream(std::move(request), std::move(spec.stdin_bytes), kMargin);
    co_return stream;
}

base::Task<base::Result<ProcessView>> Guest::wait(std::string id, milliseconds limit, std::size_t max_output) {
    auto const channel = channel_;
    Json request{{"op", "wait"}, {"id", id}, {"wait_ms", limit.count()}, {"max_output", max_output}};
    auto reply = co_await channel->call(std::move(request), {}, limit + kMargin);
    if (!reply) co_return reply.error();
    auto view = view_of(reply->body, std::move(reply->bytes));
    view.id = id;
    co_return view;
}

base::Task<base::Result<std::unique_ptr<base::ByteStream>>> Guest::attach_stdio(std::string process) {
    auto const channel = channel_;
    Json request{{"op", "attach_stdio"}, {"id", process}};
    auto stream = co_await channel->open_stream(std::move(request), {}, kMargin);
    co_return stream;
}

base::Task<base::Result<ProcessView>> Guest::read(std::string id, std::uint64_t offset, std::size_t max,
                                                  milliseconds wait) {
    auto const channel = channel_;
    Json request{{"op", "read"}, {"id", id}, {"offset", offset}, {"max", max}, {"wait_ms", wait.count()}};
    auto reply = co_await channel->call(std::move(request), {}, wait + kMargin);
    if (!reply) co_return reply.error();
    auto view = view_of(reply->body, std::move(reply->bytes));
    view.id = id;
    co_return view;
}

base::Task<base::Status> Guest::input(std::string id, std::string bytes, bool eof) {
    auto const channel = channel_;
    Json request{{"op", "input"}, {"id", id}, {"eof", eof}};
    auto reply = co_await channel->call(std::move(request), std::move(bytes), kMargin);
    if (!reply) co_return reply.error();
    co_return base::Status{};
}

base::Task<base::Status> Guest::resize(std::string id, int columns, int rows) {
    auto const channel = channel_;
    Json request{{"op", "resize"}, {"id", id}, {"columns", columns}, {"rows", rows}};
    auto reply = co_await channel->call(std::move(request), {}, kMargin);
    if (!reply) co_return reply.error();
    co_return base::Status{};
}

base::Task<base::Result<ProcessView>> Guest::stop(std::string id, int signal, milliseconds grace) {
    auto const channel = channel_;
    Json request{{"op", "stop"}, {"id", id}, {"signal", signal}, {"grace_ms", grace.count()}};
    auto reply = co_await channel->call(std::move(request), {}, grace + kMargin);
    if (!reply) co_return reply.error();
    auto view = view_of(reply->body);
    view.id = id;
    co_return view;
}

base::Task<base::Result<std::vector<ProcessView>>> Guest::processes() {
    auto const channel = channel_;
    Json request{{"op", "processes"}};
    auto reply = co_await channel->call(std::move(request), {}, kMargin);
    if (!reply) co_return reply.error();
    std::vector<ProcessView> out;
    if (auto const all = reply->body.find("processes"); all != reply->body.end() && all->is_array())
        for (auto const& one : *all) out.push_back(view_of(one));
    co_return out;
}

base::Task<base::Status> Guest::rename(std::map<std::string, std::string> ids) {
    auto const channel = channel_;
    Json request{{"op", "rename"}, {"ids", std::move(ids)}};
    auto reply = co_await channel->call(std::move(request), {}, kMargin);
    if (!reply) co_return reply.error();
    co_return base::Status{};
}

base::Task<base::Result<std::vector<ListeningPort>>> Guest::ports(std::string process) {
    auto const channel = channel_;
    Json request{{"op", "ports"}};
    if (!process.empty()) request["process"] = std::move(process);
    auto reply = co_await channel->call(std::move(request), {}, kMargin);
    if (!reply) co_return reply.error();
    std::vector<ListeningPort> out;
    if (auto const all = reply->body.find("ports"); all != reply->body.end() && all->is_array())
        for (auto const& one : *all) {
            ListeningPort p;
            p.port = small(one, "port");
            p.address = text(one, "address");
            p.pid = small(one, "pid");
            p.program = text(one, "program");
            if (p.port > 0 && p.port < 65536) out.push_back(std::move(p));
        }
    co_return out;
}

base::Task<base::Result<std::string>> Guest::read_file(std::string path, std::size_t max) {
    auto const channel = channel_;
    Json request{{"op", "read_file"}, {"path", path}, {"max", max}};
    auto reply = co_await channel->call(std::move(request), {}, kMargin);
    if (!reply) co_return reply.error();
    if (reply->bytes.size() > max) co_return error(errc::limit, "the sandbox sent more than was asked for");
    co_return std::move(reply->bytes);
}

base::Task<base::Status> Guest::write_file(std::string path, std::string bytes, bool parents) {
    auto const channel = channel_;
    Json request{{"op", "write_file"}, {"path", path}, {"parents", parents}};
    auto reply = co_await channel->call(std::move(request), std::move(bytes), kMargin);
    if (!reply) co_return reply.error();
    co_return base::Status{};
}

base::Task<base::Result<Quiet>> Guest::quiesce() {
    auto const channel = channel_;
    auto reply = co_await channel->quiesce(kMargin);
    if (!reply) co_return base::wrap(reply.error(), "quiesce the sandbox");
    Quiet quiet;
    quiet.connections_closed = small(reply->body, "closed");
    if (auto const all = reply->body.find("deleted"); all != reply->body.end() && all->is_array())
        for (auto const& one : *all) {
            if (quiet.deleted.size() >= kMaxReported) break;
            DeletedFile file;
            file.path = text(one, "path");
            file.pid = small(one, "pid");
            file.program = text(one, "program");
            quiet.deleted.push_back(std::move(file));
        }
    // The guest closed its ends; ours that it had not heard of yet end here.
    if (quiet.deleted.empty()) quiet.connections_closed = std::max(quiet.connections_closed, channel->drop_streams());
    co_return quiet;
}

base::Task<base::Status> Guest::resume() {
    auto const channel = channel_;
    channel->release();
    Json request{{"op", "resume"}};
    auto reply = co_await channel->call(std::move(request), {}, kMargin);
    if (!reply) co_return reply.error();
    co_return base::Status{};
}

base::Task<base::Status> Guest::renew(Renewal renewal) {
    auto const channel = channel_;
    auto request = setup_request("renew", renewal.setup);
    request["generation"] = renewal.generation;
    request["forked"] = renewal.forked;
    auto reply = co_await channel->call(std::move(request), {}, kMargin);
    if (!reply) co_return base::wrap(reply.error(), "renew the sandbox");
    co_return base::Status{};
}

base::Task<base::Result<std::unique_ptr<base::ByteStream>>> Guest::connect(int port) {
    auto const channel = channel_;
    auto stream = co_await channel->connect(port, kMargin);
    co_return stream;
}

void Guest::on_egress(std::function<void(std::unique_ptr<base::ByteStream>)> handler) {
    channel_->on_stream(std::move(handler));
}

}  // namespace sandbox
