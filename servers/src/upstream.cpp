#include "upstream.hpp"

#include "clean.hpp"
#include "passage.hpp"
#include <base/ids.hpp>
#include <base/timeout.hpp>
#include <base/uncancelled.hpp>

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstring>

namespace servers {
namespace {

using base::errc;
using base::error;
using mcp::Json;

constexpr base::milliseconds kStep{500};  // how soon a waiter looks whether it was cancelled
constexpr base::milliseconds kListLimit{60'000};
constexpr base::milliseconds kLeastLearning{5'000}, kLearnAgain{120'000};
constexpr std::size_t kMaxInstructions = 16 * 1024;
constexpr std::size_t kMaxTool = 64 * 1024, kMaxOffer = 4 << 20, kMaxNamed = 20;

std::int64_t unix_now() {
    return std::chrono::duration_cast<base::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
        .count();
}

double random_part() {
    auto const bytes = base::random_bytes(4);
    std::uint32_t n = 0;
    std::memcpy(&n, bytes.data(), sizeof n);
    return n / 4294967296.0;
}

std::vector<Json> items_of(Json const& array) {
    std::vector<Json> out;
    if (array.is_array())
        for (auto const& item : array)
            if (item.is_object()) out.push_back(item);
    return out;
}

/// Why a start failed, with what a person would try next.
std::string with_hint(config::ServerEntry const& entry, std::string reason) {
    auto const name = entry.command.substr(entry.command.rfind('/') + 1);
    bool const fetches = name == "npx" || name == "npm" || name == "uvx" || name == "uv" || name == "pipx";
    if (fetches && entry.isolation == config::ServerEntry::Isolation::sandbox &&
        entry.sandbox.allowed_domains.empty())
        reason += "; " + name + " downloads packages, and this server has no network: name " +
                  (name[0] == 'n' ? "registry.npmjs.org" : "pypi.org and files.pythonhosted.org") +
                  " in sandbox.network.allowedDomains";
    return reason;
}

}  // namespace

// Events of a connection: none is looked at once it is over.

Task<Json> Connection::ask(mcp::Question question) {
    auto const owner = owner_.lock();
    if (!owner) throw mcp::RpcException({-32603, "the connection is over", nullptr});
    if (question.method == "roots/list" && (owner->own_roots() || owner->passages.empty()))
        co_return owner->roots();
    for (;;) {
        auto const passage = asked_for(question.method);
        try {
            co_return co_await passage->question(question);
        } catch (PassageOver const&) {  // it was another call's: look again
        }
    }
}

/// On stdio a question names no call. With one in flight it is that one's; of several that belong to the same
/// person the latest is asked whose client can answer. Calls of different people are never mixed.
std::shared_ptr<Passage> Connection::asked_for(std::string const& method) const {
    auto const owner = owner_.lock();
    if (!owner || owner->passages.empty())
        throw mcp::RpcException({-32603, "no call is in flight that this could be asked for", nullptr});
    auto const& flying = owner->passages;
    for (auto const* passage : flying)
        if (passage->principal() != flying.back()->principal())
            throw mcp::RpcException(
                {-32603, "calls of several callers are in flight, and this question names none of them", nullptr});
    auto const able = std::find_if(flying.rbegin(), flying.rend(),
                                   [&](Passage const* passage) { return passage->can_answer(method); });
    return (able == flying.rend() ? flying.back() : *able)->shared_from_this();
}

void Connection::log(mcp::LogMessage message) {
    auto const owner = owner_.lock();
    if (!owner || over) return;
    if (owner->passages.size() == 1) return owner->passages.front()->log(std::move(message));
    owner->redactor().apply(message.data);
    owner->log().append(base::dump(message.data).substr(0, 4096) + "\n");
}

void Connection::tools_changed() {
    auto const owner = owner_.lock();
    if (!owner || over || owner->connection_.get() != this) return;
    asio::co_spawn(owner->around_.io, owner->learn_again(owner->connection_), asio::detached);
}
void Connection::prompts_changed() { tools_changed(); }
void Connection::resources_changed() { tools_changed(); }

void Connection::resource_updated(std::string uri) {
    if (auto const owner = owner_.lock(); owner && !over)
        owner->around_.updated(*owner, public_uri(owner->entry().name, uri));
}

void Connection::tool_dropped(std::string name, std::string reason) {
    if (auto const owner = owner_.lock())
        owner->log().note("tool " + name.substr(0, 128) + " is left out: " + reason);
}

void Connection::failed(std::string reason) {
    if (auto const owner = owner_.lock(); owner && !over) owner->connection_failed(*this, std::move(reason));
}

Upstream::Upstream(Surroundings& around, config::ServerEntry entry)
    : around_(around),
      entry_(std::move(entry)),
      life_(entry_),
      redactor_(entry_),
      changed_(around.io.get_executor()),
      turns_(around.io.get_executor()) {
    if (entry_.problem.empty() && entry_.may_log_in())
        login_ = std::make_shared<KeptLogin>(around.pad.pool, around.logins, entry_.name,
                                             around.login_command(entry_.name));
}

Task<void> Upstream::recall() {
    auto const self = shared_from_this();
    auto stored = co_await around_.records.server_offer(entry_.name);
    if (!stored) {
        spdlog::warn("server {}: {}", entry_.name, stored.error().message());
        co_return;
    }
    if (!*stored || (*stored)->fingerprint != entry_.fingerprint) co_return;  // another program: ask it anew
    offer_ = offer_from((*stored)->offer);
    known_ = true;
    co_await apply_pins();
}

Task<void> Upstream::apply_pins() {
    auto const self = shared_from_this();
    if (!entry_.pin_tools) {
        held_.clear();
        tools_ = shown_tools(entry_, offer_.tools, around_.name_limit);
        co_return;
    }
    auto pins = co_await around_.records.tool_pins(entry_.name);
    auto seen = co_await around_.records.server_offer(entry_.name);
    if (!pins || !seen) {  // what was approved is not known: nothing is offered
        auto const& why = !pins ? pins.error() : seen.error();
        log_->note(why.message());
        tools_.clear();
        co_return;
    }
    bool const first_use = pins->empty() && !*seen;
    auto checked = check_pins(entry_.name, offer_.tools, *pins, first_use, unix_now());
    if (!checked.first_seen.empty()) {
        auto stored = co_await around_.records.put_tool_pins(checked.first_seen);
        if (!stored) {  // what was approved could not be told from what comes later
            log_->note("the tools could not be pinned, and are not offered: " + stored.error().message());
            tools_.clear();
            held_.clear();
            co_return;
        }
    }
    // One record for all: a server that changes its list all the time must not fill the audit log.
    std::size_t count = 0;
    auto names = Json::array(), differences = Json::array();
    for (auto const& held : checked.held) {
        bool const told = std::any_of(held_.begin(), held_.end(), [&](auto const& h) {
            return h.tool == held.tool && h.hash == held.hash;
        });
        if (told) continue;
        if (++count > kMaxNamed) continue;
        log_->note(std::string(held.is_new ? "a new tool" : "a changed tool") +
                   " is held back until it is approved: " + held.tool);
        names.push_back(held.tool);
        if (!held.is_new && differences.empty()) differences = held.differences;
    }
    if (count > 0)
        around_.records.audit_lazy("servers/" + entry_.name, "tools held back",
                                   {{"count", count}, {"tools", names}, {"first_differences", differences}});
    held_ = std::move(checked.held);
    tools_ = shown_tools(entry_, checked.offered, around_.name_limit);
}

void Upstream::reconfigure(config::ServerEntry entry) {
    entry_ = std::move(entry);
    hide_again();
    auto apply = [](std::shared_ptr<Upstream> self) -> Task<void> {
        co_await self->apply_pins();
        self->around_.changed();
    };
    asio::co_spawn(around_.io, apply(shared_from_this()), asio::detached);
    turns_.notify();
}

Task<Result<std::shared_ptr<Connection>>> Upstream::use() {
    auto const self = shared_from_this();
    auto const give_up = base::Clock::now() + entry_.start_timeout + entry_.start_timeout;
    for (;;) {
        if (retired_)
            co_return error(errc::unavailable, "server " + entry_.name + " was taken away or changed");
        last_used_ = base::Clock::now();
        if (!closing_) {
            switch (life_.wanted(base::Clock::now())) {
                case Lifecycle::Answer::use:
                    co_return connection_;
                case Lifecycle::Answer::start:
                    asio::co_spawn(around_.io, start(), asio::detached);
                    break;
                case Lifecycle::Answer::wait:
                    break;
                case Lifecycle::Answer::refuse: {
                    auto why =
                        "server " + entry_.name + " is " + to_string(life_.state()) + ": " + life_.reason();
                    if (life_.state() == State::backing_off) {
                        auto const left = std::chrono::duration_cast<base::milliseconds>(life_.next_try() -
                                                                                         base::Clock::now());
                        why += "; the next try is in " +
                               std::to_string(std::max<std::int64_t>(left.count(), 0) / 1000 + 1) + " s";
                    } else if (life_.state() == State::failed) {
                        why += "; server_restart tries again";
                    } else if (life_.state() == State::needs_login) {
                        why = "server " + entry_.name + " needs a login: its operator runs " + next_step();
                    }
                    co_return error(errc::unavailable, redactor_.text(why));
                }
            }
        }
        if (base::Clock::now() > give_up)
            co_return error(errc::timed_out, "server " + entry_.name + " is still starting");
        co_await changed_.wait(kStep);
    }
}

Task<void> Upstream::start() {
    auto const self = shared_from_this();
    std::shared_ptr<Connection> made;
    std::string broke;
    cut_short_ = false;
    try {
        auto woken = co_await wake();
        if (woken && !*woken) {
            co_await start_inside(made);
        } else {
            if (!woken) life_.start_failed(base::Clock::now(), redactor_.text(woken.error().message()), random_part());
            last_used_ = base::Clock::now();
            changed_.notify();
            around_.changed();
        }
    } catch (std::exception const& e) {  // a program of strangers must not stop berth
        broke = std::string("it could not be understood: ") + e.what();
    }
    if (starting_ == made) starting_.reset();
    if (broke.empty()) co_return;
    if (connection_ == made) connection_.reset();
    if (made) co_await end(made);
    life_.start_failed(base::Clock::now(), redactor_.text(broke), random_part());
    log_->note("start failed: " + redactor_.text(broke));
    changed_.notify();
}

Task<void> Upstream::start_inside(std::shared_ptr<Connection>& made) {
    std::string degraded_by;
    auto era = era_;
    ++starts;
    login_wanted_ = false;
    around_.changed();
    auto const began = base::Clock::now();
    auto status = co_await start_once(made, era, degraded_by);
    if (!status && !cut_short_ && made && made->client && made->client->ended_on_probe()) {
        // Some old servers leave when they are asked what they do not know.
        co_await end(made);
        made.reset();
        era = mcp::Era::legacy;
        status = co_await start_once(made, era, degraded_by);
    }
    if (status && login_wanted_) status = error(errc::denied, "it asks for a login");
    if (!status && login_wanted_) {
        if (made) co_await end(made);
        life_.needs_login("it asks for a login");
        log_->note("it asks for a login: " + next_step());
        spdlog::warn("server {} asks for a login: {}", entry_.name, next_step());
    } else if (!status) {
        auto why = status.error().message();
        if (made && made->program) {
            auto cause = co_await made->program->cause();
            if (!cause.empty()) why += " (" + cause + ")";
        }
        if (made) co_await end(made);
        era_.reset();
        why = redactor_.text(with_hint(entry_, why));
        life_.start_failed(base::Clock::now(), why, random_part());
        log_->note("start failed: " + why);
        spdlog::warn("server {}: start failed: {}", entry_.name, why);
    } else if (made->over) {  // ended before it was looked at
        life_.start_failed(base::Clock::now(), "it ended right after its start", random_part());
    } else {
        era_ = made->client->server().era;
        connection_ = made;
        life_.started(base::Clock::now(), degraded_by);
        auto const ms = std::chrono::duration_cast<base::milliseconds>(base::Clock::now() - began).count();
        log_->note("started in " + std::to_string(ms) + " ms, revision " + offer_.revision);
        auto const watched = watched_;  // others change it meanwhile
        for (auto const& uri : watched) {
            if (made->over) break;
            (void)co_await made->client->subscribe(uri);
        }
    }
    last_used_ = base::Clock::now();
    changed_.notify();
    around_.changed();
}

Task<Status> Upstream::start_once(std::shared_ptr<Connection>& made, std::optional<mcp::Era>& era,
                                  std::string& degraded_by) {
    made = std::make_shared<Connection>(weak_from_this());
    if (entry_.kind == config::ServerEntry::Kind::stdio) {
        Result<std::unique_ptr<Program>> program = error(errc::internal, "");
        if (entry_.isolation == config::ServerEntry::Isolation::sandbox)
            program = co_await start_in_sandbox(around_.pad, entry_, log_);
        else
            program = co_await start_on_host_insecurely(around_.pad, entry_, log_);
        if (!program) co_return program.error();
        made->program = std::move(*program);
    }
    if (cut_short_ || retired_) co_return error(errc::cancelled, "it was stopped while it started");
    starting_ = made;
    auto const began = base::Clock::now();
    auto connected = co_await connect(made, era);
    if (!connected) co_return connected;
    auto const left = std::chrono::duration_cast<base::milliseconds>(began + entry_.start_timeout -
                                                                     base::Clock::now());
    auto learnt = co_await learn(made, std::max(left, kLeastLearning));
    if (!learnt) co_return error(errc::timed_out, "it did not list what it offers within its start time");
    degraded_by = std::move(*learnt);
    if (made->over || !made->client->usable()) co_return error(errc::unavailable, made->client->reason());
    co_return Status();
}

Task<Status> Upstream::connect(std::shared_ptr<Connection> connection, std::optional<mcp::Era> era) {
    mcp::ClientOptions options;
    options.client_info = around_.client_info;
    options.capabilities = {{"roots", {{"listChanged", true}}},
                            {"sampling", Json::object()},
                            {"elicitation", {{"form", Json::object()}, {"url", Json::object()}}}};
    options.era = era;
    options.open_limit = entry_.start_timeout;
    options.probe_limit = std::min(options.probe_limit, entry_.start_timeout / 2);
    options.request_limit = std::min(entry_.call_timeout, kListLimit);
    if (connection->program) {
        connection->client = std::make_unique<mcp::Client>(around_.io, connection->program->take_stream(),
                                                           std::move(options), *connection);
    } else {
        connection->client = std::make_unique<mcp::Client>(around_.io, http_server(entry_, authorization()),
                                                           std::move(options), *connection);
    }
    auto facts = co_await connection->client->open();
    if (!facts) co_return error(errc::unavailable, mcp::to_string(facts.error()));
    if (facts->era == mcp::Era::legacy && facts->capabilities.is_object() &&
        facts->capabilities.contains("logging"))
        (void)co_await connection->client->set_log_level(mcp::LogLevel::info);
    co_return Status();
}

namespace {

struct Lists {
    mcp::Outcome<Json> tools, prompts, resources, templates;
};

Task<Result<Lists>> ask_for_lists(std::shared_ptr<Connection> connection) {
    auto& client = *connection->client;
    Lists out;
    out.tools = co_await client.list_tools();
    out.prompts = co_await client.list_prompts();
    out.resources = co_await client.list_resources();
    out.templates = co_await client.list_templates();
    co_return out;
}

}  // namespace

Task<Result<std::string>> Upstream::learn(std::shared_ptr<Connection> connection, base::milliseconds limit) {
    auto const self = shared_from_this();
    auto asking = ask_for_lists(connection);
    auto lists = co_await base::with_timeout(std::move(asking), limit, "list what it offers");
    if (!lists) co_return lists.error();
    auto& client = *connection->client;
    std::string missing;
    Offer now;
    std::size_t total = 0, dropped = 0;
    auto const take = [&](char const* what, mcp::Outcome<Json> const& listed, std::vector<Json>& into) {
        if (listed) {
            for (auto& item : items_of(*listed)) {
                now.invisible_removed += make_visible(item);
                auto const bytes = base::dump(item).size();
                bool const large = (&into == &now.tools && bytes > kMaxTool) || bytes > kMaxOffer - total;
                if (large && dropped++ == 0)
                    log_->note(text_of(item, "name").substr(0, 128) + " is left out: its definition is too large");
                if (large) continue;
                total += bytes;
                into.push_back(std::move(item));
            }
        } else if (missing.empty()) {
            missing = redactor_.text(std::string(what) + ": " + mcp::to_string(listed.error()));
        }
    };
    take("tools/list", lists->tools, now.tools);
    take("prompts/list", lists->prompts, now.prompts);
    take("resources/list", lists->resources, now.resources);
    take("resources/templates/list", lists->templates, now.templates);
    auto const& facts = client.server();
    if (facts.info.is_object()) {
        now.name = visible_text(text_of(facts.info, "name"), now.invisible_removed);
        now.version = visible_text(text_of(facts.info, "version"), now.invisible_removed);
    }
    now.instructions = visible_text(facts.instructions.substr(0, kMaxInstructions), now.invisible_removed);
    now.revision = facts.version;
    if (!lists->tools) now.tools = offer_.tools;  // a list that fails now does not unlearn what was known
    // In a definition, as anywhere else, a server's secrets have no place.
    for (auto* list : {&now.tools, &now.prompts, &now.resources, &now.templates})
        for (auto& item : *list) redactor_.apply(item);
    for (auto* text : {&now.name, &now.version, &now.instructions}) *text = redactor_.text(*text);
    make_regular(now);
    if (connection->over || !client.usable()) co_return std::string("the connection ended");  // half a list is not kept
    offer_ = std::move(now);
    co_await apply_pins();  // before the offer is recorded: first use is when nothing was
    around_.changed();      // and at once: what is held back must not be called meanwhile
    registry::ServerOffer record;
    record.fingerprint = entry_.fingerprint;
    record.offer = to_json(offer_);
    record.seen_ms = unix_now();
    auto stored = co_await around_.records.put_server_offer(entry_.name, std::move(record));
    if (!stored) log_->note("what it offers could not be recorded: " + stored.error().message());
    known_ = true;
    co_return missing;
}

Task<void> Upstream::learn_again(std::shared_ptr<Connection> connection) {
    auto const self = shared_from_this();
    if (std::exchange(learning_, true)) {
        learn_once_more_ = true;
        co_return;
    }
    do {
        learn_once_more_ = false;
        co_await base::sleep_for(base::milliseconds(100));  // changes come in bursts
        if (connection->over || connection_ != connection) break;
        try {
            auto const missing = co_await learn(connection, kLearnAgain);
            life_.degraded(missing ? *missing : "it did not list in time what it offers now");
            around_.changed();
        } catch (std::exception const& e) {
            life_.degraded(std::string("what it offers could not be understood: ") + e.what());
        }
    } while (learn_once_more_);
    learning_ = false;
}

void Upstream::connection_failed(Connection& connection, std::string reason) {
    connection.over = true;
    if (connection_.get() != &connection) return;  // while starting, `start` sees it
    auto const gone = std::exchange(connection_, nullptr);
    closing_ = true;
    asio::co_spawn(around_.io, bury(gone, std::move(reason)), asio::detached);
}

Task<void> Upstream::bury(std::shared_ptr<Connection> connection, std::string reason) {
    auto const self = shared_from_this();
    try {
        if (connection->program) {
            auto const cause = co_await connection->program->cause();
            if (!cause.empty()) reason += " (" + cause + ")";
        }
        reason = redactor_.text(reason);
    } catch (std::exception const& e) {
        reason = std::string("it ended, and why is not known: ") + e.what();
    }
    life_.died(base::Clock::now(), reason, random_part());
    log_->note("ended: " + reason);
    spdlog::warn("server {} ended: {}", entry_.name, reason);
    around_.records.audit_lazy("servers/" + entry_.name, "server ended", {{"reason", reason}});
    co_await end(connection);
    closing_ = false;
    changed_.notify();
    around_.changed();
}

Task<void> Upstream::end(std::shared_ptr<Connection> connection) {
    connection->over = true;
    if (connection->client) co_await connection->client->close();
    if (connection->program) co_await connection->program->end();
}

Task<void> Upstream::cut(std::shared_ptr<Connection> connection) {
    auto const self = shared_from_this();
    if (connection->client) co_await connection->client->close();
}

Task<void> Upstream::retire(std::string why) {
    retired_ = true;
    changed_.notify();
    turns_.notify();
    co_await stop(std::move(why), false);
}

Task<void> Upstream::stop(std::string why, bool forget_failures) {
    auto const self = shared_from_this();
    // A start under way comes to its end first, which is made soon: what it made is then known.
    cut_short_ = life_.state() == State::starting;
    if (auto const connection = starting_; cut_short_ && connection) co_await cut(connection);
    while (life_.state() == State::starting || closing_) co_await changed_.wait(kStep);
    if (auto const asleep = std::exchange(sleeping_, nullptr)) co_await end(asleep);
    if (auto const connection = std::exchange(connection_, nullptr)) {
        closing_ = true;
        life_.stopped();
        log_->note("stopped: " + why);
        co_await end(connection);
        closing_ = false;
    }
    if (forget_failures) life_.reset();
    changed_.notify();
    around_.changed();
}

Task<Result<std::vector<std::string>>> Upstream::approve(std::vector<std::string> tools, std::string who) {
    auto const self = shared_from_this();
    std::vector<std::string> done;
    std::vector<registry::ToolPin> pins;
    for (auto const& held : held_) {
        if (!tools.empty() && std::find(tools.begin(), tools.end(), held.tool) == tools.end()) continue;
        registry::ToolPin pin;
        pin.server = entry_.name;
        pin.tool = held.tool;
        pin.hash = held.hash;
        pin.definition = held.definition;
        pin.approved_ms = unix_now();
        pin.approved_by = who;
        pins.push_back(std::move(pin));
        done.push_back(held.tool);
    }
    for (auto const& name : tools)
        if (std::find(done.begin(), done.end(), name) == done.end())
            co_return error(errc::not_found,
                            "no tool " + name.substr(0, 128) + " of server " + entry_.name + " is held back");
    if (pins.empty()) co_return done;
    auto stored = co_await around_.records.put_tool_pins(std::move(pins));
    if (!stored) co_return stored.error();
    around_.records.audit_lazy("servers/" + entry_.name, "tools approved", {{"tools", done}, {"by", who}});
    co_await apply_pins();
    around_.changed();
    co_return done;
}

Task<Result<Upstream::Turn>> Upstream::take_turn() {
    auto const self = shared_from_this();
    auto const now = base::Clock::now();
    if (now - minute_ >= std::chrono::minutes(1)) minute_ = now, this_minute_ = 0;
    if (entry_.calls_per_minute > 0 && this_minute_ >= entry_.calls_per_minute)
        co_return error(errc::busy, "server " + entry_.name + " takes " +
                                        std::to_string(entry_.calls_per_minute) +
                                        " calls a minute (callsPerMinute); try again in a minute");
    ++this_minute_;
    auto const give_up = now + entry_.call_timeout;
    while (in_flight_ >= entry_.max_concurrent_calls) {
        if (retired_)
            co_return error(errc::unavailable, "server " + entry_.name + " was taken away or changed");
        if (base::Clock::now() > give_up)
            co_return error(errc::busy,
                            "server " + entry_.name + " has " + std::to_string(in_flight_) +
                                " calls in flight (maxConcurrentCalls), and none of them ended in time");
        co_await turns_.wait(kStep);
    }
    co_return Turn(self);
}

void Upstream::turn_over() {
    --in_flight_;
    last_used_ = base::Clock::now();
    turns_.notify();
}

void Upstream::watch(std::string const& uri) {
    if (watched_.size() >= 1000 || !watched_.insert(uri).second || !connection_) return;
    auto subscribe = [](std::shared_ptr<Connection> connection, std::string what) -> Task<void> {
        (void)co_await connection->client->subscribe(std::move(what));
    };
    asio::co_spawn(around_.io, subscribe(connection_, uri), asio::detached);
}

Json Upstream::roots() const {
    Json roots = Json::array();
    if (!own_roots()) return {{"roots", roots}};  // asked outside any call: nobody to pass it to
    roots.push_back({{"uri", "file:///workspace"}, {"name", "workspace"}});
    for (auto const* list : {&entry_.sandbox.allow_read, &entry_.sandbox.allow_write})
        for (auto const& path : *list)
            roots.push_back({{"uri", "file://" + path}, {"name", path.substr(path.rfind('/') + 1)}});
    return {{"roots", std::move(roots)}};
}

}  // namespace servers
