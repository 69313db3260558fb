#pragma once
#include <base/asio.hpp>
#include <base/result.hpp>

#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

namespace sandbox {

/// Failures of memory images that a caller tells apart. All of them mean: start from the files, and say why. Anything else
/// (no space, no time, a system error) is a base::errc or the system's own.
enum class image_errc {
    damaged = 1,         ///< Cut, changed or incomplete: the seal does not fit, or the runtime cannot read it.
    not_ours,            ///< A sound image, but not the one asked for: of another workspace or an older generation.
    other_runtime,       ///< Made by another build of runsc or of the guest. Good again when that build is back.
    other_template,      ///< Made on another state of the template's files.
    other_cpu,           ///< This processor lacks something that the one it was made on has.
    refused,             ///< The runtime would not save or load it; the message has its words.
    unsupported,         ///< The sandbox's runtime keeps no memory on this machine; the message says why.
    open_deleted_file,   ///< A process holds a deleted file of the volume open, which cannot be saved. It goes on running.
};
boost::system::error_code make_error_code(image_errc);
inline bool is(base::Error const& e, image_errc code) { return e.code == make_error_code(code); }
base::Error error(image_errc code, std::string context);
/// "damaged", "other_runtime", ...; "" for an error of another kind.
char const* image_reason(base::Error const&);

/// What a processor can do, as programs inside see it. An image runs where everything it saw exists.
struct CpuClass {
    std::string vendor, family;
    std::vector<std::string> features;             ///< sorted

    static base::Result<CpuClass> of_this_machine();    ///< reads /proc/cpuinfo; blocks for a moment
    bool operator==(CpuClass const&) const = default;
    /// "" when an image made on `made_on` can run here, else what is missing.
    std::string lacks(CpuClass const& made_on) const;
};

/// What an image depends on besides its own bytes. All of it must fit before it is restored.
struct ImageFacts {
    std::string template_name, template_stamp;
    std::string runtime_build, guest_build;
    CpuClass cpu;
    bool operator==(ImageFacts const&) const = default;
};

/// Whether an image with these facts can be restored `here`: image_errc::other_runtime, other_template or other_cpu when
/// not. An empty guest build in `here` fits any.
base::Status check_image(ImageFacts const& image, ImageFacts const& here);

/// Names one image. Kept by the caller in its own records, never learned from the disk: an image that is found under this
/// name but says otherwise about itself was swapped or replayed.
struct ImageRef {
    std::string workspace_id;                      ///< both of a-z, 2-7, '-' and '_', at most 64 bytes
    std::string image_id;
    std::uint64_t generation = 0;
};

/// Where the time went, in order.
struct Phase {
    std::string name;
    double ms = 0;
};
using Phases = std::vector<Phase>;

}  // namespace sandbox

template <>
struct boost::system::is_error_code_enum<sandbox::image_errc> : std::true_type {};
