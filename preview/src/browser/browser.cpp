#include "chromium.hpp"
#include "devtools.hpp"
#include "page.hpp"
#include <base/timeout.hpp>

#include <deque>
#include <preview/browser.hpp>

namespace preview {

using base::errc;
using base::error;
using base::milliseconds;

namespace {

constexpr std::size_t kMaxWaiting = 4;
constexpr milliseconds kMaxWait{20'000};
constexpr milliseconds kStart{10'000};
constexpr std::size_t kConnections = 256;

sandbox::Limits limits() {
    sandbox::Limits out;
    out.memory_bytes = 1'200ull << 20;
    out.cpus = 1.5;
    out.pids = 400;  // threads; an ordinary page has some 150
    return out;
}

std::string origin_of(std::string const& url) {
    auto const scheme = url.find("://");
    return scheme == url.npos ? "" : url.substr(0, url.find('/', scheme + 3));
}

}  // namespace

/// One look, shared by who asked for it and by the coroutine that takes it: the first may go away.
struct Looking {
    explicit Looking(asio::io_context& io) : done(io, asio::steady_timer::time_point::max()) {}
    asio::steady_timer done;
    std::optional<base::Result<Sight>> result;
    std::string version;
    std::shared_ptr<DevTools> tools;
    bool given_up = false;

    void give_up() {
        given_up = true;
        if (tools) tools->close();
    }
};

struct Browser::Impl : std::enable_shared_from_this<Impl> {
    Impl(asio::io_context& context, base::BlockingPool& pool, Options o)
        : io(context),
          options(std::move(o)),
          jail(pool, {options.directory, options.jail_program, limits()}) {}

    asio::io_context& io;
    Options options;
    sandbox::Jail jail;
    std::shared_ptr<Looking> current;
    std::deque<std::shared_ptr<asio::steady_timer>> waiting;
    bool stopped = false;

    base::Task<base::Status> turn();
    base::Task<base::Result<std::shared_ptr<Looking>>> run(Errand errand, bool only_version);
    static base::Task<void> take(std::shared_ptr<Impl> self, std::shared_ptr<Looking> looking, Errand errand,
                                 bool only_version);
    base::Task<base::Result<Sight>> visit(Looking& looking, Errand const& errand, base::UniqueFd listener,
                                          bool only_version);
    base::Error explained(base::Error e) const;
};

/// Waits until no other look is under way.
base::Task<base::Status> Browser::Impl::turn() {
    auto const until = base::Clock::now() + kMaxWait;
    while (current && !stopped) {
        if (waiting.size() >= kMaxWaiting || base::Clock::now() >= until)
            co_return error(errc::busy, "other pages are being looked at; ask again in a moment");
        auto const timer = std::make_shared<asio::steady_timer>(io, until);
        waiting.push_back(timer);
        (void)co_await timer->async_wait(base::as_tuple);
        std::erase(waiting, timer);
        auto const state = co_await asio::this_coro::cancellation_state;
        if (state.cancelled() != asio::cancellation_type::none)
            co_return error(errc::cancelled, "nobody waits for the page any more");
    }
    if (stopped) co_return error(errc::unavailable, "the server is stopping");
    co_return base::Status();
}

/// The browser's own failure, with its last words where they say more.
base::Error Browser::Impl::explained(base::Error e) const {
    auto const& end = jail.end();
    if (end.out_of_memory) return error(errc::limit, "the page took more memory than a check has");
    auto const words = why_not(end.words);
    if (!words.empty() && !base::is(e, errc::cancelled))
        return error(errc::unavailable, "Chromium: " + words);
    return base::wrap(std::move(e), "Chromium");
}

base::Task<base::Result<Sight>> Browser::Impl::visit(Looking& looking, Errand const& errand,
                                                     base::UniqueFd listener, bool only_version) {
    http::ServerOptions bounds;
    bounds.max_connections = kConnections;
    http::Server server(io, http::GateOptions(), bounds, {});
    server.add_site(errand.site);
    if (auto s = server.listen_on(std::move(listener), errand.tls); !s) co_return s.error();
    auto const tools = looking.tools;
    auto version = co_await tools->call("Browser.getVersion", base::Json::object(), kStart);
    if (!version) co_return version.error();
    if (auto const product = version->find("product"); product != version->end() && product->is_string())
        looking.version = product->get<std::string>();
    if (only_version) co_return Sight();
    PageVisit page(*tools, origin_of(errand.url));
    co_return co_await page.look(errand.url, errand.picture);
}

base::Task<void> Browser::Impl::take(std::shared_ptr<Impl> self, std::shared_ptr<Looking> looking,
                                     Errand errand, bool only_version) {
    auto prisoner = chromium_for(self->options.program, errand.host, errand.port, errand.tls);
    auto opened = co_await self->jail.open(std::move(prisoner));
    if (!opened) {
        looking->result = opened.error();
    } else {
        looking->tools = DevTools::open(self->io, std::move(opened->wire));
        if (looking->given_up) looking->tools->close();
        base::Result<Sight> seen = error(errc::unavailable, "the page could not be looked at");
        try {
            auto visiting = self->visit(*looking, errand, std::move(opened->listener), only_version);
            seen = co_await std::move(visiting);
        } catch (std::exception const& e) {  // whatever a browser sends that a page has taken over: the next look goes on
            seen = error(errc::unavailable, std::string("the browser said what it should not: ") + e.what());
        }
        looking->tools->close();
        co_await self->jail.close();
        if (seen)
            looking->result = std::move(*seen);
        else
            looking->result = self->explained(seen.error());
    }
    self->current.reset();
    for (auto const& timer : self->waiting) timer->cancel();
    looking->done.cancel();
}

base::Task<base::Result<std::shared_ptr<Looking>>> Browser::Impl::run(Errand errand, bool only_version) {
    auto const self = shared_from_this();
    if (options.program.empty()) co_return error(errc::unavailable, "no browser: install chromium");
    co_await asio::this_coro::throw_if_cancelled(false);
    auto mine = co_await turn();
    if (!mine) co_return mine.error();
    auto const looking = current = std::make_shared<Looking>(io);
    auto task = take(self, looking, std::move(errand), only_version);
    asio::co_spawn(io, std::move(task), asio::detached);
    while (!looking->result) {
        (void)co_await looking->done.async_wait(base::as_tuple);
        auto const state = co_await asio::this_coro::cancellation_state;
        if (looking->result || state.cancelled() == asio::cancellation_type::none) continue;
        looking->give_up();
        co_return error(errc::cancelled, "nobody waits for the page any more");
    }
    co_return looking;
}

Browser::Browser(asio::io_context& io, base::BlockingPool& pool, Options options)
    : impl_(std::make_shared<Impl>(io, pool, std::move(options))) {}
Browser::~Browser() = default;

bool Browser::there() const { return !impl_->options.program.empty(); }

base::Task<base::Result<Sight>> Browser::look(Errand errand) {
    auto const impl = impl_;
    auto looked = co_await impl->run(std::move(errand), false);
    if (!looked) co_return looked.error();
    co_return std::move(*(*looked)->result);
}

base::Task<base::Result<std::string>> Browser::version() {
    auto const impl = impl_;
    Errand nowhere;
    nowhere.host = "localhost";
    nowhere.port = 80;
    auto looked = co_await impl->run(std::move(nowhere), true);
    if (!looked) co_return looked.error();
    if (!(*looked)->result->has_value()) co_return (*looked)->result->error();
    co_return (*looked)->version;
}

base::Task<void> Browser::sweep() {
    auto const impl = impl_;
    co_await impl->jail.sweep();
}

base::Task<void> Browser::stop() {
    auto const impl = impl_;
    impl->stopped = true;
    for (auto const& timer : impl->waiting) timer->cancel();
    if (impl->current) impl->current->give_up();
    while (impl->current) co_await base::sleep_for(milliseconds(5));
}

}  // namespace preview
