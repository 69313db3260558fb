#include "children.hpp"

#include "interrupt.hpp"

namespace bench {
namespace {

using End = std::promise<base::Result<base::Finished>>;

base::Task<void> follow(base::Launch launch, Streams streams, base::milliseconds limit,
                        std::shared_ptr<End> end) {
    if (streams.in) launch.in = streams.in.get();
    if (streams.out) launch.out = streams.out.get();
    if (streams.err) launch.err = streams.err.get();
    auto finished = co_await base::run(std::move(launch), limit);
    streams = {};
    end->set_value(std::move(finished));
}

}  // namespace

Child::Child(asio::io_context& io, base::Launch launch, Streams streams, base::milliseconds limit)
    : io_(io), cancel_(std::make_shared<asio::cancellation_signal>()) {
    auto const end = std::make_shared<End>();
    end_ = end->get_future().share();
    // A slot is bound by its own thread: the signal is emitted there too.
    asio::post(io_, [&context = io_, cancel = cancel_, end, limit, l = std::move(launch),
                     s = std::make_shared<Streams>(std::move(streams))]() mutable {
        auto ended = [end, cancel](std::exception_ptr thrown) {
            if (thrown) end->set_exception(thrown);
        };
        asio::co_spawn(context, follow(std::move(l), std::move(*s), limit, end),
                       asio::bind_cancellation_slot(cancel->slot(), std::move(ended)));
    });
}

Child::~Child() {
    if (ended()) return;
    asio::post(io_, [cancel = cancel_] { cancel->emit(asio::cancellation_type::terminal); });
    end_.wait_for(std::chrono::seconds(10));
}

bool Child::ended() const { return end_.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }

std::optional<base::Result<base::Finished>> Child::wait(base::milliseconds limit) {
    if (end_.wait_for(limit) != std::future_status::ready) return std::nullopt;
    return end_.get();
}

Children::Children() {
    WithoutSignals inherited;
    thread_ = std::thread([this] { io_.run(); });
}

Children::~Children() {
    work_.reset();
    thread_.join();
}

std::unique_ptr<Child> Children::start(base::Launch launch, Streams streams, base::milliseconds limit) {
    return std::unique_ptr<Child>(new Child(io_, std::move(launch), std::move(streams), limit));
}

base::Finished Children::run(base::Launch launch, base::milliseconds limit) {
    auto const child = start(std::move(launch), {}, limit);
    auto const end = child->wait(limit + std::chrono::seconds(5));
    if (!end) throw Failure("a child process cannot be ended");
    if (!*end) throw Failure(end->error().message());
    return **end;
}

}  // namespace bench
