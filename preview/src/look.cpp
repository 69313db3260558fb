#include "impl.hpp"
#include <base/timeout.hpp>

#include <algorithm>
#include <array>

// Looking at a preview ourselves: whether its port answers, and what a visitor would be given.
namespace preview {
namespace {

using base::errc;
using base::error;

constexpr base::milliseconds kAnswerLimit{5'000}, kLookAgain{100};
constexpr std::size_t kVisitBytes = 256 * 1024;
/// Ports that development servers take by themselves; of several, the first of these is meant.
constexpr std::array<int, 10> kUsual{5173, 3000, 4321, 8080, 8000, 5000, 4200, 8888, 8501, 7860};

int likeliest(std::vector<Listener> const& listening) {
    for (int const usual : kUsual)
        for (auto const& l : listening)
            if (l.port == usual) return usual;
    return listening.empty() ? 0 : listening.front().port;
}

/// The status of a GET, 0 when what listens does not speak HTTP in time.
base::Task<base::Result<unsigned>> ask(std::unique_ptr<base::ByteStream> stream, std::string host,
                                       std::string path) {
    http::ClientConnection connection(std::move(stream));
    http::ClientRequest request;
    request.method = "GET";
    request.target = std::move(path);
    request.fields.set("Host", host);
    request.fields.set("Accept", "text/html, */*");
    request.fields.set("User-Agent", "berth");
    auto const begun = co_await connection.begin(std::move(request));
    if (!begun) co_return begun.error();
    auto const head = co_await connection.response();
    if (!head) co_return head.error();
    co_return static_cast<unsigned>(head->status);
}

/// A visitor who keeps the beginning of what is answered.
class Reader final : public http::Exchange {
  public:
    explicit Reader(http::RequestHead head) : head_(std::move(head)) {}
    http::RequestHead const& request() const override { return head_; }
    base::Task<base::Result<std::string>> receive() override { co_return std::string(); }
    base::Task<base::Result<std::unique_ptr<base::ByteStream>>> upgrade(http::Fields) override {
        co_return error(errc::invalid, "no upgrade here");
    }
    void close() override {}
    bool begun() const override { return begun_; }
    base::Task<Status> send(http::Status status, http::Fields fields, std::string body) override {
        take_head(status, fields);
        co_return keep(std::move(body));
    }
    base::Task<Status> begin(http::Status status, http::Fields fields,
                             std::optional<std::uint64_t>) override {
        take_head(status, fields);
        co_return Status();
    }
    base::Task<Status> write(std::string bytes) override { co_return keep(std::move(bytes)); }
    base::Task<Status> finish() override { co_return Status(); }

    Visit visit;

  private:
    void take_head(http::Status status, http::Fields const& fields) {
        begun_ = true;
        visit.status = static_cast<unsigned>(status);
        visit.type = fields["Content-Type"];
        visit.location = fields["Location"];
    }
    Status keep(std::string bytes) {
        visit.body += bytes;
        if (visit.body.size() <= kVisitBytes) return {};
        visit.body.resize(kVisitBytes);
        visit.cut = true;
        return error(errc::cancelled, "enough was read");
    }

    http::RequestHead head_;
    bool begun_ = false;
};

}  // namespace

Task<Result<Readiness>> Previews::look(std::string owner, std::string workspace, int& port, std::string path,
                                       base::milliseconds wait, std::optional<std::map<std::string, int>> rules) {
    auto const impl = impl_;
    auto const id = impl->backend.id_of(owner, workspace);
    if (!id) co_return error(errc::not_found, "there is no workspace \"" + workspace.substr(0, 80) + "\"");
    Readiness out;
    bool const asleep = impl->backend.state(owner, *id) == Backend::State::asleep;
    if (asleep && wait.count() == 0 && port != 0) {
        out.hint = "The workspace is asleep; the first request wakes it.";
        co_return out;
    }
    auto awake = co_await impl->waker.awake(owner, *id);
    if (!awake) co_return awake.error();
    out.awake = true;
    auto const end = base::Clock::now() + wait;
    int asked = 0;  // the port that a visitor's request for the path comes to
    auto const answers_at = [&](int of) {
        auto const p = impl->find({of, *id});
        Preview seen;
        seen.record.port = of;
        if (rules) seen.rules = *rules;
        else if (p) seen.rules = p->rules;
        return seen.port_for(path);
    };
    for (;;) {
        if (port == 0) {
            auto found = co_await (*awake)->listeners();
            if (!found) co_return found.error();
            out.listening = std::move(*found);
            port = likeliest(out.listening);
        }
        if (port != 0) {
            asked = answers_at(port);
            auto stream = co_await (*awake)->connect(asked);
            out.ready = stream.has_value();
            if (stream && wait.count() > 0) {
                std::string const host = impl->names ? impl->names->host({port, *id}) : "localhost";
                auto work = ask(std::move(*stream), host, path);
                auto const status =
                    co_await base::with_timeout(std::move(work), kAnswerLimit, "ask the port");
                out.status = status ? *status : 0;
                if (out.status == 0) out.hint = "Something listens there, but it gave no HTTP answer.";
            }
        }
        if (out.ready || base::Clock::now() >= end) break;
        co_await base::sleep_for(kLookAgain);
    }
    if (out.ready) co_return out;
    auto found = co_await (*awake)->listeners();
    if (found) out.listening = std::move(*found);
    out.hint = unreachable_hint(asked, out.listening);
    if (!out.hint.empty()) co_return out;
    out.hint = port == 0 ? "Nothing listens on any port yet."
                         : "Nothing listens on port " + std::to_string(asked) + " yet.";
    if (asked != port) out.hint += " Routes send this path there.";
    if (asleep && (*awake)->restarted())
        out.hint += " The workspace was started again from its files: start its programs.";
    if (out.listening.empty())
        out.hint += " Start the server in the background with run_command, then ask again.";
    co_return out;
}

Task<Result<Visit>> Previews::visit(Link const& link, std::string path, base::milliseconds limit) {
    auto const impl = impl_;
    if (!impl->names) co_return error(errc::unavailable, "this server has no listener for previews");
    if (!plain_path(path)) co_return error(errc::invalid, "path: expected one such as /items?page=2");
    http::RequestHead head;
    head.verb = http::Verb::get;
    head.method = "GET";
    head.target = std::move(path);
    auto const host = impl->names->host({link.port, link.workspace});
    head.host = host.substr(0, host.find(':'));
    head.peer = "127.0.0.1";
    head.fields.set("Host", host);
    head.fields.set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    head.fields.set("User-Agent", "berth");
    if (!link.token.empty()) head.fields.set(std::string(kTokenHeader), link.token);
    auto const reader = std::make_shared<Reader>(std::move(head));
    auto pass = [](std::shared_ptr<Previews::Impl> i, std::shared_ptr<Reader> r) -> Task<Result<bool>> {
        co_await i->handle(*r);
        co_return true;
    };
    auto work = pass(impl, reader);
    auto const done = co_await base::with_timeout(std::move(work), limit, "visit the preview");
    if (!done && !reader->begun()) co_return done.error();
    if (!reader->begun()) co_return error(errc::unavailable, "no answer came");
    if (!done) reader->visit.cut = true;
    co_return std::move(reader->visit);
}

Task<Result<Sight>> Previews::see(Browser& browser, Link const& link, std::string path, bool picture) {
    auto const impl = impl_;
    if (!impl->names) co_return error(errc::unavailable, "this server has no listener for previews");
    auto const host = impl->names->host({link.port, link.workspace});
    Browser::Errand errand;
    errand.host = host.substr(0, host.find(':'));
    errand.port = impl->names->port;
    errand.tls = impl->names->secure();
    errand.picture = picture;
    auto const fragment = path.substr(std::min(path.find('#'), path.size()));
    path.resize(path.size() - fragment.size());
    if (!plain_path(path)) co_return error(errc::invalid, "path: expected one such as /items?page=2");
    if (!link.token.empty()) path += (path.find('?') == path.npos ? "?" : "&") + std::string(kLinkParameter) + "=" + link.token;
    errand.url = impl->names->scheme + "://" + host + path + fragment;
    // Pages reach whatever their workspace serves, as they do for other visitors, and nobody else's previews, also public ones.
    errand.site.serves = [impl, workspace = link.workspace](std::string_view name) { return impl->workspace_of(name) == workspace; };
    errand.site.handler = [impl](http::Exchange& x) { return impl->handle(x); };
    co_return co_await browser.look(std::move(errand));
}

}  // namespace preview
