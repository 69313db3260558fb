#pragma once
#include "headers.hpp"

#include <preview/backend.hpp>

// What a visitor reads when the program inside does not answer. Pure.
namespace preview {

struct Problem {
    http::Status status{};
    std::string code;  ///< for programs: "nothing_listens"
    std::string title, detail;
    std::vector<Listener> listening;
    std::optional<Crash> crash;  ///< only for visitors who were let in by a credential
    int retry_s = 0;             ///< worth trying again by itself
};

struct Page {
    http::Status status{};
    Fields fields;
    std::string body;
};
Page render(Problem const&, Style);

Problem no_such_preview();
Problem access_needed(bool wrong);
/// The same to a page of another port of the workspace, which its developer reads.
Problem access_needed_by_page(int port);
Problem too_many(std::string detail);
Problem asleep(std::string why);
Problem still_waking();
Problem nothing_listens(int port, bool restarted, std::vector<Listener> listening,
                        std::optional<Crash> crash);
/// The same while a command that began not long ago still runs: a browser tries again by itself.
Problem may_come(Problem nothing_listens);
Problem app_failed(std::string detail);
Problem app_too_slow();
Problem bad_request(std::string detail);

/// Why nothing can reach `port`, when a program listens there on an address of its own; "" otherwise.
std::string unreachable_hint(int port, std::vector<Listener> const& listening);

}  // namespace preview
