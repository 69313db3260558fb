#include "router.hpp"

#include <algorithm>

namespace http {

Router::Router(std::vector<Route> routes) {
    for (auto& route : routes) {
        bool const prefix = route.path.ends_with("/*");
        std::string const key = prefix ? route.path.substr(0, route.path.size() - 1) : route.path;
        (prefix ? prefixes_ : exact_)[key].push_back(std::move(route));
    }
}

std::vector<Route> const* Router::find(std::string_view path) const {
    if (auto const it = exact_.find(path); it != exact_.end()) return &it->second;
    for (auto slash = path.rfind('/'); slash != std::string_view::npos; slash = path.rfind('/', slash - 1)) {
        if (auto const it = prefixes_.find(path.substr(0, slash + 1)); it != prefixes_.end())
            return &it->second;
        if (slash == 0) break;
    }
    return nullptr;
}

boost::system::result<Route const*, Refusal> Router::pick(std::vector<Route> const& routes, Verb verb) {
    std::string allow;
    for (auto const& route : routes) {
        if (std::find(route.verbs.begin(), route.verbs.end(), verb) != route.verbs.end()) return &route;
        for (auto const other : route.verbs) {
            if (!allow.empty()) allow += ", ";
            allow += std::string_view(beast::http::to_string(other));
        }
    }
    return Refusal{Status::method_not_allowed, "method not allowed", std::move(allow)};
}

}  // namespace http
