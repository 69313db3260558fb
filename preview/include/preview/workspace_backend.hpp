#pragma once
#include <workspace/workspaces.hpp>

#include <preview/backend.hpp>

namespace preview {

/// The workspaces of this node as previews see them. `workspaces` outlives it.
std::unique_ptr<Backend> backend_of(workspace::Workspaces& workspaces);

}  // namespace preview
