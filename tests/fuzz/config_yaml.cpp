#include "check.hpp"

#include <config/listen.hpp>
#include <config/minimums.hpp>
#include <config/settings.hpp>

#include <cstdint>

// A refusal names file and line in one line of text; what is accepted keeps the rules that others rely on.
extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    std::string const text(reinterpret_cast<char const*>(data), size);
    (void)config::parse_size(text);
    (void)config::parse_duration(text);
    if (auto const listen = config::parse_listen(text)) {
        bool const v6 = listen->address.find(':') != std::string::npos;
        auto const again = (v6 ? "[" + listen->address + "]" : listen->address) + ":" + std::to_string(listen->port);
        FUZZ_CHECK(config::parse_listen(again).value() == *listen);
        FUZZ_CHECK(config::is_loopback(listen->address) == config::is_loopback(config::parse_listen(again)->address));
    }
    auto const settings = config::parse_settings(text, "f.yaml");
    if (!settings) {
        FUZZ_CHECK(settings.error().context.starts_with("f.yaml:"));
        return 0;
    }
    FUZZ_CHECK(settings->limits.memory_bytes <= settings->max_limits.memory_bytes);
    FUZZ_CHECK(settings->limits.memory_bytes >= config::kMinMemoryBytes && settings->limits.cpus >= config::kMinCpus);
    FUZZ_CHECK(settings->limits.pids >= config::kMinPids && settings->limits.pids <= settings->max_limits.pids);
    FUZZ_CHECK(settings->max_boots >= 1);
    FUZZ_CHECK(settings->idle.freeze_after.count() > 0);
    FUZZ_CHECK(settings->templates_dir.starts_with('/'));
    return 0;
}
