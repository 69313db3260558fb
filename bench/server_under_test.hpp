#pragma once
#include "children.hpp"
#include "mcp_client.hpp"

#include <sys/types.h>

#include <memory>
#include <string>

namespace bench {

struct ServeOptions {
    std::string berth;         ///< the program
    std::string templates;     ///< where the template `base` is
    std::string directory;     ///< for data, configuration and log; must not exist yet
    int ready = 8, awake = 2;  ///< stock; these are the defaults that berth ships
    int max_sandboxes = 400;
    std::string toolsets = "core, files, lifecycle";
    std::string more;     ///< further lines of berth.yaml
    base::Json servers;   ///< servers.json; none when it is null
};

/// A `berth serve` of the run's own, from its start until /readyz says yes. Destroying it is `berth down`.
class ServerUnderTest {
  public:
    ServerUnderTest(Children&, ServeOptions);
    ~ServerUnderTest();
    ServerUnderTest(ServerUnderTest const&) = delete;
    ServerUnderTest& operator=(ServerUnderTest const&) = delete;

    Clock::duration start_took() const { return start_took_; }
    std::unique_ptr<McpClient> connect() const;
    std::string const& data() const { return data_; }
    std::uint16_t port() const { return port_; }
    pid_t pid() const;
    int stock(std::string const& runtime = "gvisor") const;  ///< booted sandboxes in store
    std::uint64_t boots() const;  ///< since the start
    /// `name` as it begins its line of /metrics, with the blank after it.
    std::uint64_t counter(std::string const& name) const { return std::stoull(metric(name)); }
    /// Until that many are in store. Failure when they are not after `limit`.
    void wait_for_stock(int wanted, std::chrono::milliseconds limit, std::string const& runtime = "gvisor") const;

  private:
    std::string metric(std::string const& name) const;
    std::string last_words() const;
    void stop() noexcept;

    Children& children_;
    ServeOptions options_;
    std::string data_, log_, token_;
    std::uint16_t port_ = 0;
    std::unique_ptr<Child> child_;
    std::unique_ptr<HttpConnection> watch_;
    Clock::duration start_took_{};
};

}  // namespace bench
