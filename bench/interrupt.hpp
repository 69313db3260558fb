#pragma once
#include <chrono>
#include <stdexcept>

// Ctrl-C ends a run the same way as a failure does: the stack unwinds, and every object puts away what it
// started.
namespace bench {

/// Something in the way of measuring; what() is the one line for people.
struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};
struct Interrupted : std::runtime_error {
    Interrupted() : std::runtime_error("interrupted") {}
};

/// Before any thread is started: SIGINT, SIGTERM and SIGHUP are noticed by the calling thread alone, and end
/// its blocking calls with EINTR.
void notice_interrupts();
/// Threads started while one of these lives never take a signal; nor is the owner disturbed while it cleans
/// up.
class WithoutSignals {
  public:
    WithoutSignals();
    ~WithoutSignals();
    WithoutSignals(WithoutSignals const&) = delete;
    WithoutSignals& operator=(WithoutSignals const&) = delete;
};

bool interrupted();
void throw_if_interrupted();
/// Throws Interrupted instead of sleeping on.
void pause(std::chrono::milliseconds);

}  // namespace bench
