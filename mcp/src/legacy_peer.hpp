#pragma once
#include "call.hpp"
#include "hub.hpp"
#include "message.hpp"

namespace mcp {

/// What a legacy session remembers of its client: a process's pipe, or an HTTP session.
class LegacyPeer final : public Subscriber {
  public:
    LegacyPeer(asio::any_io_executor executor, Listeners& listeners, std::shared_ptr<Outlet> unsolicited,
               base::milliseconds question_limit);
    ~LegacyPeer() override;

    std::string version;
    Json capabilities = Json::object();
    std::optional<LogLevel> level;  ///< set by logging/setLevel; until then info
    bool initialized = false;       ///< notifications/initialized came
    std::set<std::string> uris;     ///< resources/subscribe

    bool subscribed(std::string const& uri) const override { return uris.contains(uri); }
    void hear(std::string notification) override;

    /// Sends each question as a request of ours on `stream` and waits for all answers. errors: RpcException
    /// (the client's own error, a capability it did not declare, silence).
    Task<std::map<std::string, Json>> ask(std::vector<Question> questions, std::shared_ptr<Outlet> stream);
    /// A response of the client; one that nobody waits for is dropped.
    void take(Message response);

    /// Calls of this session that run, by id.
    std::map<std::string, std::shared_ptr<Running>> in_flight;
    /// notifications/cancelled
    void cancel(Json const& request_id);

  private:
    struct Open {
        std::optional<Message> answer;
        Wake* waiter = nullptr;
    };
    asio::any_io_executor executor_;
    Listeners& listeners_;
    std::shared_ptr<Outlet> unsolicited_;
    base::milliseconds question_limit_;
    std::uint64_t next_id_ = 1;
    std::map<std::uint64_t, Open> open_;
};

/// Binds a call's questions to its session and its stream.
class LegacyAsker final : public Asker {
  public:
    LegacyAsker(std::shared_ptr<LegacyPeer> peer, std::shared_ptr<Outlet> stream)
        : peer_(std::move(peer)), stream_(std::move(stream)) {}
    Task<std::map<std::string, Json>> ask(std::vector<Question> questions) override {
        return peer_->ask(std::move(questions), stream_);
    }

  private:
    std::shared_ptr<LegacyPeer> peer_;
    std::shared_ptr<Outlet> stream_;
};

}  // namespace mcp
