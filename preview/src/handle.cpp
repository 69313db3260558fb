#include "impl.hpp"
#include "proxy.hpp"

namespace preview {
namespace {

using base::errc;

constexpr std::size_t kMaxLoggedPath = 200;

bool framed(Fields const& fields) {
    auto const dest = fields["Sec-Fetch-Dest"];
    return dest == "iframe" || dest == "frame" || dest == "embed" || dest == "object";
}

/// A browser that goes to a page, rather than a program that fetches.
bool goes_to_page(http::RequestHead const& r) {
    return (r.verb == http::Verb::get || r.verb == http::Verb::head) && style_of(r.fields) == Style::html;
}

std::string name_of(Verdict verdict) {
    switch (verdict) {
        case Verdict::open:
            return "public";
        case Verdict::by_link:
            return "link";
        case Verdict::by_header:
            return "token";
        case Verdict::by_cookie:
            return "cookie";
        case Verdict::missing:
            return "refused: no credential";
        case Verdict::wrong:
            return "refused: wrong credential";
    }
    return "";
}

Task<void> turn_away(http::Exchange& x, Problem problem) {
    auto page = render(problem, style_of(x.request().fields));
    (void)co_await x.send(page.status, std::move(page.fields), std::move(page.body));
}

Problem why_asleep(base::Error const& e, bool sees_output) {
    if (base::is(e, errc::busy))
        return too_many(sees_output ? e.message() : "The server has no room to wake its workspace now.");
    if (base::is(e, errc::timed_out)) return still_waking();
    return asleep(sees_output ? e.message() : "its owner can see why.");
}

/// The workspace of a Host name.
using Hosts = std::function<std::string(std::string_view)>;

/// "5173-ws-a.localhost" of "http://5173-ws-a.localhost:7777/path"; "" of what is no URL.
std::string_view host_of(std::string_view url) {
    auto const scheme = url.find("://");
    if (scheme == url.npos) return "";
    url.remove_prefix(scheme + 3);
    url = url.substr(0, url.find_first_of("/?#"));
    return url.substr(0, url.find(':'));
}

/// Whether a URL is of a preview of this workspace.
bool same_workspace(std::string_view url, Hosts const& hosts, std::string const& workspace) {
    return hosts(host_of(url)) == workspace;
}

/// Whether another site's page makes the visitor's browser ask this, cookie and all. Links and frames that lead here
/// are no such thing.
bool from_elsewhere(Fields const& fields, Hosts const& hosts, std::string const& workspace) {
    using Field = boost::beast::http::field;
    auto const site = fields["Sec-Fetch-Site"];
    std::string_view const origin = fields[Field::origin];
    // A form of a page whose policy is no-referrer says "null", to its own server too.
    if (origin == "null" && site == "same-origin") return false;
    if (fields.count(Field::origin) > 0)
        return fields.count(Field::origin) > 1 || !same_workspace(origin, hosts, workspace);
    if (site != "same-site" && site != "cross-site") return false;
    return fields["Sec-Fetch-Mode"] != "navigate" && !same_workspace(fields[Field::referer], hosts, workspace);
}

std::optional<Problem> objection(http::RequestHead const& r, Decision const& decision, Upgrade upgrade, int page_asks) {
    if (page_asks != 0 && decision.verdict == Verdict::missing) return access_needed_by_page(page_asks);
    if (!decision.admitted()) return access_needed(decision.verdict == Verdict::wrong);
    if (upgrade == Upgrade::malformed)
        return bad_request("It asks for a WebSocket in a way that no WebSocket begins.");
    if (r.verb == http::Verb::trace || r.verb == http::Verb::connect)
        return bad_request("Its method is not served here.");
    return std::nullopt;
}

}  // namespace

std::string Previews::Impl::sibling(Fields const& fields, registry::PreviewRecord const& r) const {
    using Field = boost::beast::http::field;
    if (fields.count(Field::origin) != 1) return "";
    std::string const origin(fields[Field::origin]);
    auto const host = host_of(origin);
    if (workspace_of(host) != r.workspace) return "";
    // As browsers write our own origins: another scheme or port is another server.
    auto const name = names->parse(host);
    return origin == (name ? names->origin(*name) : names->origin(host)) ? origin : "";
}

void Previews::Impl::forget_deleted() {
    std::erase_if(table, [this](auto const& entry) {
        auto const& record = entry.second->record;
        if (backend.state(record.owner, record.workspace) != Backend::State::unknown) return false;
        traffic.forget(record.id);
        by_domain.erase(record.domain);
        return true;
    });
}

Task<void> Previews::Impl::handle(http::Exchange& x) {
    auto const self = shared_from_this();
    auto const& r = x.request();
    std::string target = r.target;
    auto const brought = presented(r.fields, target);
    auto const p = find_host(r.host);
    auto reached = p ? traffic.full(p->record.id, r.peer) : std::string();
    if (!p || !reached.empty()) {
        auto problem = p ? too_many(std::move(reached)) : no_such_preview();
        co_await turn_away(x, std::move(problem));
        co_return;
    }

    LogEntry entry;
    entry.visitor = r.peer;
    entry.method = r.method.substr(0, 32);
    entry.path = target.substr(0, std::min(target.find('?'), kMaxLoggedPath));
    Passage passage(traffic, x, p->record.id, std::move(entry));
    auto const now_s = unix_ms() / 1000;
    bool const is_open = p->open() && p->record.expires_ms / 1000 > now_s;
    auto decision = decide(key, p->subject(), is_open, brought, now_s);
    Hosts const hosts = [this](std::string_view host) { return workspace_of(host); };
    if (decision.verdict == Verdict::by_cookie && from_elsewhere(r.fields, hosts, p->record.workspace))
        decision = Decision();
    passage.entry.by = name_of(decision.verdict);
    passage.expires_s = is_open ? p->record.expires_ms / 1000 : decision.expires_s;
    auto const page = sibling(r.fields, p->record);
    Proxied proxied{x, passage, options, target, {}, {}, page, decision.verdict != Verdict::open, {}};
    auto const upgrade = upgrade_of(r);
    if (decision.verdict == Verdict::missing && !page.empty() && is_preflight(r)) {
        // Browsers ask without credentials, so the program cannot be asked: what is not let in never reaches it, and
        // wakes nothing. The yes is ours to give: programs of one workspace reach each other anyway, and what the page
        // then sends has to show its credential here as everything does.
        if (auto fields = preflight_answer(r.fields, page)) {
            passage.entry.by = "preflight";
            passage.entry.status = 204;
            (void)co_await x.send(http::Status::no_content, std::move(*fields), "");
            co_return;
        }
    }
    bool const by_other_port = !page.empty() && host_of(page) != r.host;
    if (auto problem = objection(r, decision, upgrade, by_other_port ? p->record.port : 0)) {
        co_await proxied.answer(std::move(*problem));
        co_return;
    }
    if (decision.verdict == Verdict::by_link && upgrade == Upgrade::none) {
        auto const token = seal(key, p->subject(), Kind::cookie, decision.expires_s);
        proxied.cookie = set_cookie(token, decision.expires_s - now_s, names->secure(),
                                    r.host.ends_with(".localhost"), framed(r.fields));
        if (goes_to_page(r)) {
            // The browser comes back with the cookie, and the link is in no address bar, history or Referer.
            Fields fields;
            fields.set("Location", names->scheme + "://" + std::string(r.fields["Host"]) + target);
            fields.set("Set-Cookie", proxied.cookie);
            fields.set("Cache-Control", "no-store");
            fields.set("Referrer-Policy", "no-referrer");
            fields.set("Berth-Preview", "link_taken");
            passage.entry.status = 303;
            (void)co_await x.send(http::Status::see_other, std::move(fields), "");
            co_return;
        }
    }
    if (upgrade == Upgrade::websocket && options.keep_awake != KeepAwake::traffic &&
        backend.state(p->record.owner, p->record.workspace) == Backend::State::asleep) {
        // What a forgotten tab dials again and again would else undo each sleep at once.
        auto problem = asleep("a WebSocket alone wakes nothing here; load the page again.");
        co_await proxied.answer(std::move(problem));
        co_return;
    }
    auto awake = co_await waker.awake(p->record.owner, p->record.workspace);
    if (!awake) {
        // A wake has other reasons for not_found: a template, a snapshot.
        auto const gone = backend.state(p->record.owner, p->record.workspace) == Backend::State::unknown;
        if (gone) forget_deleted();
        auto problem = gone ? no_such_preview() : why_asleep(awake.error(), proxied.sees_output);
        co_await proxied.answer(std::move(problem));
        co_return;
    }
    passage.moved();
    if (std::exchange(p->generation, (*awake)->generation()) != (*awake)->generation()) p->clients.clear();
    int const port = p->port_for(target);
    auto& client = p->clients[port];
    if (!client) {
        http::Client::Options kept;
        client = std::make_shared<http::Client>(kept);
    }
    proxied.forwarded.peer = r.peer;
    proxied.forwarded.scheme = names->scheme;
    proxied.forwarded.authorization_is_ours = brought.authorization_is_ours;
    proxied.forwarded.upgrade = upgrade == Upgrade::websocket;
    auto const held = client;
    proxied.awake = std::move(*awake);
    co_await proxied.run(held, port);
}

}  // namespace preview
