#pragma once
#include <base/json.hpp>
#include <base/result.hpp>

#include <sys/types.h>

#include <string>
#include <vector>

namespace sandbox::native {

/// What `berth-contain` is told about one save or load of a sandbox's memory, beside its Spec. Made by the
/// server.
struct Order {
    std::vector<std::string> criu;    ///< what runs CRIU, before its own arguments
    std::string images;   ///< directory: empty for a save, sound for a load
    std::string work;     ///< the slot's directory: kSaving, and the logs
    pid_t process = 0;    ///< save: process 1; load: the one that stands for the sandbox so far
    std::string freezer;  ///< save: the frozen cgroup
    std::string in, out;  ///< load: the FIFOs that become the guest's standard input and output
};

base::Json to_json(Order const&);
/// errc::corrupt when a field is missing or of another type.
base::Result<Order> order_from(base::Json const&);

/// In Order::work; locked while a save is under way, also one whose server is gone.
inline constexpr char const* kSaving = "saving";

/// How berth-contain ends.
namespace outcome {
inline constexpr int done = 0;
inline constexpr int failed = 1;  ///< what it was about is as before; a sandbox half loaded is gone
inline constexpr int misused = 2;
inline constexpr int broken = 3;  ///< the sandbox that was to be saved was left in the middle of it
}  // namespace outcome

}  // namespace sandbox::native
