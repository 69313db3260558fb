#pragma once
#include <config/settings.hpp>
#include <sandbox/sandboxes.hpp>

#include <map>
#include <string>

namespace host {

/// Every folder of `directory` that holds a root file system; none where the directory cannot be read.
std::map<std::string, sandbox::Template> templates_in(std::string const& directory);

/// What an operator does about a template that is not there: "make it with BERTH_TEMPLATES=DIR scripts/setup-template".
std::string how_to_make(std::string const& name, std::string const& directory);

/// That the templates which the settings name are there. errc::invalid says which is not, with its line in the file, and
/// names those that are. A shipped default is not held against anybody.
base::Status check_templates(config::Settings const&, std::map<std::string, sandbox::Template> const& there);

}  // namespace host
