#pragma once
#include "client_core.hpp"

namespace mcp {

/// Keeps one subscriptions/listen stream of a modern server for everything that this client wants to hear of.
/// A changed wish opens the new stream before it ends the old one, so that nothing is missed.
class Listening : public std::enable_shared_from_this<Listening> {
  public:
    explicit Listening(std::shared_ptr<ClientCore> core);
    /// Begins, for the lists that the server says can change.
    void start();
    /// errc::invalid when the server does not honour it; it is then not asked for again.
    Task<Outcome<bool>> add(std::string uri);
    Task<Outcome<bool>> remove(std::string uri);

  private:
    struct Waiter {
        std::string uri;
        Wake wake;
        std::optional<Failure> failure;
        bool done = false;
    };
    Json wished() const;
    void kick();
    static Task<void> run(std::shared_ptr<Listening> self);
    Task<Outcome<bool>> open_stream();
    void settle(std::optional<Failure> failure);
    void announce() const;

    std::weak_ptr<ClientCore> core_;
    Wake changed_;
    std::set<std::string> uris_;
    std::list<std::shared_ptr<Waiter>> waiters_;
    std::shared_ptr<Pending> stream_;
    bool running_ = false, dirty_ = false;
};

}  // namespace mcp
