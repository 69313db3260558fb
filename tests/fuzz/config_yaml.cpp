#include "check.hpp"

#include <config/settings.hpp>

#include <cstdint>

// A refusal names file and line in one line of text; what is accepted keeps the rules that others rely on.
extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    std::string const text(reinterpret_cast<char const*>(data), size);
    (void)config::parse_size(text);
    (void)config::parse_duration(text);
    auto const settings = config::parse_settings(text, "f.yaml");
    if (!settings) {
        FUZZ_CHECK(settings.error().context.starts_with("f.yaml:"));
        return 0;
    }
    FUZZ_CHECK(settings->limits.memory_bytes <= settings->max_limits.memory_bytes);
    FUZZ_CHECK(settings->limits.pids <= settings->max_limits.pids);
    FUZZ_CHECK(settings->max_boots >= 1);
    FUZZ_CHECK(settings->idle.freeze_after.count() > 0);
    FUZZ_CHECK(settings->templates_dir.starts_with('/'));
    return 0;
}
