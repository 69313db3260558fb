#include "driver.hpp"

#include "../mounts.hpp"
#include "bundle.hpp"
#include "control.hpp"
#include "runsc.hpp"

#include <base/syscalls.hpp>

#include <fcntl.h>

namespace sandbox::gvisor {

namespace {

class Driver final : public Runtime {
  public:
    explicit Driver(Runsc runsc) : runsc_(std::move(runsc)) {}

    RuntimeKind kind() const override { return RuntimeKind::gvisor; }
    std::string const& build() const override { return runsc_.build; }
    std::string const& image_build(std::string const& started) const override { return started; }
    base::Status can_keep_memory() const override { return {}; }
    bool ends_without_threads() const override { return true; }

    base::Status describe(Slot const& slot, Template const& image, std::string const& guest_binary) const override {
        auto const config = slot.path("bundle/config.json");
        auto fd = base::sys::open(config, O_WRONLY | O_CREAT | O_EXCL, 0600);
        if (!fd) return fd.error();
        auto const bundle = make_bundle(image, guest_binary, slot.path("mnt"));
        return base::sys::write_all(fd->get(), base::dump(bundle), "write " + config);
    }
    base::Task<base::Result<pid_t>> boot(Slot slot, Start start, std::vector<std::string> cgroups,
                                         base::milliseconds limit) const override {
        return gvisor::boot(runsc_, std::move(slot), start, std::move(cgroups), limit);
    }

    base::Status attach_volume(Slot const& slot, pid_t, std::string const& host_directory) const override {
        return mounts::attach(host_directory, slot.volume_mount());
    }

    base::Task<base::Status> pause(Slot slot, base::milliseconds limit) const override {
        return gvisor::pause(runsc_, std::move(slot), limit);
    }
    base::Task<base::Status> resume(Slot slot, base::milliseconds limit) const override {
        return gvisor::resume(runsc_, std::move(slot), limit);
    }
    base::Task<base::Status> checkpoint(Slot slot, std::string directory, base::milliseconds limit) const override {
        return gvisor::checkpoint(runsc_, std::move(slot), std::move(directory), limit);
    }
    base::Task<base::Status> restore(Slot slot, std::string directory, base::milliseconds limit, Begins begins) const override {
        return restore_into(runsc_, std::move(slot), std::move(directory), limit, std::move(begins));
    }
    static base::Task<base::Status> restore_into(Runsc runsc, Slot slot, std::string directory, base::milliseconds limit, Begins begins) {
        auto const record = slot.read_record();
        if (!record) co_return record.error();
        if (auto s = begins(record->sentry); !s) co_return s;
        auto loading = gvisor::restore(std::move(runsc), std::move(slot), std::move(directory), limit);
        auto loaded = co_await std::move(loading);
        co_return loaded;
    }

    void forget(std::string const& id) const override { gvisor::forget(runsc_.root, id); }
    std::vector<std::string> remembered() const override { return gvisor::remembered(runsc_.root); }

  private:
    Runsc runsc_;
};

}  // namespace

base::Result<std::shared_ptr<Runtime const>> open_runtime(std::string const& directory) {
    auto runsc = Runsc::find(directory);
    if (!runsc) return runsc.error();
    if (auto s = check_release(*runsc, directory + "/runsc-build"); !s) return s.error();
    if (auto s = base::sys::mkdir(runsc->root, 0700); !s) return s.error();
    return std::shared_ptr<Runtime const>(std::make_shared<Driver>(std::move(*runsc)));
}

}  // namespace sandbox::gvisor
