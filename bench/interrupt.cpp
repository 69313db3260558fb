#include "interrupt.hpp"

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <thread>

namespace bench {
namespace {

std::atomic<bool> noticed{false};
static_assert(std::atomic<bool>::is_always_lock_free);

sigset_t ending_signals() {
    sigset_t set;
    ::sigemptyset(&set);
    for (int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&set, signal);
    return set;
}

}  // namespace

void notice_interrupts() {
    struct sigaction action {};
    action.sa_handler = [](int) { noticed = true; };  // without SA_RESTART
    for (int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(signal, &action, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
}

WithoutSignals::WithoutSignals() {
    auto const set = ending_signals();
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

WithoutSignals::~WithoutSignals() {
    auto const set = ending_signals();
    ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

bool interrupted() { return noticed; }

void throw_if_interrupted() {
    if (noticed) throw Interrupted();
}

void pause(std::chrono::milliseconds duration) {
    using Clock = std::chrono::steady_clock;
    auto const end = Clock::now() + duration;
    for (;;) {
        throw_if_interrupted();
        auto const now = Clock::now();
        if (now >= end) return;
        std::this_thread::sleep_for(std::min<Clock::duration>(end - now, std::chrono::milliseconds(50)));
    }
}

}  // namespace bench
