#include "upstream.hpp"

#include <base/ids.hpp>
#include <base/timeout.hpp>

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstring>
#include <map>

// From asleep to ready: the program, the client's opening, what it offers; or why not, for people.
namespace servers {
namespace {

using base::errc;
using base::error;
using mcp::Json;

constexpr base::milliseconds kListLimit{60'000};
constexpr base::milliseconds kLeastLearning{5'000};

constexpr base::milliseconds kDownloadProbe{60'000};  // how long a silent server may be one that is still being fetched
constexpr base::milliseconds kOnceMore{1'000};
constexpr std::size_t kLastWords = 200;

/// What it wrote in this attempt: we have the last word about each.
std::vector<std::string> said_in(LogBuffer const& log) {
    auto lines = log.tail(kLastWords);
    auto const ours = std::find_if(lines.rbegin(), lines.rend(), [](auto const& line) { return line.starts_with("[berth] "); });
    lines.erase(lines.begin(), ours.base());
    return lines;
}

/// What refused destinations add to the advice; nothing when it speaks of them all.
std::string rest_of(Refusals const& refused, std::vector<std::string> const& advised) {
    auto const spoken_of = [&](Refusals::Destination const& one) {
        return std::any_of(advised.begin(), advised.end(), [&](auto const& host) {
            return one.host == host || one.host == host + ":443" || one.host == host + ":80";
        });
    };
    auto const& all = refused.last();
    return !all.empty() && std::all_of(all.begin(), all.end(), spoken_of) ? std::string() : refused.hint();
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
    std::string degraded_by, cause;
    auto era = era_;
    ++starts;
    login_wanted_ = false;
    advice_.clear();
    refusals_->clear();
    fetch_ = runner_ ? std::optional(first_fetch(*runner_, entry_, known_)) : std::nullopt;
    around_.changed();
    auto const began = base::Clock::now();
    log_->note("starting");
    Complaint failed;
    bool fetched_again = false, opened_again = false;
    auto status = co_await start_once(made, era, degraded_by);
    while (!status && !cut_short_ && !retired_ && !login_wanted_) {
        failed = co_await complaint(made, cause);
        if (failed.certain) break;
        auto const fetch = failed.fetching && !fetched_again ? next_fetch(*runner_, entry_, *fetch_, known_) : std::nullopt;
        if (fetch) {
            fetched_again = true;
            fetch_ = fetch;
            log_->note(failed.sentence + "; once more, " + (*fetch == Fetch::cache ? "from its own volume" : "from its registry"));
        } else if (!failed.fetching && !opened_again && made && made->client && made->client->ended_on_probe()) {
            // Some old servers leave when they are asked what they do not know.
            opened_again = true;
            era = mcp::Era::legacy;
        } else {
            break;
        }
        co_await end(made);
        made.reset();
        if (fetch) co_await base::sleep_for(kOnceMore);
        if (cut_short_ || retired_) break;
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
        if (!cause.empty()) why += " (" + cause + ")";
        if (!failed.sentence.empty()) why += "; " + failed.sentence;
        bool const unfetched = runner_ && (failed.fetching || !known_);
        if (unfetched) advice_ = redactor_.text(network_advice(*runner_, entry_));
        if (!advice_.empty()) why += "; " + advice_;
        why += rest_of(*refusals_, advice_.empty() ? std::vector<std::string>() : missing_hosts(*runner_, entry_));
        if (made) co_await end(made);
        era_.reset();
        why = redactor_.text(why);
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

Task<Complaint> Upstream::complaint(std::shared_ptr<Connection> made, std::string& cause) {
    cause.clear();
    if (made && made->program) cause = co_await made->program->cause();
    Complaint out;
    if (!own_roots()) co_return out;  // of a program on the host nothing but its words is known
    auto const said = said_in(*log_);
    auto const& box = entry_.sandbox;
    out = missing_program(entry_, box.template_name.empty() ? around_.pad.default_template : box.template_name, said);
    if (out.sentence.empty() && runner_ && !cause.empty()) out = complaint_of(*runner_, said);
    co_return out;
}

Task<Status> Upstream::start_once(std::shared_ptr<Connection>& made, std::optional<mcp::Era>& era,
                                  std::string& degraded_by) {
    made = std::make_shared<Connection>(weak_from_this());
    if (entry_.kind == config::ServerEntry::Kind::stdio) {
        Result<std::unique_ptr<Program>> program = error(errc::internal, "");
        std::map<std::string, std::string> settings;
        if (runner_ && fetch_) settings = runner_environment(*runner_, *fetch_, entry_);
        if (entry_.isolation == config::ServerEntry::Isolation::sandbox)
            program = co_await start_in_sandbox(around_.pad, entry_, std::move(settings), log_, refusals_);
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
    auto const left = std::chrono::duration_cast<base::milliseconds>(began + start_limit(entry_, fetch_) -
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
    options.open_limit = start_limit(entry_, fetch_);
    bool const downloads = fetch_ == Fetch::registry && !known_;
    options.probe_limit = std::min(downloads ? kDownloadProbe : options.probe_limit, options.open_limit / 2);
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
