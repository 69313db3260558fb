#include "clean.hpp"
#include "upstream.hpp"

#include <base/timeout.hpp>

#include <spdlog/spdlog.h>

#include <algorithm>

// What a server offers: learnt from it, cleaned, pinned, recorded, and recalled in the next life of berth.
namespace servers {
namespace {

using base::errc;
using base::error;
using mcp::Json;

constexpr base::milliseconds kLearnAgain{120'000};
constexpr std::size_t kMaxInstructions = 16 * 1024;
constexpr std::size_t kMaxTool = 64 * 1024, kMaxOffer = 4 << 20, kMaxNamed = 20;

std::int64_t unix_now() {
    return std::chrono::duration_cast<base::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
        .count();
}

std::vector<Json> items_of(Json const& array) {
    std::vector<Json> out;
    if (array.is_array())
        for (auto const& item : array)
            if (item.is_object()) out.push_back(item);
    return out;
}

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
    auto checked = check_pins(entry_.name, offer_.tools, *pins, is_first_use(*pins, *seen), unix_now());
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

Task<Result<std::vector<std::string>>> Upstream::approve(std::vector<std::string> tools, std::string hash,
                                                        std::string who) {
    auto const self = shared_from_this();
    // The server may change what it offers at any time: only what was looked at is accepted.
    auto const now = held_hash(held_);
    if (!held_.empty() && hash.empty())
        co_return error(errc::invalid, "expected hash, the held_hash of what was looked at: server_status shows it "
                                       "with what is held back, now " + now);
    if (!held_.empty() && hash != now)
        co_return error(errc::stale, "of server " + entry_.name + " something else is held back now: look at "
                                     "server_status again, its held_hash is " + now);
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

}  // namespace servers
