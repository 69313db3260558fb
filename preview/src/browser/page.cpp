#include "page.hpp"

#include "../access.hpp"
#include "picture.hpp"
#include <base/hash.hpp>
#include <base/timeout.hpp>

#include <algorithm>

namespace preview {
namespace {

using base::Json;
using base::milliseconds;

constexpr milliseconds kCommand{5'000};    // of the browser's own, which take milliseconds
constexpr milliseconds kLoad{10'000};      // until the page has loaded
constexpr milliseconds kQuiet{400};        // without a request: it has settled
constexpr milliseconds kAfterLoad{2'500};  // it settles no more: a stream, or a poll
constexpr milliseconds kRead{2'000}, kPhotograph{4'000};
constexpr std::size_t kMaxListed = 20, kMaxText = 500, kMaxUrl = 300, kMaxShown = 1'500, kMaxNotes = 8;
constexpr std::size_t kMaxRequests = 1'000;  // that are remembered
constexpr std::size_t kMaxEvents = 5'000;    // then nothing more is listened to
constexpr std::size_t kMaxPicture = 300 * 1024;
constexpr std::size_t kMaxLeftOut = 100;
constexpr int kMaxDialogs = 20;

struct Format {
    char const* name;
    int quality;
};
constexpr Format kFormats[] = {{"png", 0}, {"jpeg", 70}, {"jpeg", 35}};  // until one is small enough

std::string clip(std::string_view text, std::size_t most) { return base::to_utf8(text.substr(0, most)); }

/// A member that is a string, or "".
std::string text_of(Json const& json, char const* key) {
    if (!json.is_object()) return "";
    auto const at = json.find(key);
    return at != json.end() && at->is_string() ? at->get<std::string>() : "";
}

int number_of(Json const& json, char const* key) {
    if (!json.is_object()) return 0;
    auto const at = json.find(key);
    return at != json.end() && at->is_number() ? static_cast<int>(at->get<double>()) : 0;
}

Json const& member(Json const& json, char const* key) {
    static Json const nothing;
    if (!json.is_object()) return nothing;
    auto const at = json.find(key);
    return at != json.end() ? *at : nothing;
}

/// A value as a console shows it.
std::string shown(Json const& object) {
    auto const& value = member(object, "value");
    if (value.is_string()) return value.get<std::string>();
    if (!value.is_null()) return base::dump(value);
    auto described = text_of(object, "description");
    if (described.empty()) described = text_of(object, "unserializableValue");
    return described.empty() ? text_of(object, "type") : described;
}

/// The arguments of console.error and the like, with the format of the first
/// (console.spec.whatwg.org, 2.2.1).
std::string formatted(Json const& args) {
    if (!args.is_array() || args.empty()) return "";
    std::string out;
    std::size_t next = 1;
    auto const first = shown(args[0]);
    bool const has_format = member(args[0], "type") == "string";
    for (std::size_t i = 0; i < first.size() && out.size() < kMaxText; ++i) {
        bool const directive = has_format && first[i] == '%' && i + 1 < first.size();
        if (directive && first[i + 1] == '%') {
            out += first[i++];
        } else if (directive && std::string_view("sdifoOc").find(first[i + 1]) != std::string_view::npos &&
                   next < args.size()) {
            auto const& value = args[next++];
            if (first[++i] != 'c') out += shown(value);
        } else {
            out += first[i];
        }
    }
    for (; next < args.size() && out.size() < kMaxText; ++next) out += " " + shown(args[next]);
    return out;
}

}  // namespace

void PageVisit::note(std::string text) {
    if (sight_.notes.size() < kMaxNotes) sight_.notes.push_back(std::move(text));
}

std::string PageVisit::place(std::string_view url) const {
    std::string out = clip(url, kMaxUrl);
    if (out.starts_with(origin_ + "/")) out.erase(0, origin_.size());
    auto const link = out.find(std::string(kLinkParameter) + "=");
    if (link != out.npos && link > 0) out.erase(link - 1);
    return out;
}

void PageVisit::add(std::vector<Said>& list, Said said) {
    if (list.size() >= kMaxListed) {
        // One that says the same without end is not listened to any more.
        if (++left_out_ == kMaxLeftOut)
            for (char const* domain : {"Runtime.disable", "Log.disable"}) tools_.post(domain, Json::object());
        return;
    }
    said.text = clip(said.text, kMaxText);
    list.push_back(std::move(said));
}

void PageVisit::happened(std::string const& method, Json const& params) {
    if (muted_) return;
    if (++events_ > kMaxEvents) {
        muted_ = true;
        note("the page does more than a check listens to");
        for (char const* domain : {"Runtime.disable", "Network.disable", "Log.disable"})
            tools_.post(domain, Json::object());
        in_flight_.clear();
        return;
    }
    if (method == "Network.requestWillBeSent") return on_request(params);
    if (method == "Network.responseReceived") return on_response(params);
    if (method == "Network.loadingFailed") return on_failure(params);
    if (method == "Runtime.consoleAPICalled") return on_console(params);
    if (method == "Runtime.exceptionThrown") return on_exception(params);
    if (method == "Page.javascriptDialogOpening") return on_dialog(params);
    if (method == "Network.loadingFinished") {
        in_flight_.erase(text_of(params, "requestId"));
        last_event_ = base::Clock::now();
    } else if (method == "Page.loadEventFired") {
        sight_.loaded = true;
        loaded_at_ = last_event_ = base::Clock::now();
    } else if (method == "Log.entryAdded") {
        // What a request came to is told by the network's own events.
        auto const& entry = member(params, "entry");
        auto const level = text_of(entry, "level");
        if (text_of(entry, "source") != "network" && (level == "error" || level == "warning"))
            add(sight_.console, {level, text_of(entry, "text"), place(text_of(entry, "url"))});
    } else if (method == "Inspector.targetCrashed" || method == "Target.targetCrashed") {
        crashed_ = true;
    } else if (method == "Target.targetCreated") {
        // A window that the page opens is not what was asked for.
        auto const& info = member(params, "targetInfo");
        if (!text_of(info, "openerId").empty() && text_of(info, "targetId") != target_)
            tools_.post("Target.closeTarget", {{"targetId", text_of(info, "targetId")}});
    }
}

void PageVisit::on_request(Json const& params) {
    auto const id = text_of(params, "requestId");
    auto const& request = member(params, "request");
    auto const type = text_of(params, "type");
    last_event_ = base::Clock::now();
    if (type == "Document" && text_of(params, "frameId") == frame_)
        sight_.url = place(text_of(request, "url"));
    if (requests_.size() >= kMaxRequests && !requests_.contains(id)) return;
    requests_[id] = {clip(text_of(request, "method"), 20), place(text_of(request, "url"))};
    if (type != "EventSource" && type != "WebSocket") in_flight_.insert(id);
}

void PageVisit::on_response(Json const& params) {
    auto const status = number_of(member(params, "response"), "status");
    if (status >= 400) failed(text_of(params, "requestId"), std::to_string(status));
}

void PageVisit::on_failure(Json const& params) {
    auto const id = text_of(params, "requestId");
    in_flight_.erase(id);
    last_event_ = base::Clock::now();
    if (member(params, "canceled") == true) return;
    auto reason = text_of(params, "errorText");
    if (reason == "net::ERR_NAME_NOT_RESOLVED")
        reason = "not reached from here: a check has no network but this preview";
    if (auto const blocked = text_of(params, "blockedReason"); !blocked.empty())
        reason = "blocked: " + blocked;
    if (member(params, "corsErrorStatus").is_object())
        reason = "CORS: " + text_of(member(params, "corsErrorStatus"), "corsError");
    failed(id, std::move(reason));
}

void PageVisit::failed(std::string const& request, std::string reason) {
    auto const at = requests_.find(request);
    if (at == requests_.end() || at->second.reported || at->second.url == "/favicon.ico") return;
    at->second.reported = true;
    if (sight_.failed.size() >= kMaxListed) {
        ++left_out_;
        return;
    }
    sight_.failed.push_back({at->second.method, at->second.url, clip(reason, kMaxText)});
}

void PageVisit::on_console(Json const& params) {
    auto const type = text_of(params, "type");
    if (type != "error" && type != "warning" && type != "assert") return;
    auto const& frames = member(member(params, "stackTrace"), "callFrames");
    std::string where;
    if (frames.is_array() && !frames.empty())
        where =
            place(text_of(frames[0], "url")) + ":" + std::to_string(number_of(frames[0], "lineNumber") + 1);
    add(sight_.console,
        {type == "warning" ? "warning" : "error", formatted(member(params, "args")), std::move(where)});
}

void PageVisit::on_exception(Json const& params) {
    auto const& details = member(params, "exceptionDetails");
    auto text = text_of(member(details, "exception"), "description");
    if (text.empty()) text = text_of(details, "text") + " " + shown(member(details, "exception"));
    auto const url = text_of(details, "url");
    auto where = url.empty() ? "" : place(url) + ":" + std::to_string(number_of(details, "lineNumber") + 1);
    add(sight_.exceptions, {"error", std::move(text), std::move(where)});
}

void PageVisit::on_dialog(Json const& params) {
    if (dialogs_++ == 0)
        note("the page opened a dialog, which was dismissed: " + clip(text_of(params, "message"), 200));
    if (dialogs_ == kMaxDialogs) {
        note("the page opens dialogs without end; its scripts were stopped");
        tools_.post("Emulation.setScriptExecutionDisabled", {{"value", true}});
    }
    tools_.post("Page.handleJavaScriptDialog", {{"accept", false}});
    if (dialogs_ >= kMaxDialogs) tools_.post("Runtime.terminateExecution", Json::object());
}

base::Task<base::Status> PageVisit::open() {
    Json params{{"url", "about:blank"}};
    auto created = co_await tools_.call("Target.createTarget", std::move(params), kCommand);
    if (!created) co_return created.error();
    target_ = text_of(*created, "targetId");
    params = {{"targetId", target_}, {"flatten", true}};
    auto attached = co_await tools_.call("Target.attachToTarget", std::move(params), kCommand);
    if (!attached) co_return attached.error();
    params = {{"discover", true}};
    tools_.post("Target.setDiscoverTargets", std::move(params));
    params = {{"behavior", "deny"}};
    tools_.post("Browser.setDownloadBehavior", std::move(params));
    tools_.session = text_of(*attached, "sessionId");
    for (char const* domain : {"Page.enable", "Runtime.enable", "Log.enable", "Network.enable"})
        tools_.post(domain, Json::object());
    params = {{"width", kWidth}, {"height", kHeight}, {"deviceScaleFactor", 1}, {"mobile", false}};
    auto sized = co_await tools_.call("Emulation.setDeviceMetricsOverride", std::move(params), kCommand);
    if (!sized) co_return sized.error();
    frame_ = target_;  // the id of a page's main frame is that of its target
    co_return base::Status();
}

base::Task<void> PageVisit::settle(base::Clock::time_point until) {
    constexpr milliseconds kLookAgain{20};
    for (;;) {
        auto const now = base::Clock::now();
        if (tools_.ended() || crashed_ || now >= until) co_return;
        bool const quiet = !busy() && now - last_event_ >= kQuiet;
        if (sight_.loaded && (quiet || now - loaded_at_ >= kAfterLoad)) co_return;
        if (dialogs_ >= kMaxDialogs && quiet) co_return;
        co_await base::sleep_for(kLookAgain);
    }
}

base::Task<void> PageVisit::read() {
    Json const params{
        {"expression",
         "[document.title, document.body ? document.body.innerText.slice(0, 2000) : '', location.href]"},
        {"returnByValue", true},
        {"timeout", kRead.count() / 2}};
    auto value = co_await tools_.call("Runtime.evaluate", params, kRead);
    if (!value) {
        // Busy with scripts of its own, which end here.
        tools_.post("Runtime.terminateExecution", Json::object());
        value = co_await tools_.call("Runtime.evaluate", params, kRead);
        note("its scripts ran without end; they were stopped");
    }
    if (!value) co_return;
    auto const& said = member(member(*value, "result"), "value");
    if (!said.is_array() || said.size() != 3) co_return;
    auto const text = [&](std::size_t i) {
        return said[i].is_string() ? said[i].get<std::string>() : std::string();
    };
    sight_.title = clip(text(0), 200);
    sight_.text = clip(text(1), kMaxShown);
    if (auto const at = text(2); at.starts_with("http")) sight_.url = place(at);
}

base::Task<void> PageVisit::photograph() {
    for (auto const& [name, quality] : kFormats) {
        Json params{{"format", name}};
        if (quality > 0) params["quality"] = quality;
        auto taken = co_await tools_.call("Page.captureScreenshot", std::move(params), kPhotograph);
        if (!taken) {
            note("no picture: the page gave none in time");
            co_return;
        }
        Picture picture;
        if (!base::base64_decode(text_of(*taken, "data"), picture.bytes)) break;
        // As the browser says, which a page may have taken over: it has to be what it is passed on as.
        auto const size = picture_size(picture.bytes);
        if (!size || size->width != kWidth || size->height != kHeight) break;
        if (picture.bytes.size() > kMaxPicture) continue;
        picture.type = std::string("image/") + name;
        picture.width = size->width;
        picture.height = size->height;
        sight_.picture = std::move(picture);
        co_return;
    }
    note("no picture: what the browser took was no picture of the right size");
}

base::Task<base::Result<Sight>> PageVisit::look(std::string url, bool picture) {
    tools_.on_event = [this](std::string const& method, Json const& params) { happened(method, params); };
    auto opened = co_await open();
    if (!opened) co_return opened.error();
    last_event_ = base::Clock::now();
    auto const until = base::Clock::now() + kLoad;
    std::string const address = std::move(url);
    Json params{{"url", address}};
    auto gone = co_await tools_.call("Page.navigate", std::move(params), kLoad);
    auto refused = gone ? text_of(*gone, "errorText") : "";
    if (refused == "net::ERR_ABORTED" && sight_.url.empty()) {
        // The new page was still on its way to about:blank: nothing was asked for yet.
        co_await base::sleep_for(kQuiet);
        params = {{"url", address}};
        gone = co_await tools_.call("Page.navigate", std::move(params), kLoad);
        refused = gone ? text_of(*gone, "errorText") : "";
    }
    if (refused.empty()) co_await settle(until);
    if (!refused.empty()) {
        note(sight_.url.find("://") == sight_.url.npos
                 ? "the page did not load: " + clip(refused, 100)
                 : "it leads to " + sight_.url + ", which a check does not visit");
    } else if (!crashed_ && !tools_.ended()) {
        if (!sight_.loaded && dialogs_ < kMaxDialogs) {
            note("still loading after " + std::to_string(kLoad.count() / 1000) + " s");
            tools_.post("Page.stopLoading", Json::object());
        }
        co_await read();
        if (picture && !crashed_) co_await photograph();
    }
    tools_.on_event = nullptr;
    if (crashed_)
        note("the page crashed the browser's process for it, most likely by taking too much memory");
    if (left_out_ > 0) note(std::to_string(left_out_) + " more lines or requests are left out");
    if (tools_.ended() && !crashed_)
        co_return base::error(base::errc::unavailable, "the browser ended before it was done");
    co_return std::move(sight_);
}

}  // namespace preview
