#include "legacy_peer.hpp"

namespace mcp {
namespace {

constexpr std::size_t kMaxQuestions = 256;  // open at once in a session

}  // namespace

LegacyPeer::LegacyPeer(asio::any_io_executor executor, Listeners& listeners,
                       std::shared_ptr<Outlet> unsolicited, base::milliseconds question_limit)
    : executor_(std::move(executor)),
      listeners_(listeners),
      unsolicited_(std::move(unsolicited)),
      question_limit_(question_limit) {
    listeners_.join(*this);
}

LegacyPeer::~LegacyPeer() { listeners_.leave(*this); }

void LegacyPeer::hear(std::string notification) {
    if (initialized) unsolicited_->notify(std::move(notification));
}

void LegacyPeer::cancel(Json const& request_id) {
    if (auto const it = in_flight.find(id_key(request_id)); it != in_flight.end()) it->second->cancel();
}

void LegacyPeer::take(Message response) {
    if (!response.id.is_number_unsigned()) return;
    auto const it = open_.find(response.id.get<std::uint64_t>());
    if (it == open_.end() || it->second.answer) return;
    it->second.answer = std::move(response);
    it->second.waiter->notify();
}

Task<std::map<std::string, Json>> LegacyPeer::ask(std::vector<Question> questions,
                                                  std::shared_ptr<Outlet> stream) {
    if (auto const missing = missing_capabilities(questions, capabilities); !missing.is_null())
        throw rpc_exception(code::invalid_request, "The client does not offer " + missing.begin().key());
    if (open_.size() + questions.size() > kMaxQuestions)
        throw rpc_exception(code::internal_error, "Too many questions are open");

    Wake wake(executor_);
    std::vector<std::uint64_t> ids;
    for (auto const& question : questions) {
        auto const id = next_id_++;
        ids.push_back(id);
        open_[id].waiter = &wake;
        stream->deliver(request_text(id, question.method, question.params));
    }
    auto const waiting = [&] {
        return std::any_of(ids.begin(), ids.end(), [this](auto id) { return !open_[id].answer; });
    };
    auto const end = base::Clock::now() + question_limit_;
    bool const throws = co_await asio::this_coro::throw_if_cancelled();
    co_await asio::this_coro::throw_if_cancelled(false);
    bool gone = false, silent = false;
    while (waiting() && !gone && !silent) {
        auto const left = std::chrono::duration_cast<base::milliseconds>(end - base::Clock::now());
        co_await wake.wait(std::max(left, base::milliseconds(0)));
        gone = co_await cancelled();
        silent = base::Clock::now() >= end;
    }
    std::map<std::string, Json> answers;
    std::optional<RpcError> refused;
    for (std::size_t i = 0; i < ids.size(); ++i) {
        auto node = open_.extract(ids[i]);
        auto& answer = node.mapped().answer;
        if (!answer) {
            stream->notify(notification_text("notifications/cancelled", Json{{"requestId", ids[i]}}));
        } else if (answer->error) {
            refused = std::move(*answer->error);
        } else {
            answers[questions[i].key] = std::move(answer->result);
        }
    }
    co_await asio::this_coro::throw_if_cancelled(throws);
    if (gone) throw rpc_exception(code::internal_error, "Cancelled");
    if (refused) throw RpcException(std::move(*refused));
    if (answers.size() < ids.size())
        throw rpc_exception(code::internal_error, "The client did not answer in time");
    for (auto const& question : questions) check_answer(question.method, answers[question.key]);
    co_return answers;
}

}  // namespace mcp
