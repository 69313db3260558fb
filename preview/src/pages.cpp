#include "pages.hpp"

#include <base/json.hpp>

#include <algorithm>

namespace preview {
namespace {

std::string escaped(std::string_view text) {
    std::string out;
    for (char const c : base::to_utf8(text)) switch (c) {
            case '&':
                out += "&amp;";
                break;
            case '<':
                out += "&lt;";
                break;
            case '>':
                out += "&gt;";
                break;
            case '"':
                out += "&quot;";
                break;
            case '\'':
                out += "&#39;";
                break;
            default:
                out += c;
        }
    return out;
}

std::string as_html(Problem const& p) {
    std::string out =
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" "
        "content=\"width=device-width\">"
        "<title>" +
        escaped(p.title) +
        "</title><style>body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:12vh "
        "auto;padding:0 "
        "1.2rem;color:#1d2430;background:#fff}h1{font-size:1.35rem}pre{background:#f3f4f6;padding:.8rem;"
        "overflow:auto;font-size:13px}small{color:#667085}@media(prefers-color-scheme:dark){body{color:#"
        "e6e8ec;"
        "background:#14171c}pre{background:#20242b}}</style><h1>" +
        escaped(p.title) + "</h1><p>" + escaped(p.detail) + "</p>";
    if (!p.listening.empty()) {
        out += "<p>These ports are listened on:</p><ul>";
        for (auto const& l : p.listening)
            out += "<li>" + std::to_string(l.port) + " <small>" + escaped(l.program + ", " + l.address) +
                   "</small></li>";
        out += "</ul>";
    }
    if (p.crash)
        out += "<p>The last command in the background that failed (" + escaped(p.crash->reason) + "): <code>" +
               escaped(p.crash->command) + "</code></p><pre>" + escaped(p.crash->output) + "</pre>";
    return out + "<p><small>berth preview</small></p></html>\n";
}

base::Json as_json(Problem const& p) {
    base::Json out = {{"error", p.code}, {"message", p.detail}};
    if (!p.listening.empty()) {
        auto& all = out["listening_ports"] = base::Json::array();
        for (auto const& l : p.listening) all.push_back(l.port);
    }
    if (p.crash)
        out["crash"] = {{"command", p.crash->command},
                        {"reason", p.crash->reason},
                        {"output", base::to_utf8(p.crash->output)}};
    return out;
}

std::string as_text(Problem const& p) {
    std::string out = p.title + ". " + p.detail + "\n";
    for (auto const& l : p.listening)
        out += "listening: " + std::to_string(l.port) + " (" + l.program + ", " + l.address + ")\n";
    if (p.crash)
        out += "failed (" + p.crash->reason + "): " + p.crash->command + "\n" + p.crash->output + "\n";
    return base::to_utf8(out);
}

Problem problem(http::Status status, std::string code, std::string title, std::string detail,
                int retry_s = 0) {
    Problem p;
    p.status = status;
    p.code = std::move(code);
    p.title = std::move(title);
    p.detail = std::move(detail);
    p.retry_s = retry_s;
    return p;
}

bool reachable(std::string const& address) {
    return address == "127.0.0.1" || address == "::1" || address == "0.0.0.0" || address == "::";
}

}  // namespace

Page render(Problem const& p, Style style) {
    Page page;
    page.status = p.status;
    page.fields.set("Cache-Control", "no-store");
    page.fields.set("X-Content-Type-Options", "nosniff");
    page.fields.set("Referrer-Policy", "no-referrer");
    page.fields.set("Berth-Preview", p.code);  // tells our answers from the program's own
    if (p.status == http::Status::unauthorized)
        page.fields.set("WWW-Authenticate", "Bearer realm=\"berth preview\"");
    if (p.retry_s > 0) page.fields.set("Retry-After", std::to_string(p.retry_s));
    switch (style) {
        case Style::html:
            page.fields.set("Content-Type", "text/html; charset=utf-8");
            page.fields.set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'");
            if (p.retry_s > 0) page.fields.set("Refresh", std::to_string(p.retry_s));
            page.body = as_html(p);
            break;
        case Style::json:
            page.fields.set("Content-Type", "application/json");
            page.body = base::dump(as_json(p)) + "\n";
            break;
        case Style::text:
            page.fields.set("Content-Type", "text/plain; charset=utf-8");
            page.body = as_text(p);
            break;
    }
    return page;
}

Problem no_such_preview() {
    return problem(http::Status::not_found, "no_such_preview", "There is no such preview",
                   "No workspace has a preview of this name. It may have been deleted.");
}
Problem access_needed(bool wrong) {
    if (wrong)
        return problem(http::Status::forbidden, "access_refused", "This link is not valid any more",
                       "It has expired, was revoked, or belongs to another preview. Ask for a new one.");
    return problem(
        http::Status::unauthorized, "access_needed", "This preview is private",
        "Open it by the link that was made for it. Programs send its token in Berth-Preview-Token.");
}
Problem access_needed_by_page(int port) {
    return problem(http::Status::unauthorized, "access_needed", "This preview is private",
                   "A page of another port asked it without a credential. Each port has its own, and browsers send "
                   "none from one name below localhost to another. Serve both under one URL instead: get_preview_url "
                   "of the page's port with routes [{\"path\": \"/api\", \"port\": " +
                       std::to_string(port) + "}], and let the page ask /api of its own origin.");
}
Problem too_many(std::string detail) {
    return problem(http::Status::service_unavailable, "too_many", "Too many requests at once",
                   std::move(detail), 2);
}
Problem asleep(std::string why) {
    return problem(http::Status::service_unavailable, "asleep", "The workspace is asleep",
                   "It could not be woken: " + std::move(why));
}
Problem still_waking() {
    return problem(http::Status::service_unavailable, "starting", "The workspace is starting",
                   "It is taking longer than usual. This page tries again by itself.", 3);
}
Problem nothing_listens(int port, bool restarted, std::vector<Listener> listening,
                        std::optional<Crash> crash) {
    std::string detail =
        "The workspace runs, but nothing in it listens on port " + std::to_string(port) + ".";
    if (restarted)
        detail += " It last came back from its files alone: its programs have to be started again.";
    if (auto const hint = unreachable_hint(port, listening); !hint.empty()) detail = hint;
    auto p = problem(http::Status::bad_gateway, crash ? "crashed" : "nothing_listens",
                     "Nothing listens on port " + std::to_string(port), std::move(detail));
    p.listening = std::move(listening);
    p.crash = std::move(crash);
    return p;
}
Problem may_come(Problem p) {
    p.detail += " A command that began not long ago still runs, so the port may yet come: this page tries again by itself.";
    p.retry_s = 3;
    return p;
}
Problem app_failed(std::string detail) {
    return problem(http::Status::bad_gateway, "bad_answer", "The program did not answer properly",
                   std::move(detail));
}
Problem app_too_slow() {
    return problem(http::Status::gateway_timeout, "no_answer", "The program does not answer",
                   "It took the request, but no answer came in time.");
}
Problem bad_request(std::string detail) {
    return problem(http::Status::bad_request, "bad_request", "This request cannot be passed on",
                   std::move(detail));
}

std::string unreachable_hint(int port, std::vector<Listener> const& listening) {
    std::string address;
    for (auto const& l : listening) {
        if (l.port != port) continue;
        if (reachable(l.address)) return "";
        address = l.address;
    }
    if (address.empty()) return "";
    return "A program listens on port " + std::to_string(port) + ", but only on " + address +
           ". Let it listen on 127.0.0.1 or 0.0.0.0.";
}

}  // namespace preview
