#pragma once
#include <base/asio.hpp>
#include <mcp/features.hpp>

#include <string>

namespace host {

/// A call as its handler sees it when the client wants to hear of progress: one that says nothing by itself is heard of all the
/// same, so that a client which gives up on silence does not give up on work. What the handler says is passed on, as later
/// than all that was said for it. Threads: the I/O thread; lifetime: the handler's, within that of the call itself.
class Ticking final : public mcp::Call {
  public:
    explicit Ticking(mcp::Call& call) : call_(call) {}

    /// Awaits `op`, the handler's coroutine with this call. Until it ends, or speaks, the client is told "12 s: `doing`" after
    /// each `every`. Cancelling this cancels `op`.
    mcp::Task<mcp::ToolResult> run(mcp::Task<mcp::ToolResult> op, std::string doing, base::milliseconds every);

    mcp::Caller const& caller() const override { return call_.caller(); }
    mcp::Json const& client_capabilities() const override { return call_.client_capabilities(); }
    bool client_has_extension(std::string_view id) const override { return call_.client_has_extension(id); }
    bool wants_progress() const override { return call_.wants_progress(); }
    void progress(double progress, std::optional<double> total, std::string message) override;
    void log(mcp::LogLevel level, std::string logger, mcp::Json data) override {
        call_.log(level, std::move(logger), std::move(data));
    }
    mcp::Task<std::map<std::string, mcp::Json>> ask(std::vector<mcp::Question> questions, mcp::Json state) override {
        return call_.ask(std::move(questions), std::move(state));
    }
    mcp::Json const& state() const override { return call_.state(); }
    bool modern() const override { return call_.modern(); }
    void close_stream(base::milliseconds retry) override { call_.close_stream(retry); }

  private:
    mcp::Task<void> tick(std::string doing, base::milliseconds every);

    mcp::Call& call_;
    double ticked_ = 0;    ///< the last that was said for the handler
    bool spoke_ = false;
};

}  // namespace host
