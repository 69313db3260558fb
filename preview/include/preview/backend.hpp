#pragma once
#include <base/asio.hpp>
#include <base/result.hpp>
#include <base/byte_stream.hpp>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace preview {

/// A port that something inside listens on.
struct Listener {
    int port = 0;
    std::string address, program;  ///< "127.0.0.1", "::"; "node"
};

/// A command that ran in the background and ended badly, with its last words.
struct Crash {
    std::string command, reason;  ///< reason: "exit code 1", "out of memory"
    std::string output;           ///< its last lines
};

/// A workspace that is awake, and stays so while this exists.
class Awake {
  public:
    virtual ~Awake() = default;
    virtual bool restarted() const = 0;            ///< it came back from its files, without its programs
    virtual std::uint64_t generation() const = 0;  ///< of its sandbox: connections end with it
    /// errc::unavailable: nothing listens there.
    virtual base::Task<base::Result<std::unique_ptr<base::ByteStream>>> connect(int port) = 0;
    virtual base::Task<base::Result<std::vector<Listener>>> listeners() = 0;  ///< asked anew each time
    /// The newest command in the background that failed of itself within the last hours, unless it was begun again since.
    virtual base::Task<std::optional<Crash>> last_crash() = 0;
    /// How long ago the newest command that still runs began; nullopt when none runs.
    virtual base::Task<std::optional<base::milliseconds>> youngest() = 0;
};

/// What previews need of workspaces. Owners see only their own.
class Backend {
  public:
    virtual ~Backend() = default;
    enum class State { unknown, awake, asleep };  ///< a frozen one is awake: it thaws at once
    /// By id or name, without waking it. `unknown`: the owner has none such.
    virtual State state(std::string const& owner, std::string const& workspace) const = 0;
    /// Its id, also when it is named; nullopt when the owner has none such.
    virtual std::optional<std::string> id_of(std::string const& owner,
                                             std::string const& workspace) const = 0;
    /// Wakes it when needed. errc::not_found, errc::busy, and what a start can fail with.
    virtual base::Task<base::Result<std::unique_ptr<Awake>>> awake(std::string owner,
                                                                   std::string workspace) = 0;
};

}  // namespace preview
