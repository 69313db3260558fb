#include "freezer.hpp"

#include <base/files.hpp>

namespace sandbox {

base::Status Freezer::freeze() const { return set(true); }
base::Status Freezer::thaw() const { return set(false); }

base::Status Freezer::set(bool frozen) const {
    auto done = kind_ == Kind::v1
                    ? base::write_knob(directory_ + "/freezer.state", frozen ? "FROZEN" : "THAWED")
                    : base::write_knob(directory_ + "/cgroup.freeze", frozen ? "1" : "0");
    if (!done) return base::wrap(done.error(), frozen ? "freeze" : "thaw");
    // Reading makes a v1 freezer look at its tasks again and finish what the write began.
    if (frozen && kind_ == Kind::v1) (void)settled();
    return {};
}

base::Result<bool> Freezer::settled() const {
    auto text = base::read_file(directory_ + (kind_ == Kind::v1 ? "/freezer.state" : "/cgroup.events"), 4096);
    if (!text) return text.error();
    return kind_ == Kind::v1 ? text->starts_with("FROZEN") : text->find("frozen 1") != text->npos;
}

}  // namespace sandbox
