#include "driver.hpp"

#include "../template_root.hpp"
#include "criu_program.hpp"
#include "saving.hpp"

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
#include <unistd.h>

#include <charconv>

namespace sandbox::native {

using base::errc;

namespace {

class Driver final : public Runtime {
  public:
    Driver(std::string slots, std::string program, std::string build, base::Result<CriuProgram> criu)
        : slots_(std::move(slots)),
          program_(std::move(program)),
          build_(std::move(build)),
          criu_(std::move(criu)) {
        if (criu_) build_ += "-criu-" + criu_->build;
    }

    RuntimeKind kind() const override { return RuntimeKind::native; }
    std::string const& build() const override { return build_; }
    // Nothing of the programs that started it is in a native sandbox: what saves it is what has to load it.
    std::string const& image_build(std::string const&) const override { return build_; }
    base::Status can_keep_memory() const override {
        if (criu_) return {};
        return error(image_errc::unsupported,
                     "a native workspace cannot keep its memory here: " + criu_.error().message());
    }
    bool ends_without_threads() const override { return false; }

    base::Status describe(Slot const& slot, Template const& image, std::string const& guest_binary) const override {
        auto const first = ids_.take(slot.directory);
        if (!first) return first.error();
        Spec spec;
        spec.rootfs = image.rootfs;
        spec.guest_binary = guest_binary;
        spec.slot_mount = slot.path("mnt");
        spec.directory = slot.path("bundle");
        for (auto const& path : image.borrowed) spec.binds.push_back({path, path});
        spec.first_id = *first;
        spec.id_ranges = IdRanges::kDirectory;
        spec.slot = slot.directory;
        spec.pid_file = slot.path("sentry.pid");
        // The guest's standard input and output, which a load opens anew with the rights of the sandbox's
        // root.
        for (char const* name : {"in", "out"})
            if (::chown(slot.path(name).c_str(), *first, *first) != 0)
                return base::errno_error("chown " + slot.path(name));
        auto fd = base::sys::open(slot.path("native.json"), O_WRONLY | O_CREAT | O_EXCL, 0600);
        if (!fd) return fd.error();
        return base::sys::write_all(fd->get(), base::dump(to_json(spec)), "write native.json of " + slot.id);
    }

    base::Task<base::Result<pid_t>> boot(Slot slot, Start start, std::vector<std::string> cgroups,
                                         base::milliseconds limit) const override {
        return contain(program_, std::move(slot), start, std::move(cgroups), limit);
    }

    base::Status attach_volume(Slot const& slot, pid_t process,
                               std::string const& host_directory) const override {
        auto users = user_namespace_of(process);
        if (!users) return users.error();
        return mount_with_ids(host_directory, slot.volume_mount(), users->get(), false);
    }

    base::Task<base::Status> pause(Slot slot, base::milliseconds limit) const override {
        return native::pause(std::move(slot), limit);
    }
    base::Task<base::Status> resume(Slot slot, base::milliseconds limit) const override {
        return native::resume(std::move(slot), limit);
    }
    base::Task<base::Status> checkpoint(Slot slot, std::string directory,
                                        base::milliseconds limit) const override {
        if (!criu_) return refuse(can_keep_memory().error());
        return native::checkpoint({program_, *criu_}, std::move(slot), std::move(directory), limit);
    }
    base::Task<base::Status> restore(Slot slot, std::string directory, base::milliseconds limit,
                                     Begins begins) const override {
        if (!criu_) return refuse(can_keep_memory().error());
        return native::restore({program_, *criu_}, std::move(slot), std::move(directory), limit,
                               std::move(begins));
    }

    void forget(std::string const& id) const override {
        Slot const slot(slots_, id);
        if (auto const first = ids_.of(slot.directory)) ids_.give_back(first, slot.directory);
    }
    std::vector<std::string> remembered() const override { return ids_.holders(slots_); }

  private:
    static base::Task<base::Status> refuse(base::Error why) { co_return why; }

    static base::Task<base::Result<pid_t>> contain(std::string program, Slot slot, Start start,
                                                   std::vector<std::string> cgroups,
                                                   base::milliseconds limit) {
        if (auto s = note_cgroups(slot, cgroups); !s) co_return s.error();
        auto fifos = slot.open_fifos();
        if (!fifos) co_return fifos.error();
        base::Launch launch;
        launch.argv = {program};
        if (start == Start::create) launch.argv.push_back("--hold");
        launch.argv.push_back(slot.path("native.json"));
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
    base::Result<CriuProgram> criu_;
};

}  // namespace

base::Result<std::shared_ptr<Runtime const>> open_runtime(std::string const& directory,
                                                          std::string const& program) {
    struct stat st {};
    if (::stat(program.c_str(), &st) != 0)
        return base::error(
            errc::unavailable,
            program + " is missing: build or install berth-contain, which starts native sandboxes");
    auto build = "native-" + std::to_string(st.st_size) + "-" + std::to_string(st.st_mtim.tv_sec) + "-" +
                 std::to_string(st.st_ino);
    auto criu = CriuProgram::find(directory + "/criu-build");
    return std::shared_ptr<Runtime const>(
        std::make_shared<Driver>(directory + "/slots", program, std::move(build), std::move(criu)));
}

}  // namespace sandbox::native
