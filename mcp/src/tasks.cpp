#include "tasks.hpp"

#include <base/ids.hpp>

#include <array>
#include <ctime>

namespace mcp {
namespace {

constexpr std::array<char const*, 5> kStates{"working", "input_required", "completed", "failed", "cancelled"};
constexpr int kPollMs = 500;

std::string timestamp() {
    using namespace std::chrono;
    auto const now = system_clock::now();
    auto const seconds = system_clock::to_time_t(now);
    std::tm utc{};
    ::gmtime_r(&seconds, &utc);
    std::array<char, 32> text{};
    auto const n = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &utc);
    auto const ms = duration_cast<milliseconds>(now.time_since_epoch()).count() % 1000;
    auto fraction = std::to_string(1000 + ms);
    fraction[0] = '.';
    return std::string(text.data(), n) + fraction + 'Z';
}

}  // namespace

TaskRecord::TaskRecord(asio::any_io_executor executor, Listeners& listeners, std::string principal,
                       Json capabilities, base::milliseconds ttl)
    : listeners_(listeners),
      id_(base::random_id()),
      principal_(std::move(principal)),
      capabilities_(std::move(capabilities)),
      ttl_(ttl),
      ends_(base::Clock::now() + ttl),
      created_(timestamp()),
      updated_(created_),
      answered_(std::move(executor)) {}

Json TaskRecord::show() const {
    Json out{{"taskId", id_},         {"status", kStates[static_cast<std::size_t>(state_)]},
             {"createdAt", created_}, {"lastUpdatedAt", updated_},
             {"ttlMs", ttl_.count()}, {"pollIntervalMs", kPollMs}};
    if (!message_.empty()) out["statusMessage"] = message_;
    if (state_ == State::completed) out["result"] = answer_.result;
    if (state_ == State::failed) out["error"] = error_json(*answer_.error);
    if (state_ == State::input_required) {
        std::vector<Question> open;
        for (auto const& [key, question] : open_) open.push_back(question);
        out["inputRequests"] = input_requests(open);
    }
    return out;
}

void TaskRecord::change(State state) {
    state_ = state;
    updated_ = timestamp();
    listeners_.task_changed(id_, show());
}

void TaskRecord::say(std::string status_message) {
    if (over() || status_message.empty()) return;
    message_ = std::move(status_message);
    updated_ = timestamp();
}

Task<std::map<std::string, Json>> TaskRecord::ask(std::vector<Question> questions) {
    if (auto missing = missing_capabilities(questions, capabilities_); !missing.is_null()) {
        Json const data{{"requiredCapabilities", std::move(missing)}};
        throw rpc_exception(code::missing_capability, "Missing required client capability", data);
    }
    answers_.clear();
    for (auto& question : questions) {
        if (!used_keys_.insert(question.key).second)
            throw rpc_exception(code::internal_error, "A question's key was used before in this task");
        open_.emplace(question.key, question);
    }
    change(State::input_required);
    while (!open_.empty()) {
        auto const left = std::chrono::duration_cast<base::milliseconds>(ends_ - base::Clock::now());
        bool const woken = co_await answered_.wait(left);
        if (!woken) {
            open_.clear();
            throw rpc_exception(code::internal_error, "The client did not answer in time");
        }
    }
    if (over()) throw rpc_exception(code::internal_error, "The task was cancelled");
    change(State::working);
    co_return std::exchange(answers_, {});
}

void TaskRecord::update(Json const& input_responses) {
    for (auto const& [key, answer] : input_responses.items())
        if (auto const it = open_.find(key); it != open_.end()) check_answer(it->second.method, answer);
    bool taken = false;
    for (auto const& [key, answer] : input_responses.items()) {
        if (open_.erase(key) == 0) continue;
        answers_[key] = answer;
        taken = true;
    }
    if (!taken) return;
    updated_ = timestamp();
    if (open_.empty()) {
        answered_.notify();
    } else {
        listeners_.task_changed(id_, show());
    }
}

void TaskRecord::finish(Answer answer) {
    if (over()) return;
    answer_ = std::move(answer);
    if (answer_.error) message_ = answer_.error->message;
    change(answer_.error ? State::failed : State::completed);
}

void TaskRecord::cancel() {
    if (over()) return;
    open_.clear();
    change(State::cancelled);
    if (running) running->cancel();
}

std::shared_ptr<TaskRecord> Tasks::create(std::string principal, Json capabilities) {
    sweep();
    if (tasks_.size() >= max_) {
        auto const done =
            std::find_if(tasks_.begin(), tasks_.end(), [](auto const& t) { return t.second->over(); });
        if (done == tasks_.end()) return nullptr;
        tasks_.erase(done);
    }
    auto task = std::make_shared<TaskRecord>(executor_, listeners_, std::move(principal),
                                             std::move(capabilities), ttl_);
    tasks_.emplace(task->id(), task);
    return task;
}

std::shared_ptr<TaskRecord> Tasks::find(std::string const& principal, std::string const& id) {
    sweep();
    auto const it = tasks_.find(id);
    return it == tasks_.end() || it->second->principal() != principal ? nullptr : it->second;
}

void Tasks::sweep() {
    std::erase_if(tasks_, [](auto const& entry) {
        if (!entry.second->expired()) return false;
        entry.second->cancel();
        return true;
    });
}

}  // namespace mcp
