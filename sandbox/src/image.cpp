#include <base/files.hpp>
#include <sandbox/image.hpp>

#include <algorithm>
#include <sstream>

namespace sandbox {

namespace {

class Category final : public boost::system::error_category {
  public:
    // As base's: the context of one of our own codes is a whole sentence.
    char const* name() const noexcept override { return "berth"; }
    std::string message(int value) const override {
        switch (static_cast<image_errc>(value)) {
            case image_errc::damaged: return "the memory image is damaged";
            case image_errc::not_ours: return "the memory image is not the recorded one";
            case image_errc::other_runtime: return "the memory image is of another runtime build";
            case image_errc::other_template: return "the memory image is of another state of its template";
            case image_errc::other_cpu: return "the memory image is of another processor";
            case image_errc::refused: return "the runtime refused";
            case image_errc::unsupported: return "memory cannot be kept";
            case image_errc::open_deleted_file: return "a deleted file is still open";
        }
        return "unknown image error";
    }
};

}  // namespace

boost::system::error_code make_error_code(image_errc code) {
    static Category const category;
    return {static_cast<int>(code), category};
}

base::Error error(image_errc code, std::string context) { return {make_error_code(code), std::move(context)}; }

char const* image_reason(base::Error const& e) {
    if (e.code.category() != make_error_code(image_errc::damaged).category()) return "";
    switch (static_cast<image_errc>(e.code.value())) {
        case image_errc::damaged: return "damaged";
        case image_errc::not_ours: return "not_ours";
        case image_errc::other_runtime: return "other_runtime";
        case image_errc::other_template: return "other_template";
        case image_errc::other_cpu: return "other_cpu";
        case image_errc::refused: return "refused";
        case image_errc::unsupported: return "unsupported";
        case image_errc::open_deleted_file: return "open_deleted_file";
    }
    return "";
}

base::Result<CpuClass> CpuClass::of_this_machine() {
    auto text = base::read_file("/proc/cpuinfo", 16 << 20);
    if (!text) return text.error();
    CpuClass cpu;
    std::istringstream lines(*text);
    for (std::string line; std::getline(lines, line) && !line.empty();) {    // the first processor's paragraph
        auto const colon = line.find(':');
        if (colon == line.npos) continue;
        auto const key = line.substr(0, line.find_last_not_of(" \t", colon - 1) + 1);
        auto const value = colon + 2 <= line.size() ? line.substr(colon + 2) : std::string();
        // The second name of each is Arm's.
        if (key == "vendor_id" || key == "CPU implementer") cpu.vendor = value;
        if (key == "cpu family" || key == "CPU architecture") cpu.family = value;
        if (key == "flags" || key == "Features") {
            std::istringstream words(value);
            for (std::string word; words >> word;) cpu.features.push_back(word);
        }
    }
    std::sort(cpu.features.begin(), cpu.features.end());
    return cpu;
}

std::string CpuClass::lacks(CpuClass const& made_on) const {
    if (vendor != made_on.vendor) return "a processor of " + made_on.vendor;
    if (family != made_on.family) return "a processor of family " + made_on.family;
    for (auto const& feature : made_on.features)
        if (!std::binary_search(features.begin(), features.end(), feature)) return "the processor feature " + feature;
    return {};
}

base::Status check_image(ImageFacts const& image, ImageFacts const& here) {
    if (image.template_name != here.template_name || image.template_stamp != here.template_stamp)
        return error(image_errc::other_template, "the memory image was made on another state of template " +
                                                     image.template_name);
    if (image.runtime_build != here.runtime_build)
        return error(image_errc::other_runtime, "the memory image was made by another build of its runtime");
    if (!here.guest_build.empty() && image.guest_build != here.guest_build)
        return error(image_errc::other_runtime, "the memory image was made with another build of the guest");
    if (auto const missing = here.cpu.lacks(image.cpu); !missing.empty())
        return error(image_errc::other_cpu, "the memory image needs " + missing);
    return {};
}

}  // namespace sandbox
