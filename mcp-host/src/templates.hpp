#pragma once
#include <sandbox/sandboxes.hpp>

#include <map>
#include <string>

namespace host {

/// Every folder of `directory` that holds a root file system; none where the directory cannot be read.
std::map<std::string, sandbox::Template> templates_in(std::string const& directory);

}  // namespace host
