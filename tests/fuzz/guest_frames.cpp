#include "check.hpp"

#include <sandbox/protocol.hpp>

#include <cstdint>

using namespace sandbox::protocol;

// A frame lies within the bytes it was found in, and each one makes progress.
extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    std::string_view const bytes(reinterpret_cast<char const*>(data), size);
    for (auto const max : {kMaxToGuest, kMaxFromGuest}) {
        auto rest = bytes;
        Frame frame;
        while (parse_frame(rest, max, frame) == Parsed::frame) {
            FUZZ_CHECK(frame.size >= kHeaderBytes && frame.size <= rest.size() && frame.size <= max);
            FUZZ_CHECK(frame.payload.size() + kHeaderBytes == frame.size);
            std::string_view json, raw;
            if (split_message(frame.payload, json, raw)) FUZZ_CHECK(json.size() + raw.size() + 4 == frame.payload.size());
            rest.remove_prefix(frame.size);
        }
    }
    std::string_view json, raw;
    if (split_message(bytes, json, raw)) FUZZ_CHECK(json.size() + raw.size() + 4 == size);
    return 0;
}
