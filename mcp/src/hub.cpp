#include "hub.hpp"

namespace mcp {

Json tagged(Json params, Json const& subscription_id) {
    params["_meta"]["io.modelcontextprotocol/subscriptionId"] = subscription_id;
    return params;
}

template <class Wants>
void Listeners::spread(std::string_view method, Json params, Wants wants) {
    for (auto* listener : listeners_) {
        if (!wants(listener->filter)) continue;
        if (!listener->outlet->notify(notification_text(method, tagged(params, listener->id))))
            listener->ended.notify();
    }
}

void Listeners::list_changed(std::string_view method, bool Filter::*wanted) {
    spread(method, Json::object(), [wanted](Filter const& filter) { return filter.*wanted; });
    for (auto* subscriber : subscribers_) subscriber->hear(notification_text(method, nullptr));
}

void Listeners::tools_changed() { list_changed("notifications/tools/list_changed", &Filter::tools); }
void Listeners::prompts_changed() { list_changed("notifications/prompts/list_changed", &Filter::prompts); }
void Listeners::resources_changed() {
    list_changed("notifications/resources/list_changed", &Filter::resources);
}

void Listeners::resource_updated(std::string const& uri) {
    constexpr std::string_view method = "notifications/resources/updated";
    Json const params{{"uri", uri}};
    spread(method, params, [&uri](Filter const& filter) { return filter.uris.contains(uri); });
    for (auto* subscriber : subscribers_)
        if (subscriber->subscribed(uri)) subscriber->hear(notification_text(method, params));
}

bool Listeners::watched(std::string const& uri) const {
    for (auto const* listener : listeners_)
        if (listener->filter.uris.contains(uri)) return true;
    for (auto const* subscriber : subscribers_)
        if (subscriber->subscribed(uri)) return true;
    return false;
}

void Listeners::task_changed(std::string const& id, Json const& task) {
    spread("notifications/tasks", task, [&id](Filter const& filter) { return filter.tasks.contains(id); });
}

void Listeners::stop() {
    for (auto* listener : listeners_) {
        listener->shutdown = true;
        listener->ended.notify();
    }
}

}  // namespace mcp
