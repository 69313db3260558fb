#include "seccomp.hpp"

#include "seccomp_policy.hpp"

#include <base/syscalls.hpp>

#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace sandbox::native {

namespace {

using Filter = std::unique_ptr<void, decltype(&::seccomp_release)>;

base::Error failed(int result, std::string const& what) { return base::errno_error(-result, "system call filter: " + what); }

constexpr std::uint32_t refuse(int error) { return SCMP_ACT_ERRNO(static_cast<std::uint32_t>(error)); }

class Builder {
  public:
    explicit Builder(std::uint32_t otherwise) : otherwise_(otherwise), filter_(::seccomp_init(otherwise), &::seccomp_release) {
        if (!filter_) {
            failure_ = failed(-ENOMEM, "make");
            return;
        }
        check(::seccomp_attr_set(filter_.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS)), "other architectures");
        // A tree instead of a list: what is asked for often costs no more than what is asked for rarely.
        (void)::seccomp_attr_set(filter_.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
    }
    // A name that this architecture or the library does not know is no call that could be made by it.
    void rule(std::uint32_t action, char const* name, std::vector<Condition> const& when = {}) {
        int const number = ::seccomp_syscall_resolve_name(name);
        if (number < 0 || action == otherwise_) return;          // the library refuses a rule that changes nothing
        std::vector<scmp_arg_cmp> all;
        for (auto const& c : when) all.push_back({c.argument, SCMP_CMP_MASKED_EQ, c.mask, c.value});
        check(::seccomp_rule_add_array(filter_.get(), action, number, static_cast<unsigned>(all.size()), all.data()), name);
    }
    void deny(Denied const& group) {
        for (char const* name : group.calls) rule(refuse(group.error), name);
    }
    base::Result<Filter> done() && {
        if (failure_) return *failure_;
        return std::move(filter_);
    }

  private:
    void check(int result, std::string const& what) {
        if (result < 0 && !failure_) failure_ = failed(result, what);
    }

    std::uint32_t otherwise_;
    Filter filter_;
    std::optional<base::Error> failure_;
};

base::Result<Filter> what_exists() {
    Builder b(refuse(ENOSYS));
    for (auto const& group : allowed_calls())
        for (char const* name : group.calls) b.rule(SCMP_ACT_ALLOW, name);
    for (auto const& group : denied_calls()) b.deny(group);
    for (auto const& one : granted_calls()) b.rule(SCMP_ACT_ALLOW, one.call, {one.when});
    return std::move(b).done();
}

// A filter of its own: the kernel asks both, and the stricter answer holds. In one, a rule for some arguments and another for the rest
// could not be told apart.
base::Result<Filter> what_is_taken_out() {
    Builder b(SCMP_ACT_ALLOW);
    for (auto const& one : narrowed_calls()) b.rule(refuse(one.error), one.call, one.when);
    return std::move(b).done();
}

}  // namespace

base::Status filter_system_calls() {
    auto exists = what_exists();
    if (!exists) return exists.error();
    auto taken_out = what_is_taken_out();
    if (!taken_out) return taken_out.error();
    for (auto const* filter : {&*taken_out, &*exists})
        if (int const done = ::seccomp_load(filter->get()); done < 0) return failed(done, "load");
    return {};
}

base::Result<std::string> command_filter() {
    Builder b(SCMP_ACT_ALLOW);
    for (auto const& group : denied_to_commands()) b.deny(group);
    auto filter = std::move(b).done();
    if (!filter) return filter.error();
    base::UniqueFd file(::memfd_create("filter", MFD_CLOEXEC));
    if (!file) return base::errno_error("memfd_create");
    if (int const done = ::seccomp_export_bpf(filter->get(), file.get()); done < 0) return failed(done, "export");
    if (::lseek(file.get(), 0, SEEK_SET) != 0) return base::errno_error("lseek");
    auto program = base::sys::read_all(file.get(), 64 * 1024, "the commands' filter");
    if (!program) return program.error();
    std::string hex;
    for (unsigned char const c : *program) {
        hex.push_back("0123456789abcdef"[c >> 4]);
        hex.push_back("0123456789abcdef"[c & 15]);
    }
    return hex;
}

}  // namespace sandbox::native
