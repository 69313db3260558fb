#pragma once
#include <base/result.hpp>

#include <string>

namespace sandbox::native {

/// Whether what is mounted below a place belongs to the view of it.
enum class Below { shown, left_out };

/// A second view of the tree at `source` at the directory `target`, in which the files of host user 0 are those of root in user
/// namespace `user_namespace`, and so on: what is on the disk stays as it is. Neither path's last part may be a link.
/// `read_only` with everything below. EINVAL where a file system in the view cannot (ext4, xfs, btrfs and overlay's layers can since
/// Linux 5.12 to 5.19, tmpfs since 6.3), EPERM without root.
base::Status mount_with_ids(std::string const& source, std::string const& target, int user_namespace, bool read_only, Below below = Below::shown);

}  // namespace sandbox::native
