// Claims from the stock. They come in groups that the stock can give, and it is full again before each.
#include "../interrupt.hpp"
#include "../rows.hpp"

namespace bench {
namespace {

// Of a stock of 8: at half of it the server refills at once, which is what pool_drained is about.
constexpr int kGroup = 3;
constexpr std::chrono::seconds kCreateFill{60};
constexpr std::chrono::milliseconds kSettle{150};  // deletions of the last group, volumes for the next

struct Claims {
    Samples warm, floor;
    int cold = 0;
};

// `one` times one claim, says whether it was warm and what to delete.
template <class One>
Claims claim_in_groups(Lab& lab, int n, One one) {
    Claims claims;
    int const attempts = 2 * n + kGroup;  // a stock that never gives must end the row
    int tried = -kGroup;                  // the first group warms up
    while (static_cast<int>(claims.warm.count()) < n && tried < attempts) {
        lab.server().wait_for_stock(ServeOptions().ready, kCreateFill);
        claims.floor.add(lab.runsc().run_to_first_echo());
        pause(kSettle);
        std::vector<Lab::Workspace> made;
        for (int i = 0; i < kGroup && static_cast<int>(claims.warm.count()) < n; ++i, ++tried) {
            auto const [took, created] = one();
            made.emplace_back(lab.client(), created);
            if (tried < 0) continue;
            if (created.at("source") == "pool")
                claims.warm.add(took);
            else
                ++claims.cold;
        }
    }
    if (claims.warm.count() == 0) throw Failure("no workspace came from the stock");
    return claims;
}

void note_claims(Lab& lab, char const* row, Claims const& claims) {
    lab.report().note(std::string(row) + ": in groups of " + std::to_string(kGroup) +
                      " on a full stock, the first " + "group not counted; " + std::to_string(claims.cold) +
                      " not from the stock, not counted either");
}

constexpr char const* kBeside = "runsc run to first echo";

}  // namespace

void measure_create(Lab& lab) {
    auto const claims = claim_in_groups(lab, lab.count(200), [&] {
        auto const answer = lab.client().call("workspace_create", base::Json::object());
        return std::pair(answer.took, answer.structured());
    });
    auto& e = lab.report().add("create", "workspace_create, warm, over HTTP", "ms", claims.warm, kBeside,
                               claims.floor);
    promise(e, "p50 1, p95 3, p99 8 ms; 50 x faster",
            e.p50 <= 1 && e.p95 <= 3 && e.p99 <= 8 && e.ratio.value_or(1) <= 1.0 / 50);
    note_claims(lab, "create", claims);
}

void measure_create_to_echo(Lab& lab) {
    auto const claims = claim_in_groups(lab, lab.count(100), [&] {
        auto const began = Clock::now();
        auto const created = lab.client().call("workspace_create", base::Json::object()).structured();
        auto const ran = lab.client().call(
            "run_command", {{"workspace_id", created.at("workspace_id")}, {"command", "echo hi"}});
        auto const took = Clock::now() - began;
        if (ran.structured().at("output") != "hi\n")
            throw Failure("echo hi gave: " + ran.structured().dump());
        return std::pair(took, created);
    });
    auto& e = lab.report().add("create_to_echo", "workspace_create, then `echo hi`", "ms", claims.warm,
                               kBeside, claims.floor);
    promise(e, "p95 12 ms", e.p95 <= 12);
    note_claims(lab, "create_to_echo", claims);
}

}  // namespace bench
