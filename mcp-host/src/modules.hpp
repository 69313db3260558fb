#pragma once
#include <string_view>

// Files of ours that run inside sandboxes: the folder modules/, as it is.
namespace host {

std::string_view berth_tools_py();  ///< calls tools from a command
std::string_view berth_tools_js();

}  // namespace host
