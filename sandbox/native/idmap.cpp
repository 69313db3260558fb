#include "idmap.hpp"

#include <base/syscalls.hpp>

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace sandbox::native {

namespace {

// By number: the C library's headers have them since 2.36 only, and then clash with the kernel's.
int open_tree(int directory, unsigned flags) {
    return static_cast<int>(::syscall(SYS_open_tree, directory, "", flags | AT_EMPTY_PATH));
}
int set_attributes(int tree, mount_attr* attributes) {
    return static_cast<int>(::syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, attributes, sizeof *attributes));
}
int move_mount(int tree, int target) {
    return static_cast<int>(::syscall(SYS_move_mount, tree, "", target, "",
                                      MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
}

}  // namespace

base::Status mount_with_ids(std::string const& source, std::string const& target, int user_namespace, bool read_only, Below below) {
    auto const flags = O_PATH | O_NOFOLLOW | O_DIRECTORY;
    auto from = base::sys::open(source, flags);
    if (!from) return from.error();
    auto to = base::sys::open(target, flags);
    if (!to) return to.error();
    auto const what = "mount " + source + " at " + target + " with the sandbox's ids";
    base::UniqueFd tree(open_tree(from->get(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (below == Below::shown ? AT_RECURSIVE : 0)));
    if (!tree) return base::errno_error(what);
    mount_attr attributes{};
    attributes.attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID;
    if (read_only) attributes.attr_set |= MOUNT_ATTR_RDONLY;
    attributes.userns_fd = static_cast<unsigned>(user_namespace);
    if (set_attributes(tree.get(), &attributes) != 0) return base::errno_error(what);
    if (move_mount(tree.get(), to->get()) != 0) return base::errno_error(what);
    return {};
}

}  // namespace sandbox::native
