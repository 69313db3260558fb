#include "order.hpp"

namespace sandbox::native {

using base::Json;

Json to_json(Order const& o) {
    return {{"criu", o.criu},       {"images", o.images}, {"work", o.work}, {"process", o.process},
            {"freezer", o.freezer}, {"in", o.in},         {"out", o.out}};
}

base::Result<Order> order_from(Json const& j) {
    try {
        Order o;
        o.criu = j.at("criu").get<std::vector<std::string>>();
        if (o.criu.empty()) return base::error(base::errc::corrupt, "the order: no CRIU");
        o.images = j.at("images").get<std::string>();
        o.work = j.at("work").get<std::string>();
        o.process = j.at("process").get<pid_t>();
        o.freezer = j.at("freezer").get<std::string>();
        o.in = j.at("in").get<std::string>();
        o.out = j.at("out").get<std::string>();
        return o;
    } catch (Json::exception const& e) {
        return base::error(base::errc::corrupt, std::string("the order: ") + e.what());
    }
}

}  // namespace sandbox::native
