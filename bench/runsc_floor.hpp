#pragma once
#include "children.hpp"
#include "stats.hpp"

#include <string>
#include <vector>

namespace bench {

/// Bare runsc on the same root file system and with the same flags as berth's sandboxes: what it takes
/// without a pool and a guest. One sandbox stands for `exec`; it ends with the object.
class RunscFloor {
  public:
    /// `directory` must not exist yet. Failure when runsc is missing.
    RunscFloor(Children&, std::string directory, std::string rootfs);
    ~RunscFloor();
    RunscFloor(RunscFloor const&) = delete;
    RunscFloor& operator=(RunscFloor const&) = delete;

    /// `runsc run` of a shell, from the start of runsc to the first byte that the shell writes.
    Clock::duration run_to_first_echo();
    /// `runsc exec ID /bin/true`, from begin to end.
    Clock::duration exec_true();
    struct SleepAndWake {
        Clock::duration checkpoint{};  ///< `runsc checkpoint -compression none`, its files flushed
        Clock::duration restore{};     ///< `runsc restore` into a sandbox that was created before
    };
    /// Of a sandbox of its own that runs `args`, once that has written its first byte.
    SleepAndWake sleep_and_wake(std::vector<std::string> const& args);

  private:
    base::Launch launch(std::vector<std::string> words) const;
    std::string bundle(std::string const& name, std::vector<std::string> const& args) const;
    void begin_standing();
    void must(std::vector<std::string> words) const;

    Children& children_;
    std::string directory_, rootfs_;
    int runs_ = 0;
    bool standing_ = false;
};

}  // namespace bench
