#pragma once
#include "options.hpp"
#include "peers.hpp"
#include "report.hpp"
#include "runsc_floor.hpp"
#include "scratch.hpp"
#include "server_under_test.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

namespace bench {

/// What rows measure with: made when first asked for, put away with the lab, in reverse.
class Lab {
  public:
    Lab(Options options, Scratch const& scratch, Children& children);

    Report& report() { return report_; }
    Options const& options() const { return options_; }
    /// How many measurements to take: --n when given, very few with --quick.
    int count(int by_default) const {
        return options_.n > 0 ? options_.n : options_.quick ? std::min(by_default, kQuick) : by_default;
    }

    /// The server that most rows share, with the stock that berth ships, and a connection to it.
    ServerUnderTest& server();
    McpClient& client();
    /// Ends it: rows that need the machine's memory or processors for themselves do that first.
    void close_server();
    /// `options`: program, templates and directory are filled in here.
    std::unique_ptr<ServerUnderTest> own_server(ServeOptions options);
    std::unique_ptr<ServerUnderTest> own_server(int ready, int awake, int max_sandboxes);

    RunscFloor& runsc();
    Peers& peers() { return peers_; }
    Children& children() { return children_; }
    /// A path of the run's scratch directory; and of a program beside the one under test.
    std::string file(std::string const& name) const { return scratch_.path(name); }
    std::string program(std::string const& name) const;
    std::string web_program() const { return program("berth-bench-web"); }

    /// A workspace of the shared server; deleted with the object, outside of anything timed.
    class Workspace {
      public:
        Workspace(McpClient& client, base::Json const& created);
        ~Workspace();
        Workspace(Workspace&& other) noexcept : client_(other.client_), id_(std::exchange(other.id_, {})) {}
        std::string const& id() const { return id_; }

      private:
        McpClient* client_;
        std::string id_;
    };
    Workspace workspace();
    /// The directory of a running workspace's files on this machine; of the shared server, or of another one.
    std::string host_files(Workspace const& w) { return host_files(server(), client(), w); }
    std::string host_files(ServerUnderTest const&, McpClient&, Workspace const&) const;

  private:
    static constexpr int kQuick = 2;
    Options options_;
    Scratch const& scratch_;
    Children& children_;
    Report report_;
    Peers peers_;
    int servers_ = 0;
    std::unique_ptr<RunscFloor> runsc_;
    std::unique_ptr<ServerUnderTest> server_;
    std::unique_ptr<McpClient> client_;
};

}  // namespace bench
