#include "check.hpp"

#include <base/json.hpp>

#include <cstdint>

// Whatever the strict parser takes is UTF-8 within its limits, and comes back the same from its own dump.
extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    std::string_view const text(reinterpret_cast<char const*>(data), size);
    FUZZ_CHECK(base::valid_utf8(base::to_utf8(text)));
    auto const value = base::parse_json(text, {64 * 1024, 64});
    if (!value) {
        FUZZ_CHECK(!value.error().context.empty());
        return 0;
    }
    FUZZ_CHECK(size <= 64 * 1024);
    auto const again = base::parse_json(base::dump(*value));
    FUZZ_CHECK(again.has_value());
    FUZZ_CHECK(base::dump(*again) == base::dump(*value));
    return 0;
}
