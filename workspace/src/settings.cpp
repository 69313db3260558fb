#include "workspace.hpp"

namespace workspace {

base::Json to_json(Settings const& s) {
    return {{"env", s.env},
            {"allow", s.allow},
            {"memory_bytes", s.limits.memory_bytes},
            {"cpus", s.limits.cpus},
            {"pids", s.limits.pids},
            {"disk_bytes", s.disk_bytes},
            {"freeze_after_ms", s.idle.freeze_after.count()},
            {"stop_after_ms", s.idle.stop_after.count()},
            {"hibernate_after_ms", s.idle.hibernate_after.count()},
            {"keep_alive", s.idle.keep_alive},
            {"runtime", sandbox::to_string(s.runtime)}};
}

Settings settings_from(base::Json const& j) {
    Settings s;
    if (!j.is_object()) return s;
    s.env = j.value("env", s.env);
    s.allow = j.value("allow", s.allow);
    s.limits.memory_bytes = j.value("memory_bytes", s.limits.memory_bytes);
    s.limits.cpus = j.value("cpus", s.limits.cpus);
    s.limits.pids = j.value("pids", s.limits.pids);
    s.disk_bytes = j.value("disk_bytes", s.disk_bytes);
    s.idle.freeze_after = base::milliseconds(j.value("freeze_after_ms", s.idle.freeze_after.count()));
    s.idle.stop_after = base::milliseconds(j.value("stop_after_ms", s.idle.stop_after.count()));
    s.idle.hibernate_after = base::milliseconds(j.value("hibernate_after_ms", s.idle.hibernate_after.count()));
    s.idle.keep_alive = j.value("keep_alive", s.idle.keep_alive);
    s.runtime = sandbox::runtime_kind(j.value("runtime", "gvisor")).value_or(s.runtime);
    return s;
}

}  // namespace workspace
