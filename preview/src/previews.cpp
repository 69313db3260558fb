#include "impl.hpp"
#include <base/json.hpp>
#include <base/uncancelled.hpp>

#include <algorithm>

namespace preview {
namespace {

using base::errc;
using base::error;

constexpr int kRelayPort = 3128;  // the egress proxy's own (sandbox::Guest::kProxyPort)
constexpr std::size_t kMaxRules = 16;
constexpr std::chrono::seconds kPassLife{60};
constexpr std::size_t kMaxPreviews = 64;  // of one workspace
/// A longer life than what the disk knows is not written as long as it is no longer than this; so only after it has passed
/// can no link of a record be good any more.
constexpr std::int64_t kUnwrittenMs = 24 * 3'600'000;

Status check_port(int port) {
    if (port < 1 || port > 65535) return error(errc::invalid, "port: expected 1 to 65535");
    if (port == kRelayPort)
        return error(errc::invalid, "port 3128 is the workspace's own proxy and has no preview");
    return {};
}

Status check_rules(std::map<std::string, int> const& rules) {
    if (rules.size() > kMaxRules) return error(errc::invalid, "routes: at most 16");
    for (auto const& [prefix, port] : rules) {
        if (!plain_path(prefix) || prefix.find('?') != prefix.npos ||
            (prefix.size() > 1 && prefix.ends_with('/')))
            return error(errc::invalid,
                         "routes: expected path prefixes such as /api, not \"" + prefix.substr(0, 80) + "\"");
        if (auto s = check_port(port); !s) return base::wrap(s.error(), "routes " + prefix);
    }
    return {};
}

std::map<std::string, int> rules_of(base::Json const& json) {
    std::map<std::string, int> out;
    for (auto const& [prefix, port] : json.items())
        if (port.is_number_integer()) out[prefix] = port.get<int>();
    return out;
}

}  // namespace

int Preview::port_for(std::string_view target) const {
    auto const path = target.substr(0, target.find('?'));
    int port = record.port;
    std::size_t longest = 0;
    for (auto const& [prefix, to] : rules) {
        bool const matches = path.starts_with(prefix) &&
                             (prefix == "/" || path.size() == prefix.size() || path[prefix.size()] == '/');
        if (matches && prefix.size() > longest) {
            longest = prefix.size();
            port = to;
        }
    }
    return port;
}

Previews::Previews(asio::io_context& io, registry::Registry& records, Backend& backend, Options options)
    : impl_(std::make_shared<Impl>(io, records, backend, options)) {}
Previews::~Previews() = default;

Task<Status> Previews::open() {
    auto key = co_await impl_->records.secret("preview", 32);
    if (!key) co_return key.error();
    impl_->key = base::Secret(std::move(*key));
    auto all = co_await impl_->records.previews();
    if (!all) co_return all.error();
    for (auto& record : *all) {
        auto p = std::make_shared<Preview>();
        p->rules = rules_of(record.rules);
        p->record = std::move(record);
        p->kept_expires_ms = p->record.expires_ms;
        impl_->table[{p->record.workspace, p->record.port}] = p;
        if (!p->record.domain.empty()) impl_->by_domain[p->record.domain] = p;
    }
    co_return Status();
}

Status Previews::reached_at(std::string const& url) {
    auto names = Names::parse_url(url);
    if (!names) return names.error();
    impl_->names = std::move(*names);
    return {};
}

Previews::Impl::Ptr Previews::Impl::find(Name const& name) const {
    auto const at = table.find({name.workspace, name.port});
    return at == table.end() ? nullptr : at->second;
}

Previews::Impl::Ptr Previews::Impl::find_host(std::string_view host) const {
    if (!names) return nullptr;
    if (auto const name = names->parse(host)) return find(*name);
    auto const at = by_domain.find(host);
    return at == by_domain.end() || !domains.serves(host) ? nullptr : at->second;
}

std::string Previews::Impl::workspace_of(std::string_view host) const {
    if (auto const name = names->parse(host)) return name->workspace;
    auto const p = find_host(host);
    return p ? p->record.workspace : "";
}

std::string Previews::Impl::origin(registry::PreviewRecord const& r) const {
    return domains.serves(r.domain) ? names->origin(r.domain) : names->origin({r.port, r.workspace});
}

bool Previews::Impl::taken(std::string const& domain, std::string const& preview_id) {
    auto const by_another = [&] {
        auto const at = by_domain.find(domain);
        return at != by_domain.end() && at->second->record.id != preview_id;
    };
    if (by_another()) forget_deleted();
    return by_another();
}

View Previews::Impl::view(Preview const& p) const {
    View v;
    v.preview_id = p.record.id;
    v.workspace = p.record.workspace;
    v.port = p.record.port;
    if (names) v.origin = origin(p.record);
    v.access = p.open() ? Access::open : Access::by_link;
    v.rules = p.rules;
    v.created_ms = p.record.created_ms;
    v.expires_ms = p.record.expires_ms;
    v.revoked = p.revoked();
    v.open = traffic.open(p.record.id);
    v.requests = traffic.requests(p.record.id);
    return v;
}

Task<void> Previews::Impl::no_change_of(std::string workspace) {
    while (changing.contains(workspace)) co_await changed.async_wait(base::as_tuple);
}

Task<Status> Previews::Impl::make_room(std::string workspace) {
    auto const now = unix_ms();
    std::vector<Ptr> ended;
    std::size_t in_use = 0;
    for (auto const& [name, p] : table) {
        if (name.first != workspace) continue;
        if (p->revoked() || p->record.expires_ms + kUnwrittenMs <= now)
            ended.push_back(p);
        else
            ++in_use;
    }
    if (in_use >= kMaxPreviews)
        co_return error(errc::limit,
                        "a workspace has at most 64 previews at once: preview_revoke of a port frees a place, and routes put "
                        "several ports under one");
    auto const end = [](Ptr const& p) { return p->revoked() ? p->record.revoked_ms : p->record.expires_ms; };
    std::sort(ended.begin(), ended.end(), [&](Ptr const& a, Ptr const& b) { return end(a) < end(b); });
    ended.resize(ended.size() - std::min(ended.size(), kMaxPreviews - 1 - in_use));
    for (auto const& p : ended) {
        std::pair<std::string, int> const name(p->record.workspace, p->record.port);
        auto remove = records.delete_preview(p->record.id);
        auto const removed = co_await base::uncancelled(std::move(remove));
        if (!removed) co_return base::wrap(removed.error(), "make room for another preview");
        table.erase(name);
        by_domain.erase(p->record.domain);
        traffic.forget(p->record.id);
    }
    co_return Status();
}

Task<Result<Link>> Previews::link(std::string owner, LinkRequest request) {
    auto const impl = impl_;
    if (!impl->names) co_return error(errc::unavailable, "this server has no listener for previews");
    if (auto s = check_port(request.port); !s) co_return s.error();
    if (!plain_path(request.path))
        co_return error(errc::invalid, "path: expected one that begins with / and is percent-encoded");
    if (request.rules)
        if (auto s = check_rules(*request.rules); !s) co_return s.error();
    if (request.access == Access::open && !impl->options.allow_public)
        co_return error(errc::denied,
                        "the operator allows no public previews (previews.allow_public); use access private");
    auto const id = impl->backend.id_of(owner, request.workspace);
    if (!id)
        co_return error(errc::not_found, "there is no workspace \"" + request.workspace.substr(0, 80) + "\"");
    if (!request.domain.empty() && !impl->domains.may_have(request.domain))
        co_return error(errc::denied, "the operator lets no preview have the name \"" + request.domain.substr(0, 80) +
                                          "\" (previews.domains); leave domain out");
    Name const name{request.port, *id};
    auto const expires_ms =
        unix_ms() + std::chrono::duration_cast<base::milliseconds>(request.expires).count();

    co_await impl->no_change_of(*id);
    Impl::Turn const turn(*impl, *id);
    auto existing = impl->find(name);
    auto record = existing ? existing->record : registry::PreviewRecord{};
    if (!existing) {
        impl->forget_deleted();
        if (auto room = co_await impl->make_room(*id); !room) co_return room.error();
        record.id = "pv-" + base::random_id(16);
        record.workspace = *id;
        record.port = request.port;
        record.created_ms = unix_ms();
        record.version = 1;
    }
    if (!request.domain.empty()) {
        if (impl->taken(request.domain, record.id))
            co_return error(errc::exists, "another preview has the name " + request.domain +
                                              "; revoking that one makes it free");
        record.domain = request.domain;
    }
    bool const stays_open = !request.access && record.access == "public" && record.expires_ms > unix_ms() &&
                            impl->options.allow_public;
    record.owner = owner;
    record.access = stays_open || request.access == Access::open ? "public" : "private";
    record.expires_ms = std::max(record.expires_ms, expires_ms);
    if (request.access == Access::open || record.revoked_ms) record.expires_ms = expires_ms;
    record.revoked_ms = 0;
    if (request.rules) {
        record.rules = base::Json::object();
        for (auto const& [prefix, port] : *request.rules) record.rules[prefix] = port;
    }
    // Recorded before anyone can use it. Of what there is already, only a somewhat longer life need not wait for the disk.
    bool const same = existing && existing->record.access == record.access &&
                      existing->record.rules == record.rules && existing->record.domain == record.domain &&
                      !existing->revoked() && existing->record.owner == owner &&
                      (existing->open() ? record.expires_ms == existing->record.expires_ms
                                        : record.expires_ms <= existing->kept_expires_ms + kUnwrittenMs);
    if (!same) {
        // A caller that goes away meanwhile must not leave a record that nobody here knows of.
        auto put = impl->records.put_preview(record);
        auto const stored = co_await base::uncancelled(std::move(put));
        if (!stored) co_return base::wrap(stored.error(), "record the preview");
        existing = impl->find(name);
    }
    bool const closed = existing && existing->open() && record.access == "private";
    if (!existing) {
        existing = std::make_shared<Preview>();
        impl->table[{*id, request.port}] = existing;
    }
    // Revoked meanwhile: that stands, and this link is of the version it made void.
    if (existing->record.version > record.version)
        co_return error(errc::stale, "the preview was revoked at this moment");
    impl->by_domain.erase(existing->record.domain);
    existing->record = record;
    if (!same) existing->kept_expires_ms = record.expires_ms;
    if (!record.domain.empty()) impl->by_domain[record.domain] = existing;
    if (request.rules) existing->rules = *request.rules;
    if (closed) impl->traffic.end(record.id);  // who came in without a credential goes

    Link out;
    out.preview_id = record.id;
    out.workspace = *id;
    out.port = request.port;
    out.origin = impl->origin(record);
    out.access = existing->open() ? Access::open : Access::by_link;
    out.expires_ms = existing->open() ? record.expires_ms : expires_ms;
    out.url = out.origin + request.path;
    if (out.access == Access::by_link) {
        out.token = seal(impl->key, existing->subject(), Kind::link, expires_ms / 1000);
        out.url += (request.path.find('?') == request.path.npos ? "?" : "&") + std::string(kLinkParameter) +
                   "=" + out.token;
    }
    co_return out;
}

Task<Result<Link>> Previews::pass(std::string owner, std::string workspace, int port) {
    auto const impl = impl_;
    auto const id = impl->backend.id_of(owner, workspace);
    auto const p = id ? impl->find({port, *id}) : nullptr;
    if (!p || p->revoked() || !impl->names) {
        LinkRequest request;
        request.workspace = std::move(workspace);
        request.port = port;
        request.expires = kPassLife;
        co_return co_await link(std::move(owner), std::move(request));
    }
    Link out;
    out.preview_id = p->record.id;
    out.workspace = *id;
    out.port = port;
    out.origin = out.url = impl->names->origin({port, *id});
    out.expires_ms = unix_ms() + std::chrono::duration_cast<base::milliseconds>(kPassLife).count();
    out.token = seal(impl->key, p->subject(), Kind::link, out.expires_ms / 1000);
    co_return out;
}

std::vector<View> Previews::list(std::string const& owner, std::string const& workspace) const {
    std::vector<View> out;
    std::optional<std::string> id;
    if (!workspace.empty() && !(id = impl_->backend.id_of(owner, workspace))) return out;
    for (auto const& [name, p] : impl_->table)
        if (p->record.owner == owner && (!id || name.first == *id) && impl_->backend.id_of(owner, name.first))
            out.push_back(impl_->view(*p));
    std::sort(out.begin(), out.end(), [](View const& a, View const& b) {
        return std::tie(b.created_ms, a.port) < std::tie(a.created_ms, b.port);
    });
    return out;
}

std::vector<LogEntry> Previews::log(std::string const& preview_id, std::size_t newest) const {
    return impl_->traffic.log(preview_id, newest);
}

Task<Result<int>> Previews::revoke(std::string owner, std::string workspace, int port) {
    auto const impl = impl_;
    auto const id = impl->backend.id_of(owner, workspace);
    if (!id) co_return error(errc::not_found, "there is no workspace \"" + workspace.substr(0, 80) + "\"");
    std::vector<Impl::Ptr> chosen;
    for (auto const& [name, p] : impl->table)
        if (name.first == *id && (port == 0 || name.second == port) && !p->revoked()) chosen.push_back(p);
    if (chosen.empty())
        co_return error(errc::not_found,
                        "there is no preview of that port; preview_list shows those that exist");
    // At once for those at the door; then for good.
    for (auto const& p : chosen) {
        p->record.version += 1;
        p->record.revoked_ms = unix_ms();
        p->record.access = "private";
        impl->by_domain.erase(p->record.domain);
        p->record.domain.clear();
        impl->traffic.end(p->record.id);
    }
    co_await impl->no_change_of(*id);
    Impl::Turn const turn(*impl, *id);
    for (auto const& p : chosen) {
        auto const record = p->record;
        if (impl->find({record.port, *id}) != p) continue;  // its place was needed meanwhile
        auto put = impl->records.put_preview(record);
        auto const stored = co_await base::uncancelled(std::move(put));
        if (!stored)
            co_return base::wrap(stored.error(),
                                 "record the revocation (it holds until the server restarts)");
    }
    co_return static_cast<int>(chosen.size());
}

http::Site Previews::site() {
    http::Site site;
    site.serves = [impl = impl_](std::string_view host) { return impl->names && (impl->names->serves(host) || impl->domains.serves(host)); };
    site.handler = [impl = impl_](http::Exchange& x) { return impl->handle(x); };
    return site;
}

std::string Previews::metrics() const {
    return "# TYPE berth_previews gauge\nberth_previews " + std::to_string(impl_->table.size()) +
           "\n# TYPE berth_preview_held gauge\nberth_preview_held " + std::to_string(impl_->waker.held()) +
           "\n" + impl_->traffic.metrics();
}

void Previews::stop() {
    impl_->traffic.end_all();
    impl_->traffic.stop();
}

}  // namespace preview
