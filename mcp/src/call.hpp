#pragma once
#include "question.hpp"
#include "wake.hpp"

namespace mcp {

/// What a codec found out about a request's sender: all that a handler may learn of it.
struct Origin {
    Caller caller;
    bool modern = false;
    Json capabilities = Json::object();
    Json progress_token;                ///< null = none
    std::optional<LogLevel> log_level;  ///< nothing = no log messages
    Json meta;                          ///< passed_meta
};

/// What a request's _meta holds for whoever it is about: without progressToken and io.modelcontextprotocol/, which are between
/// the two ends of one connection. Null = nothing.
Json passed_meta(Json const& params);

std::string_view to_string(LogLevel);
std::optional<LogLevel> log_level_from(std::string_view);

/// Modern: what a retried request brings back.
struct Round {
    std::map<std::string, Json> answers;
    Json state;
};

/// Carries a call's questions to the client and waits: the legacy session, or a task.
class Asker {
  public:
    virtual ~Asker() = default;
    virtual Task<std::map<std::string, Json>> ask(std::vector<Question> questions) = 0;
};

class ActiveCall final : public Call {
  public:
    ActiveCall(Origin origin, std::shared_ptr<Outlet> outlet)
        : origin_(std::move(origin)), outlet_(std::move(outlet)) {}

    Caller const& caller() const override { return origin_.caller; }
    Json const& client_capabilities() const override { return origin_.capabilities; }
    bool client_has_extension(std::string_view name) const override;
    bool wants_progress() const override { return !origin_.progress_token.is_null(); }
    Json meta() const override { return origin_.meta; }
    std::optional<LogLevel> log_level() const override { return origin_.log_level; }
    std::function<void(std::string)> completion_notice() const override { return on_completion; }
    void progress(double progress, std::optional<double> total, std::string message) override;
    void log(LogLevel level, std::string logger, Json data) override;
    Task<std::map<std::string, Json>> ask(std::vector<Question> questions, Json state) override;
    Json const& state() const override { return round.state; }
    bool modern() const override { return origin_.modern; }
    void close_stream(base::milliseconds retry) override {
        if (on_close_stream) on_close_stream(retry);
    }

    /// The request got its answer: nothing more is sent for it.
    void end() { outlet_.reset(); }
    /// From now on the call is a task: its questions go to `asker`, its progress messages to `on_progress`.
    void become_task(std::shared_ptr<Asker> asker, std::function<void(std::string)> on_progress);
    std::shared_ptr<Outlet> const& outlet() const { return outlet_; }
    /// Answers that `ask` has given out so far; they travel in the sealed state, because a retry brings the
    /// new ones only.
    std::map<std::string, Json> const& answered() const { return answered_; }

    Json id;  ///< the request's
    Round round;
    bool may_ask = false;  ///< modern: tools/call, prompts/get and resources/read only
    std::shared_ptr<Asker> asker;
    std::function<void(base::milliseconds)> on_close_stream;
    std::function<void(std::string)> on_completion;  ///< of an elicitation by URL; legacy only

  private:
    Origin origin_;
    std::shared_ptr<Outlet> outlet_;
    std::optional<double> last_progress_;
    std::map<std::string, Json> answered_;
    std::function<void(std::string)> on_progress_;
};

}  // namespace mcp
