#pragma once
#include "access.hpp"
#include "names.hpp"
#include "pages.hpp"
#include "traffic.hpp"
#include "waker.hpp"

#include <functional>
#include <preview/previews.hpp>
#include <set>

namespace preview {

/// A preview in memory: its record, and the connections to its programs.
struct Preview {
    registry::PreviewRecord record;
    std::map<std::string, int> rules;
    /// By port; void once the workspace has another sandbox.
    std::map<int, std::shared_ptr<http::Client>> clients;
    std::uint64_t generation = 0;

    std::int64_t kept_expires_ms = 0;  ///< record.expires_ms as the disk has it

    bool open() const { return record.access == "public"; }
    bool revoked() const { return record.revoked_ms != 0; }
    Subject subject() const { return {record.id, record.version}; }
    /// By the longest rule that is a whole part of the path.
    int port_for(std::string_view target) const;
};

struct Previews::Impl : std::enable_shared_from_this<Impl> {
    Impl(asio::io_context& context, registry::Registry& r, Backend& b, Options o)
        : io(context),
          records(r),
          backend(b),
          options(o),
          domains(o.domains),
          traffic(context, o),
          waker(context.get_executor(), b, o),
          changed(context, base::Clock::time_point::max()) {}

    using Ptr = std::shared_ptr<Preview>;
    Ptr find(Name const&) const;
    /// By a Host name: one of ours, or a domain that a preview was given.
    Ptr find_host(std::string_view host) const;
    /// The workspace that a Host name belongs to, "" when it is nobody's.
    std::string workspace_of(std::string_view host) const;
    std::string origin(registry::PreviewRecord const&) const;
    /// Origin, when it is that of a preview of the same workspace; else "".
    std::string sibling(Fields const&, registry::PreviewRecord const&) const;
    /// Whether another preview has this domain.
    bool taken(std::string const& domain, std::string const& preview_id);
    View view(Preview const&) const;
    /// Those of workspaces that are no more.
    void forget_deleted();

    /// Makes room for one more preview of a workspace: of those that were revoked or ended, the ones that did so first go.
    /// errc::limit when all are in use. Within a Turn.
    Task<Status> make_room(std::string workspace);

    /// One change of a workspace's records at a time: each goes by what the one before it recorded.
    class Turn {
      public:
        Turn(Impl& impl, std::string workspace) : impl_(impl), workspace_(std::move(workspace)) {
            impl_.changing.insert(workspace_);
        }
        ~Turn() {
            impl_.changing.erase(workspace_);
            impl_.changed.cancel();
        }
        Turn(Turn const&) = delete;
        Turn& operator=(Turn const&) = delete;

      private:
        Impl& impl_;
        std::string workspace_;
    };
    Task<void> no_change_of(std::string workspace);  ///< waits; a Turn is to be taken before the next suspension

    /// The site's handler: name, limits, gate, wake, proxy.
    Task<void> handle(http::Exchange&);

    asio::io_context& io;
    registry::Registry& records;
    Backend& backend;
    Options options;
    Domains domains;
    Traffic traffic;
    Waker waker;
    base::Secret key;
    std::optional<Names> names;                        ///< nothing before a listener is known
    std::map<std::pair<std::string, int>, Ptr> table;  ///< by workspace and port
    std::map<std::string, Ptr, std::less<>> by_domain;
    std::set<std::string> changing;  ///< workspaces whose records are being changed
    asio::steady_timer changed;      ///< cancelled whenever such a change ends
};

}  // namespace preview
