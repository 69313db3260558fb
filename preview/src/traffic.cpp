#include "traffic.hpp"

#include <algorithm>

namespace preview {
namespace {

constexpr base::milliseconds kSweep{500};
constexpr std::size_t kMaxPreviewsRemembered = 10'000;

}  // namespace

std::int64_t unix_ms() {
    return std::chrono::duration_cast<base::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
        .count();
}

Passage::Passage(Traffic& traffic, http::Exchange& exchange, std::string preview, LogEntry e)
    : entry(std::move(e)), traffic_(traffic), exchange_(exchange), preview_(std::move(preview)) {
    entry.at_ms = unix_ms();
    traffic_.add(*this);
}

Passage::~Passage() {
    entry.took_ms = std::chrono::duration_cast<base::milliseconds>(base::Clock::now() - started_).count();
    traffic_.remove(*this);
}

void Passage::waits(std::shared_ptr<http::ClientConnection> upstream, base::milliseconds limit) {
    upstream_ = std::move(upstream);
    answer_limit_ = limit;
    moved();
}

std::string Traffic::full(std::string const& preview, std::string const& visitor) const {
    if (static_cast<int>(live_.size()) >= options_.max_per_node)
        return "The server passes on as many requests as it may.";
    if (auto const at = previews_.find(preview);
        at != previews_.end() && at->second.open >= options_.max_per_preview)
        return "This preview has as many open requests and sockets as it may have.";
    if (auto const at = visitors_.find(visitor);
        at != visitors_.end() && at->second >= options_.max_per_visitor)
        return "You have as many open requests and sockets as one visitor may have.";
    return "";
}

void Traffic::add(Passage& p) {
    live_.insert(&p);
    if (previews_.size() > kMaxPreviewsRemembered)
        std::erase_if(previews_, [](auto const& seen) { return seen.second.open == 0; });
    auto& seen = previews_[p.preview_];
    ++seen.open;
    ++seen.requests;
    ++visitors_[p.entry.visitor];
    if (!armed_) arm();
}

void Traffic::remove(Passage& p) {
    live_.erase(&p);
    auto const visitor = visitors_.find(p.entry.visitor);
    if (visitor != visitors_.end() && --visitor->second <= 0) visitors_.erase(visitor);
    ++by_class_[std::min<unsigned>(p.entry.status / 100, 5)];
    sent_ += p.entry.sent;
    received_ += p.entry.received;
    if (p.entry.socket) ++sockets_;
    if (p.entry.status == 401 || p.entry.status == 403) ++refused_;
    if (auto const at = previews_.find(p.preview_); at != previews_.end()) {
        auto& seen = at->second;
        seen.open = std::max(0, seen.open - 1);
        seen.log.push_back(std::move(p.entry));
        auto const kept = std::clamp<std::size_t>(kLogKeptOfNode / previews_.size(), 10, kLogKept);
        while (seen.log.size() > kept) seen.log.pop_front();
    }
    if (live_.empty()) timer_.cancel();
}

void Traffic::arm() {
    armed_ = true;
    timer_.expires_after(kSweep);
    timer_.async_wait([this](boost::system::error_code ec) {
        if (ec && live_.empty()) {
            armed_ = false;
            return;
        }
        sweep();
        arm();
    });
}

void Traffic::sweep() {
    auto const now = base::Clock::now();
    auto const now_s = unix_ms() / 1000;
    std::vector<http::Exchange*> ending;
    for (auto* p : live_) {
        bool const expired = p->expires_s > 0 && p->expires_s <= now_s;
        if (expired || now - p->silent_since_ > options_.silence_limit) ending.push_back(&p->exchange_);
        if (p->upstream_ && now - p->silent_since_ > p->answer_limit_) {
            p->ran_out_ = true;
            p->upstream_->close();
        }
    }
    for (auto* exchange : ending) exchange->close();
}

void Traffic::end(std::string const& preview) {
    std::vector<http::Exchange*> ending;
    for (auto* p : live_)
        if (p->preview_ == preview) ending.push_back(&p->exchange_);
    for (auto* exchange : ending) exchange->close();
}

void Traffic::end_all() {
    std::vector<http::Exchange*> ending;
    for (auto* p : live_) ending.push_back(&p->exchange_);
    for (auto* exchange : ending) exchange->close();
}

int Traffic::open(std::string const& preview) const {
    auto const at = previews_.find(preview);
    return at == previews_.end() ? 0 : at->second.open;
}
std::uint64_t Traffic::requests(std::string const& preview) const {
    auto const at = previews_.find(preview);
    return at == previews_.end() ? 0 : at->second.requests;
}
std::vector<LogEntry> Traffic::log(std::string const& preview, std::size_t newest) const {
    auto const at = previews_.find(preview);
    if (at == previews_.end()) return {};
    auto const& log = at->second.log;
    return {log.end() - static_cast<std::ptrdiff_t>(std::min(newest, log.size())), log.end()};
}

std::string Traffic::metrics() const {
    std::string out = "# TYPE berth_preview_open gauge\nberth_preview_open " + std::to_string(live_.size()) +
                      "\n# TYPE berth_preview_requests_total counter\n";
    static constexpr char const* names[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
    for (std::size_t i = 0; i < by_class_.size(); ++i)
        out += std::string("berth_preview_requests_total{answer=\"") + names[i] + "\"} " +
               std::to_string(by_class_[i]) + "\n";
    out += "# TYPE berth_preview_sockets_total counter\nberth_preview_sockets_total " +
           std::to_string(sockets_) +
           "\n# TYPE berth_preview_refused_total counter\nberth_preview_refused_total " +
           std::to_string(refused_) +
           "\n# TYPE berth_preview_bytes_total counter\nberth_preview_bytes_total{direction=\"out\"} " +
           std::to_string(sent_) + "\nberth_preview_bytes_total{direction=\"in\"} " +
           std::to_string(received_) + "\n";
    return out;
}

}  // namespace preview
