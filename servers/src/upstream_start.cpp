#include "upstream.hpp"

#include <base/ids.hpp>

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstring>

// From asleep to ready: the program, the client's opening, what it offers; or why not, for people.
namespace servers {
namespace {

using base::errc;
using base::error;
using mcp::Json;

constexpr base::milliseconds kListLimit{60'000};
constexpr base::milliseconds kLeastLearning{5'000};

/// Why a start failed, with what a person would try next.
std::string with_hint(config::ServerEntry const& entry, std::string reason, Refusals const& refused) {
    auto const name = entry.command.substr(entry.command.rfind('/') + 1);
    bool const fetches = name == "npx" || name == "npm" || name == "uvx" || name == "uv" || name == "pipx";
    if (fetches && entry.isolation == config::ServerEntry::Isolation::sandbox &&
        entry.sandbox.allowed_domains.empty())
        reason += "; " + name + " downloads packages, and this server has no network: name " +
                  (name[0] == 'n' ? "registry.npmjs.org" : "pypi.org and files.pythonhosted.org") +
                  " in sandbox.network.allowedDomains";
    return reason + refused.hint();
}

}  // namespace

double random_part() {
    auto const bytes = base::random_bytes(4);
    std::uint32_t n = 0;
    std::memcpy(&n, bytes.data(), sizeof n);
    return n / 4294967296.0;
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
    refusals_->clear();
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
        why = redactor_.text(with_hint(entry_, why, *refusals_));
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
        co_await tend_watches();
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
            program = co_await start_in_sandbox(around_.pad, entry_, log_, refusals_);
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

}  // namespace servers
