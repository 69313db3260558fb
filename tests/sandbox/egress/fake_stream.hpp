#pragma once
#include <sandbox/guest.hpp>

#include <algorithm>
#include <cstring>

// A connection from inside, in memory. The proxy holds the base::ByteStream; the test plays the program behind it.
namespace egress_test {

struct Wire {
    explicit Wire(asio::io_context& io) : changed(io, asio::steady_timer::time_point::max()) {}
    void wake() { changed.cancel(); }

    std::string to_proxy, to_program;
    bool program_ended = false;    // no more from the program
    bool proxy_ended = false;      // no more from the proxy
    bool closed = false;           // the stream object is gone
    std::size_t credit = SIZE_MAX; // what the program still takes
    asio::steady_timer changed;
};

class FakeStream final : public base::ByteStream {
  public:
    explicit FakeStream(std::shared_ptr<Wire> wire) : wire_(std::move(wire)) {}
    ~FakeStream() override { close(); }
    void close() override {
        wire_->closed = true;
        wire_->wake();
    }
    base::Task<base::Result<std::size_t>> read_some(asio::mutable_buffer buffer) override {
        auto const wire = wire_;
        while (wire->to_proxy.empty()) {
            if (wire->program_ended) co_return std::size_t{0};
            co_await wire->changed.async_wait(base::as_tuple);
            auto const state = co_await asio::this_coro::cancellation_state;
            if (state.cancelled() != asio::cancellation_type::none) co_return base::error(base::errc::cancelled, "read");
        }
        auto const n = std::min(buffer.size(), wire->to_proxy.size());
        std::memcpy(buffer.data(), wire->to_proxy.data(), n);
        wire->to_proxy.erase(0, n);
        co_return n;
    }
    base::Task<base::Status> write(asio::const_buffer buffer) override {
        auto const wire = wire_;
        std::string_view rest(static_cast<char const*>(buffer.data()), buffer.size());
        while (!rest.empty()) {
            if (wire->credit == 0) {
                co_await wire->changed.async_wait(base::as_tuple);
                auto const state = co_await asio::this_coro::cancellation_state;
                if (state.cancelled() != asio::cancellation_type::none) co_return base::error(base::errc::cancelled, "write");
                continue;
            }
            auto const n = std::min(rest.size(), wire->credit);
            wire->credit -= n;
            wire->to_program.append(rest.substr(0, n));
            rest.remove_prefix(n);
            wire->wake();
        }
        co_return base::Status{};
    }
    void shutdown_write() override {
        wire_->proxy_ended = true;
        wire_->wake();
    }

  private:
    std::shared_ptr<Wire> wire_;
};

}  // namespace egress_test
