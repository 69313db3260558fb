#pragma once
#include "http_connection.hpp"
#include "tool_connection.hpp"

#include <string>
#include <vector>

namespace bench {

/// A client of the stateless revision (2026-07-28) over Streamable HTTP: what berth is measured through.
class McpClient final : public ToolConnection {
  public:
    McpClient(std::uint16_t port, std::string const& token);
    std::string compose(std::string const& tool, base::Json const& arguments) override;
    void send(std::string const& composed) override { http_.send(composed); }
    std::string receive() override;

  private:
    HttpConnection http_;
    std::string authorization_;
    long next_id_ = 1;
};

/// A client of the 2025 revisions over Streamable HTTP, with the session those have: for servers of the npm
/// SDK.
class SessionClient final : public ToolConnection {
  public:
    explicit SessionClient(std::uint16_t port);
    /// A further connection of the session that another one has begun.
    SessionClient(std::uint16_t port, std::string session, long first_id);
    std::string const& session() const { return session_; }
    std::string compose(std::string const& tool, base::Json const& arguments) override;
    void send(std::string const& composed) override { http_.send(composed); }
    std::string receive() override;

  private:
    std::string compose_message(base::Json const& message);
    HttpConnection http_;
    std::string session_;
    long next_id_ = 1;
};

/// `initialize` of the 2025-11-25 revision.
base::Json initialize_request();

}  // namespace bench
