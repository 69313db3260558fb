#include "driver.hpp"

#include "../template_root.hpp"

#include <base/files.hpp>
#include <base/launcher.hpp>
#include <base/syscalls.hpp>
#include <sandbox/image.hpp>
#include <id_ranges.hpp>
#include <idmap.hpp>
#include <spec.hpp>
#include <user_namespace.hpp>

#include <fcntl.h>
#include <sys/stat.h>

#include <charconv>

namespace sandbox::native {

using base::errc;

namespace {

constexpr char const* kNoMemory = "a native workspace cannot keep its memory: that needs gVisor";

class Driver final : public Runtime {
  public:
    Driver(std::string slots, std::string program, std::string build)
        : slots_(std::move(slots)), program_(std::move(program)), build_(std::move(build)) {}

    RuntimeKind kind() const override { return RuntimeKind::native; }
    std::string const& build() const override { return build_; }
    base::Status can_keep_memory() const override { return error(image_errc::unsupported, kNoMemory); }
    bool ends_without_threads() const override { return false; }

    base::Status describe(Slot const& slot, Template const& image, std::string const& guest_binary) const override {
        auto const first = ids_.take(slot.directory);
        if (!first) return first.error();
        Spec spec;
        spec.rootfs = image.rootfs;
        spec.guest_binary = guest_binary;
        spec.slot_mount = slot.path("mnt");
        spec.directory = slot.path("bundle");
        for (auto const& path : borrowed_directories(image)) spec.binds.push_back({path, path});
        spec.first_id = *first;
        spec.id_ranges = IdRanges::kDirectory;
        spec.slot = slot.directory;
        spec.pid_file = slot.path("sentry.pid");
        auto fd = base::sys::open(slot.path("native.json"), O_WRONLY | O_CREAT | O_EXCL, 0600);
        if (!fd) return fd.error();
        return base::sys::write_all(fd->get(), base::dump(to_json(spec)), "write native.json of " + slot.id);
    }

    base::Task<base::Result<pid_t>> boot(Slot slot, Start start, std::vector<std::string> cgroups,
                                         base::milliseconds limit) const override {
        return contain(program_, std::move(slot), start, std::move(cgroups), limit);
    }

    base::Status attach_volume(Slot const& slot, pid_t process, std::string const& host_directory) const override {
        auto users = user_namespace_of(process);
        if (!users) return users.error();
        return mount_with_ids(host_directory, slot.volume_mount(), users->get(), false);
    }

    base::Task<base::Status> pause(Slot, base::milliseconds) const override { return refuse(); }
    base::Task<base::Status> resume(Slot, base::milliseconds) const override { return refuse(); }
    base::Task<base::Status> checkpoint(Slot, std::string, base::milliseconds) const override { return refuse(); }
    base::Task<base::Status> restore(Slot, std::string, base::milliseconds) const override { return refuse(); }

    void forget(std::string const& id) const override {
        Slot const slot(slots_, id);
        if (auto const first = ids_.of(slot.directory)) ids_.give_back(first, slot.directory);
    }
    std::vector<std::string> remembered() const override { return ids_.holders(slots_); }

  private:
    static base::Task<base::Status> refuse() { co_return error(image_errc::unsupported, kNoMemory); }

    static base::Task<base::Result<pid_t>> contain(std::string program, Slot slot, Start start, std::vector<std::string> cgroups,
                                                   base::milliseconds limit) {
        if (start == Start::create) co_return error(image_errc::unsupported, kNoMemory);
        auto fifos = slot.open_fifos();
        if (!fifos) co_return fifos.error();
        base::Launch launch;
        launch.argv = {program, slot.path("native.json")};
        launch.in = fifos->first.get();
        launch.out = fifos->second.get();
        launch.cgroups = std::move(cgroups);
        auto finished = co_await base::run(std::move(launch), limit);
        if (!finished) co_return base::wrap(finished.error(), "boot");
        if (finished->exit_code != 0) {
            auto said = finished->err.substr(0, finished->err.find('\n'));
            if (said.empty()) said = "berth-contain ended with status " + std::to_string(finished->exit_code);
            co_return base::error(errc::unavailable, std::move(said));
        }
        auto text = base::read_file(slot.path("sentry.pid"), 64);
        if (!text) co_return text.error();
        pid_t pid = 0;
        std::from_chars(text->data(), text->data() + text->size(), pid);
        if (pid <= 1) co_return base::error(errc::internal, "berth-contain wrote no process id");
        co_return pid;
    }

    IdRanges ids_;
    std::string slots_, program_, build_;
};

}  // namespace

base::Result<std::shared_ptr<Runtime const>> open_runtime(std::string const& directory, std::string const& program) {
    struct stat st{};
    if (::stat(program.c_str(), &st) != 0)
        return base::error(errc::unavailable, program + " is missing: build or install berth-contain, which starts native sandboxes");
    auto build = "native-" + std::to_string(st.st_size) + "-" + std::to_string(st.st_mtim.tv_sec) + "-" + std::to_string(st.st_ino);
    return std::shared_ptr<Runtime const>(std::make_shared<Driver>(directory + "/slots", program, std::move(build)));
}

}  // namespace sandbox::native
