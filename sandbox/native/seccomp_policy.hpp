#pragma once
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace sandbox::native {

// Which system calls there are inside, as data. What stands in no list is answered with ENOSYS, as an older kernel would: programs
// that know a newer call know what to do without it.

struct Allowed {
    std::string_view purpose;                    ///< what needs them
    std::span<char const* const> calls;
};
std::span<Allowed const> allowed_calls();

struct Denied {
    std::string_view why;
    int error;                                   ///< what programs get, and cope with best
    std::span<char const* const> calls;
};
/// For everything inside, the guest included.
std::span<Denied const> denied_calls();
/// For commands beside those: what the guest does for its own work and no command may.
std::span<Denied const> denied_to_commands();

/// Calls above that some arguments take out again. The kernel reads these as 32 bits, so nothing above them is compared.
struct Condition {
    unsigned argument;
    std::uint32_t mask, value;                   ///< holds when the argument's bits under `mask` are `value`
};
struct Narrowed {
    std::string_view why;
    int error;
    char const* call;
    std::vector<Condition> when;                 ///< all of them
};
std::vector<Narrowed> narrowed_calls();

/// Calls that exist only when one of these holds; else they are answered as unknown ones.
struct Granted {
    std::string_view purpose;
    char const* call;
    Condition when;
};
std::vector<Granted> granted_calls();

}  // namespace sandbox::native
