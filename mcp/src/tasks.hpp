#pragma once
#include "call.hpp"
#include "hub.hpp"

// The extension io.modelcontextprotocol/tasks: calls that outlive their request.
namespace mcp {

class TaskRecord final : public Asker {
  public:
    enum class State { working, input_required, completed, failed, cancelled };

    TaskRecord(asio::any_io_executor executor, Listeners& listeners, std::string principal, Json capabilities,
               base::milliseconds ttl);

    std::string const& id() const { return id_; }
    std::string const& principal() const { return principal_; }
    bool over() const { return state_ != State::working && state_ != State::input_required; }
    bool expired() const { return base::Clock::now() >= ends_; }
    /// The flat task with what its state brings along, as in tasks/get and notifications/tasks.
    Json show() const;

    /// Shows the questions as inputRequests and waits for tasks/update. Keys must be new in this task.
    Task<std::map<std::string, Json>> ask(std::vector<Question> questions) override;
    /// Takes answers to open questions; ignores other keys. errors: RpcException -32602 for an ill-formed
    /// answer.
    void update(Json const& input_responses);
    void say(std::string status_message);
    void finish(Answer answer);
    void cancel();

    std::shared_ptr<Running> running;  ///< the call behind it

  private:
    void change(State state);

    Listeners& listeners_;
    std::string const id_, principal_;
    Json const capabilities_;
    base::milliseconds const ttl_;
    base::Clock::time_point const ends_;
    std::string const created_;
    std::string updated_, message_;
    State state_ = State::working;
    Answer answer_;
    std::map<std::string, Question> open_;
    std::map<std::string, Json> answers_;
    std::set<std::string> used_keys_;
    Wake answered_;
};

/// All tasks of the server: bounded, bound to their principal, forgotten after their time to live.
class Tasks {
  public:
    Tasks(asio::any_io_executor executor, Listeners& listeners, std::size_t max, base::milliseconds ttl)
        : executor_(std::move(executor)), listeners_(listeners), max_(max), ttl_(ttl) {}
    /// Null when all places are taken by tasks that still run.
    std::shared_ptr<TaskRecord> create(std::string principal, Json capabilities);
    /// Null for an unknown, an expired and another principal's task alike.
    std::shared_ptr<TaskRecord> find(std::string const& principal, std::string const& id);

  private:
    void sweep();

    asio::any_io_executor executor_;
    Listeners& listeners_;
    std::size_t max_;
    base::milliseconds ttl_;
    std::map<std::string, std::shared_ptr<TaskRecord>> tasks_;
};

}  // namespace mcp
