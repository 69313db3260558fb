#include "egress/dial.hpp"

#include <base/timeout.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <set>
#include <testing/io.hpp>

using base::Result;
using base::Task;
using sandbox::egress::Dialer;

namespace {

/// A resolver that answers when the test lets it, and counts.
struct SlowResolver {
    std::mutex mutex;
    std::condition_variable opened;
    bool open = false;
    std::multiset<std::string> asked;

    Result<Dialer::Addresses> find(std::string const& host) {
        std::unique_lock lock(mutex);
        asked.insert(host);
        opened.wait(lock, [this] { return open; });
        if (host == "absent.example")
            return base::error(base::errc::unavailable, host + " could not be looked up");
        return Dialer::Addresses(1, asio::ip::make_address("127.0.0.1"));
    }
    void let() {
        std::lock_guard const lock(mutex);
        open = true;
        opened.notify_all();
    }
    std::size_t count(std::string const& host) {
        std::lock_guard const lock(mutex);
        return asked.count(host);
    }
};

struct NamesWorld {
    testing_support::Io io;
    asio::ip::tcp::acceptor acceptor{io.context, {asio::ip::make_address("127.0.0.1"), 0}};
    int const port = acceptor.local_endpoint().port();
    std::shared_ptr<SlowResolver> resolver = std::make_shared<SlowResolver>();
    Dialer dialer{{"127.0.0.0/8"}, [r = resolver](std::string const& host) { return r->find(host); }};
    std::vector<std::string> ends;  ///< "" for a connection, else why there is none

    ~NamesWorld() { resolver->let(); }

    void dial(std::string host, base::milliseconds limit = base::milliseconds(5'000)) {
        auto one = [](NamesWorld& w, std::string name, base::milliseconds within) -> Task<void> {
            auto socket = co_await w.dialer.dial(std::move(name), w.port, within);
            w.ends.push_back(socket ? "" : socket.error().message());
        };
        asio::co_spawn(io.context, one(*this, std::move(host), limit), asio::detached);
    }
    void until_ended(std::size_t count) {
        auto wait = [](NamesWorld& w, std::size_t n) -> Task<void> {
            while (w.ends.size() < n) co_await base::sleep_for(base::milliseconds(1));
        };
        io.run(wait(*this, count));
    }
    void a_moment() { io.run(base::sleep_for(base::milliseconds(20))); }
};

}  // namespace

TEST_CASE("looking up a name") {
    NamesWorld w;
    SUBCASE("is done once for all who want it meanwhile, and anew for who comes later") {
        for (int i = 0; i < 50; ++i) w.dial("mirror.example");
        w.dial("other.example");
        w.a_moment();
        CHECK(w.ends.empty());
        w.resolver->let();
        w.until_ended(51);
        CHECK(w.ends == std::vector<std::string>(51, ""));
        CHECK(w.resolver->count("mirror.example") == 1);
        CHECK(w.resolver->count("other.example") == 1);
        w.dial("mirror.example");
        w.until_ended(52);
        CHECK(w.resolver->count("mirror.example") == 2);
    }
    SUBCASE("fails for all who wait for it") {
        for (int i = 0; i < 3; ++i) w.dial("absent.example");
        w.a_moment();
        w.resolver->let();
        w.until_ended(3);
        for (auto const& end : w.ends)
            CHECK(end.find("absent.example could not be looked up") != std::string::npos);
        CHECK(w.resolver->count("absent.example") == 1);
    }
    SUBCASE("ends for each at its own limit, and the others go on") {
        w.dial("mirror.example", base::milliseconds(20));
        w.dial("mirror.example");
        w.until_ended(1);
        CHECK(w.ends[0].find("mirror.example could not be looked up in time") != std::string::npos);
        w.resolver->let();
        w.until_ended(2);
        CHECK(w.ends[1] == "");
        CHECK(w.resolver->count("mirror.example") == 1);
    }
}
