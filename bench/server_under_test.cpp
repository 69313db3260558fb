#include "server_under_test.hpp"

#include "interrupt.hpp"
#include "process_tree.hpp"
#include <base/files.hpp>
#include <base/syscalls.hpp>

#include <fcntl.h>

#include <cstdio>
#include <optional>

namespace bench {
namespace {

constexpr base::milliseconds kLife{3'600'000}, kDownLimit{120'000};
constexpr std::chrono::seconds kStartLimit{30};

bool says_ready(std::uint16_t port) {
    try {
        HttpConnection http(port);
        http.send(http.compose("GET", "/readyz", {}, ""));
        return http.receive().status == 200;
    } catch (Failure const&) {  // nobody listens yet
        return false;
    }
}

}  // namespace

ServerUnderTest::ServerUnderTest(Children& children, ServeOptions options)
    : children_(children),
      options_(std::move(options)),
      data_(options_.directory + "/data"),
      log_(options_.directory + "/serve.log"),
      port_(free_port()) {
    base::sys::mkdir(options_.directory, 0700).value();
    auto const config = options_.directory + "/berth.yaml";
    auto const yaml = "templates_dir: " + options_.templates +
                      "\nlog_level: warn\nmax_sandboxes: " + std::to_string(options_.max_sandboxes) +
                      "\npools:\n    base:\n        ready: " + std::to_string(options_.ready) +
                      "\n        awake: " + std::to_string(options_.awake) +
                      "\ntoolsets: [" + options_.toolsets + "]\n" + options_.more;
    base::replace_file(config, yaml, 0600).value();
    Streams streams;
    streams.out = base::sys::open(log_, O_WRONLY | O_CREAT | O_APPEND, 0600).value();
    streams.err = base::sys::open(log_, O_WRONLY | O_APPEND).value();
    base::Launch launch;
    launch.argv = {options_.berth, "serve", "--data", data_, "--listen", "127.0.0.1:" + std::to_string(port_),
                   "--config",     config};
    if (!options_.servers.is_null()) {
        auto const file = options_.directory + "/servers.json";
        base::replace_file(file, base::dump(options_.servers), 0600).value();
        launch.argv.insert(launch.argv.end(), {"--servers", file});
    }
    auto const began = Clock::now();
    child_ = children_.start(std::move(launch), std::move(streams), kLife);
    try {
        while (!says_ready(port_)) {
            throw_if_interrupted();
            if (child_->ended()) throw Failure("berth serve ended at once: " + last_words());
            if (Clock::now() > began + kStartLimit)
                throw Failure("berth serve is not ready: " + last_words());
            std::this_thread::sleep_for(std::chrono::microseconds(200));
        }
        start_took_ = Clock::now() - began;
        token_ = base::read_file(data_ + "/token").value();
        while (token_.ends_with('\n')) token_.pop_back();
        watch_ = std::make_unique<HttpConnection>(port_);
    } catch (...) {
        stop();
        throw;
    }
}

ServerUnderTest::~ServerUnderTest() { stop(); }

void ServerUnderTest::stop() noexcept {
    WithoutSignals undisturbed;
    try {
        watch_.reset();
        base::Launch down;
        down.argv = {options_.berth, "down", "--data", data_};
        if (!child_->ended()) (void)children_.run(std::move(down), kDownLimit);
        if (!child_->wait(kDownLimit)) std::fprintf(stderr, "berth-bench: the server did not stop\n");
    } catch (std::exception const& e) {
        std::fprintf(stderr, "berth-bench: stop the server: %s\n", e.what());
    }
}

std::string ServerUnderTest::last_words() const {
    auto const text = base::read_file(log_, 16 << 20);
    if (!text || text->empty()) return "it said nothing";
    auto const end = text->find_last_not_of('\n') + 1;
    auto const from = text->rfind('\n', end - 1);
    return text->substr(from == text->npos ? 0 : from + 1, end - (from == text->npos ? 0 : from + 1));
}

std::unique_ptr<McpClient> ServerUnderTest::connect() const {
    return std::make_unique<McpClient>(port_, token_);
}

pid_t ServerUnderTest::pid() const {
    for (auto const pid : processes_naming(options_.directory + "/berth.yaml")) return pid;
    throw Failure("berth serve is gone: " + last_words());
}

std::string ServerUnderTest::metric(std::string const& name) const {
    throw_if_interrupted();
    watch_->renew();    // it may have rested for longer than the server keeps a connection
    watch_->send(watch_->compose("GET", "/metrics", {"Authorization: Bearer " + token_}, ""));
    auto const answer = watch_->receive();
    auto const at = answer.body.find("\n" + name);
    if (answer.status != 200 || at == answer.body.npos) throw Failure("/metrics has no " + name);
    auto const line = answer.body.substr(at + 1, answer.body.find('\n', at + 1) - at - 1);
    return line.substr(line.rfind(' ') + 1);
}

int ServerUnderTest::stock(std::string const& runtime) const {
    return std::stoi(metric("berth_pool_ready{template=\"base\",runtime=\"" + runtime + "\"}"));
}
std::uint64_t ServerUnderTest::boots() const { return counter("berth_boots_total "); }

void ServerUnderTest::wait_for_stock(int wanted, std::chrono::milliseconds limit, std::string const& runtime) const {
    auto const end = Clock::now() + limit;
    while (stock(runtime) < wanted) {
        if (Clock::now() > end)
            throw Failure("the stock holds " + std::to_string(stock(runtime)) + " " + runtime + " sandboxes, not " +
                          std::to_string(wanted) + ", after " + std::to_string(limit.count() / 1000) +
                          " s: " + last_words());
        pause(std::chrono::milliseconds(10));
    }
}

}  // namespace bench
