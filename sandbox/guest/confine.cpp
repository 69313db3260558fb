#include "confine.hpp"

#include <nlohmann/json.hpp>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace guest {
namespace {

constexpr char const* kVariable = "BERTH_CONFINE";

int digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

// "" when it is no such program.
std::string bytes_of(std::string const& hex) {
    std::string out;
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
        int const high = digit(hex[i]), low = digit(hex[i + 1]);
        if (high < 0 || low < 0) return {};
        out.push_back(static_cast<char>(high * 16 + low));
    }
    return hex.size() % 2 == 0 && out.size() % sizeof(sock_filter) == 0 ? out : std::string();
}

}  // namespace

Confinement Confinement::from_environment() {
    Confinement out;
    char const* const text = std::getenv(kVariable);
    if (!text) return out;
    auto const json = nlohmann::json::parse(text, nullptr, false);
    if (json.is_object()) {
        out.filter_ = bytes_of(json.value("filter", ""));
        if (auto const list = json.find("capabilities"); list != json.end() && list->is_array())
            for (auto const& one : *list)
                if (one.is_number_integer()) out.capabilities_.push_back(one.get<int>());
    }
    if (out.filter_.empty() || out.capabilities_.empty()) ::_exit(1);
    ::unsetenv(kVariable);
    return out;
}

int Confinement::apply() const {
    if (filter_.empty()) return 0;
    sock_fprog const program{static_cast<unsigned short>(filter_.size() / sizeof(sock_filter)),
                             reinterpret_cast<sock_filter*>(const_cast<char*>(filter_.data()))};
    return ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0 ? 0 : errno;
}

}  // namespace guest
