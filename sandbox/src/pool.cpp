#include "pool.hpp"

namespace sandbox::pool {

Step decide(std::vector<Shelf> const& shelves, Situation const& s) {
    Step step;
    int booting = 0;
    for (auto const& shelf : shelves) booting += shelf.booting + shelf.making;
    int free = s.max_boots - booting;
    int room = s.room;
    auto const later = [&](TimePoint when) {
        if (!step.look_again || when < *step.look_again) step.look_again = when;
    };

    std::vector<int> more(shelves.size(), 0);
    bool waiting = false;
    for (bool started = true; started;) {        // in turns, so that no template starves another
        started = false;
        for (std::size_t i = 0; i < shelves.size(); ++i) {
            if (shelves[i].waiting <= shelves[i].booting + more[i]) continue;
            waiting = true;
            if (free <= 0 || room <= 0) continue;
            step.boots.push_back(i);
            ++more[i];
            --free;
            --room;
            started = true;
        }
    }
    if (waiting || !s.filling) return step;

    for (bool started = true; started;) {
        started = false;
        for (std::size_t i = 0; i < shelves.size() && free > 0 && room > 0; ++i) {
            auto const& shelf = shelves[i];
            int const stock = shelf.awake + shelf.frozen;
            // What boots for a waiting claim does not reach the shelf.
            if (stock + shelf.booting + more[i] - shelf.waiting >= shelf.target.ready) continue;
            if (shelf.retry_at > s.now) {
                later(shelf.retry_at);
                continue;
            }
            if (stock * 2 > shelf.target.ready && s.now < s.last_claim + kQuiet) {
                later(s.last_claim + kQuiet);
                continue;
            }
            step.boots.push_back(i);
            ++more[i];
            --free;
            --room;
            started = true;
        }
    }
    // Blanks serve those who sleep, who are in less of a hurry: after the others, and never within the quiet.
    for (std::size_t i = 0; i < shelves.size() && free > 0 && room > 0 && step.boots.empty(); ++i) {
        auto const& shelf = shelves[i];
        if (shelf.blank + shelf.making >= shelf.target.blank) continue;
        // A wake that has to make its own takes as long again.
        auto quiet = s.last_claim + kQuiet;
        if (shelf.blank + shelf.making == 0) quiet = std::min(quiet, shelf.bare_since + kBare);
        auto const due = std::max(shelf.retry_at, quiet);
        if (due > s.now) {
            later(due);
            continue;
        }
        step.blanks.push_back(i);
        --free;
        --room;
    }
    return step;
}

base::milliseconds back_off(int failures, double jitter) {
    double const base_ms = 500.0 * static_cast<double>(1 << std::clamp(failures - 1, 0, 7));
    return base::milliseconds(static_cast<long>(std::min(base_ms, 60'000.0) * (0.75 + jitter / 2)));
}

}  // namespace sandbox::pool
