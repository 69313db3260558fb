#pragma once
#include "rpc.hpp"
#include "wake.hpp"

#include <set>

namespace mcp {

/// What one subscriptions/listen asked for and we agreed to.
struct Filter {
    bool tools = false, prompts = false, resources = false;
    std::set<std::string> uris, tasks;
};

/// A modern listener, for as long as its request runs.
struct Listener {
    Listener(asio::any_io_executor executor) : ended(std::move(executor)) {}
    Filter filter;
    Json id;  ///< of the request, with its type
    std::shared_ptr<Outlet> outlet;
    Wake ended;  ///< by us: shutdown, or it does not take what it asked for
    bool shutdown = false;
};

/// A legacy session's ear.
class Subscriber {
  public:
    virtual ~Subscriber() = default;
    virtual bool subscribed(std::string const& uri) const = 0;
    virtual void hear(std::string notification) = 0;
};

/// Spreads change notices. Holds nobody alive: listeners and subscribers leave before they end.
class Listeners final : public Hub {
  public:
    void tools_changed() override;
    void prompts_changed() override;
    void resources_changed() override;
    void resource_updated(std::string const& uri) override;
    bool watched(std::string const& uri) const override;
    /// `task` is the full task, as tasks/get shows it.
    void task_changed(std::string const& id, Json const& task);
    void stop();

    void join(Listener& l) { listeners_.insert(&l); }
    void leave(Listener& l) { listeners_.erase(&l); }
    void join(Subscriber& s) { subscribers_.insert(&s); }
    void leave(Subscriber& s) { subscribers_.erase(&s); }

  private:
    template <class Wants>
    void spread(std::string_view method, Json params, Wants wants);
    void list_changed(std::string_view method, bool Filter::*wanted);

    std::set<Listener*> listeners_;
    std::set<Subscriber*> subscribers_;
};

/// The params of a notification on a listen stream, tagged with the listener's id.
Json tagged(Json params, Json const& subscription_id);

}  // namespace mcp
