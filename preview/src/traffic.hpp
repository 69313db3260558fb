#pragma once
#include <http/client.hpp>
#include <http/site.hpp>

#include <array>
#include <deque>
#include <preview/previews.hpp>
#include <unordered_map>
#include <unordered_set>

namespace preview {

std::int64_t unix_ms();

class Traffic;

/// One request or socket from its admission to its end. Pinned to its handler's coroutine.
class Passage {
  public:
    Passage(Traffic&, http::Exchange&, std::string preview, LogEntry);
    ~Passage();  ///< counts it and writes its log entry
    Passage(Passage const&) = delete;
    Passage& operator=(Passage const&) = delete;

    /// A sign of life: the limits on silence and on an answer start anew.
    void moved() { silent_since_ = base::Clock::now(); }
    /// Until `waits_end`, whoever waits for the program's answer is freed after `limit` without a sign of life.
    void waits(std::shared_ptr<http::ClientConnection> upstream, base::milliseconds limit);
    void waits_end() { upstream_.reset(); }
    bool ran_out() const { return ran_out_; }

    LogEntry entry;
    std::int64_t expires_s = 0;  ///< of the credential; 0 = none

  private:
    friend class Traffic;
    Traffic& traffic_;
    http::Exchange& exchange_;
    std::string preview_;
    std::shared_ptr<http::ClientConnection> upstream_;
    base::Clock::time_point started_ = base::Clock::now(), silent_since_ = started_;
    base::milliseconds answer_limit_{};
    bool ran_out_ = false;
};

/// What passes through previews at this moment, and what did: limits, log, figures, and the one clock that
/// ends what takes too long, so that a request costs no timer. Threads: the I/O thread.
class Traffic {
  public:
    Traffic(asio::io_context& io, Options const& options) : options_(options), timer_(io) {}

    /// "" or which limit is reached. Asked before a Passage is made.
    std::string full(std::string const& preview, std::string const& visitor) const;
    /// Ends what goes through a preview now.
    void end(std::string const& preview);
    void end_all();
    int open(std::string const& preview) const;
    std::uint64_t requests(std::string const& preview) const;
    std::vector<LogEntry> log(std::string const& preview, std::size_t newest) const;
    void forget(std::string const& preview) { previews_.erase(preview); }
    std::string metrics() const;
    void stop() { timer_.cancel(); }

    static constexpr std::size_t kLogKept = 200;           ///< entries of one preview
    static constexpr std::size_t kLogKeptOfNode = 20'000;  ///< shared by the previews when there are many

  private:
    friend class Passage;
    struct Seen {
        int open = 0;
        std::uint64_t requests = 0;
        std::deque<LogEntry> log;
    };
    void add(Passage&);
    void remove(Passage&);
    void arm();
    void sweep();

    Options options_;
    asio::steady_timer timer_;
    bool armed_ = false;
    std::unordered_set<Passage*> live_;
    std::unordered_map<std::string, Seen> previews_;
    std::unordered_map<std::string, int> visitors_;
    std::array<std::uint64_t, 6> by_class_{};  ///< answers by hundreds; [0]: none
    std::uint64_t sockets_ = 0, sent_ = 0, received_ = 0, refused_ = 0;
};

}  // namespace preview
