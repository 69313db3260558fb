#include "call.hpp"

#include <array>

namespace mcp {
namespace {

constexpr std::array<std::string_view, 8> kLevels{"debug", "info",     "notice", "warning",
                                                  "error", "critical", "alert",  "emergency"};

}  // namespace

std::string_view to_string(LogLevel level) { return kLevels[static_cast<std::size_t>(level)]; }

std::optional<LogLevel> log_level_from(std::string_view name) {
    for (std::size_t i = 0; i < kLevels.size(); ++i)
        if (kLevels[i] == name) return static_cast<LogLevel>(i);
    return std::nullopt;
}

Json passed_meta(Json const& params) {
    auto const meta = params.find("_meta");
    if (meta == params.end() || !meta->is_object()) return nullptr;
    Json out;
    for (auto const& [key, value] : meta->items())
        if (key != "progressToken" && !key.starts_with("io.modelcontextprotocol/")) out[key] = value;
    return out;
}

bool ActiveCall::client_has_extension(std::string_view name) const {
    auto const extensions = origin_.capabilities.find("extensions");
    if (extensions == origin_.capabilities.end() || !extensions->is_object()) return false;
    auto const it = extensions->find(name);
    return it != extensions->end() && it->is_object();
}

void ActiveCall::progress(double progress, std::optional<double> total, std::string message) {
    if (last_progress_ && progress <= *last_progress_) return;
    last_progress_ = progress;
    if (on_progress_) return on_progress_(std::move(message));
    if (!outlet_ || !wants_progress()) return;
    Json params{{"progressToken", origin_.progress_token}, {"progress", progress}};
    if (total) params["total"] = *total;
    if (!message.empty()) params["message"] = std::move(message);
    outlet_->notify(notification_text("notifications/progress", params));
}

void ActiveCall::log(LogLevel level, std::string logger, Json data) {
    if (!outlet_ || on_progress_ || !origin_.log_level || level < *origin_.log_level) return;
    Json params{{"level", to_string(level)}, {"data", std::move(data)}};
    if (!logger.empty()) params["logger"] = std::move(logger);
    outlet_->notify(notification_text("notifications/message", params));
}

void ActiveCall::become_task(std::shared_ptr<Asker> task, std::function<void(std::string)> on_progress) {
    asker = std::move(task);
    on_progress_ = std::move(on_progress);
    outlet_.reset();
}

Task<std::map<std::string, Json>> ActiveCall::ask(std::vector<Question> questions, Json state) {
    if (auto const carrier = asker) co_return co_await carrier->ask(std::move(questions));
    if (!origin_.modern || !may_ask) throw rpc_exception(code::internal_error, "Nothing can be asked here");
    if (auto missing = missing_capabilities(questions, origin_.capabilities); !missing.is_null()) {
        Json const data{{"requiredCapabilities", std::move(missing)}};
        throw rpc_exception(code::missing_capability, "Missing required client capability", data);
    }
    InputRequired open{{}, std::move(state)};
    std::map<std::string, Json> answers;
    for (auto& question : questions) {
        auto const it = round.answers.find(question.key);
        if (it == round.answers.end()) {
            open.questions.push_back(std::move(question));
            continue;
        }
        check_answer(question.method, it->second);
        answers[question.key] = answered_[question.key] = it->second;
    }
    if (!open.questions.empty()) throw open;
    co_return answers;
}

}  // namespace mcp
