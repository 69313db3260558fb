#include "listener.hpp"
#include <http/server.hpp>

namespace http {

namespace {
constexpr base::milliseconds cancelled_limit{5'000};  ///< for cancelled handlers to clean up
}

std::string_view Request::field(std::string_view name) const { return fields[name]; }

struct Server::Impl {
    std::shared_ptr<Core> core;
    std::vector<std::shared_ptr<Listener>> listeners;

    void start(std::shared_ptr<Listener> listener) {
        listeners.push_back(listener);
        auto task = Listener::accept(std::move(listener), core);
        asio::co_spawn(core->io(), std::move(task), asio::detached);
    }
    void close_listeners() {
        for (auto const& listener : listeners) listener->close();
        listeners.clear();
    }
};

Server::Server(asio::io_context& io, GateOptions gate, ServerOptions options, std::vector<Route> routes)
    : impl_(std::make_shared<Impl>()) {
    impl_->core = std::make_shared<Core>(io, std::move(gate), options, std::move(routes));
}

Server::~Server() {
    impl_->close_listeners();
    impl_->core->begin_stop();
    impl_->core->close_all();
}

base::Result<asio::ip::tcp::endpoint> Server::listen(std::string const& address, std::uint16_t port,
                                                     std::optional<TlsFiles> tls, Names names) {
    auto listener = Listener::tcp(impl_->core->io(), address, port, std::move(tls), names);
    if (!listener) return std::move(listener).error();
    auto const endpoint = (*listener)->endpoint();
    impl_->start(std::move(*listener));
    return endpoint;
}

base::Status Server::listen_on(base::UniqueFd socket, bool tls) {
    auto listener = Listener::adopt(impl_->core->io(), std::move(socket), tls);
    if (!listener) return std::move(listener).error();
    impl_->start(std::move(*listener));
    return {};
}

base::Status Server::listen_unix(std::string const& path, std::string const& group) {
    auto listener = Listener::local(impl_->core->io(), path, group);
    if (!listener) return std::move(listener).error();
    impl_->start(std::move(*listener));
    return {};
}

void Server::add_site(Site site) { impl_->core->add_site(std::move(site)); }

base::Task<void> Server::stop(base::milliseconds grace) {
    auto const impl = impl_;
    impl->close_listeners();
    impl->core->begin_stop();
    bool done = co_await impl->core->drained(grace);
    if (done) co_return;
    impl->core->cancel_handlers();
    done = co_await impl->core->drained(cancelled_limit);
    if (!done) impl->core->close_all();
}

std::size_t Server::connections() const { return impl_->core->connections(); }

}  // namespace http
