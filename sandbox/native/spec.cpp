#include "spec.hpp"

namespace sandbox::native {

using base::Json;

Json to_json(Spec const& s) {
    Json binds = Json::array();
    for (auto const& bind : s.binds) binds.push_back({{"from", bind.from}, {"to", bind.to}});
    return {{"rootfs", s.rootfs},   {"guest", s.guest_binary}, {"slot_mount", s.slot_mount},
            {"directory", s.directory}, {"binds", std::move(binds)}, {"first_id", s.first_id}, {"id_ranges", s.id_ranges},
            {"slot", s.slot},       {"pid_file", s.pid_file}};
}

base::Result<Spec> spec_from(Json const& j) {
    try {
        Spec s;
        s.rootfs = j.at("rootfs").get<std::string>();
        s.guest_binary = j.at("guest").get<std::string>();
        s.slot_mount = j.at("slot_mount").get<std::string>();
        s.directory = j.at("directory").get<std::string>();
        for (auto const& bind : j.at("binds")) s.binds.push_back({bind.at("from"), bind.at("to")});
        s.first_id = j.at("first_id").get<std::uint32_t>();
        s.id_ranges = j.at("id_ranges").get<std::string>();
        s.slot = j.at("slot").get<std::string>();
        s.pid_file = j.at("pid_file").get<std::string>();
        return s;
    } catch (Json::exception const& e) {
        return base::error(base::errc::corrupt, std::string("the sandbox's specification: ") + e.what());
    }
}

}  // namespace sandbox::native
