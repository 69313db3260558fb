#include "image_pack.hpp"

#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>

namespace sandbox::pack {

namespace {

// The lightest of the usual levels: a sleep waits for it, and the next ones cost twice the time for a tenth of the size.
constexpr int kLevel = 1;
constexpr std::size_t kSample = 256 * 1024;
constexpr int kSamples = 8;
constexpr double kWorth = 0.8;                       // of the samples' size

}  // namespace

bool all_zero(char const* bytes, std::size_t size) {
    return size == 0 || (bytes[0] == 0 && std::memcmp(bytes, bytes + 1, size - 1) == 0);
}

Packer::Packer() : context_(ZSTD_createCCtx(), ZSTD_freeCCtx) {}
Packer::~Packer() = default;

base::Result<std::string> Packer::pack(char const* piece, std::size_t size) {
    if (all_zero(piece, size)) return std::string();
    std::string out(ZSTD_compressBound(size), '\0');
    std::size_t const n = context_ ? ZSTD_compressCCtx(context_.get(), out.data(), out.size(), piece, size, kLevel) : 0;
    if (!context_ || ZSTD_isError(n)) return base::error(base::errc::unavailable, "zstd cannot compress");
    if (n >= size) return std::string(piece, size);
    out.resize(n);
    return out;
}

Unpacker::Unpacker() : context_(ZSTD_createDCtx(), ZSTD_freeDCtx) {}
Unpacker::~Unpacker() = default;

base::Status Unpacker::unpack(std::string const& packed, char* out, std::size_t size) {
    if (packed.empty()) {
        std::memset(out, 0, size);
        return {};
    }
    if (packed.size() == size) {
        std::memcpy(out, packed.data(), size);
        return {};
    }
    std::size_t const n = context_ ? ZSTD_decompressDCtx(context_.get(), out, size, packed.data(), packed.size()) : 0;
    if (n == size) return {};
    return base::error(base::errc::corrupt, "zstd cannot unpack it");
}

bool pays(int fd, std::uint64_t size) {
    Packer packer;
    std::string buffer(kSample, '\0');
    std::uint64_t before = 0, after = 0;
    for (int i = 0; i < kSamples; ++i) {
        auto const at = size / kSamples * static_cast<std::uint64_t>(i);
        // From there on, the next that is no hole.
        off_t const data = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
        if (data < 0) break;
        ssize_t const n = ::pread(fd, buffer.data(), buffer.size(), data);
        if (n <= 0) continue;
        auto const got = static_cast<std::size_t>(n);
        if (all_zero(buffer.data(), got)) continue;
        auto const packed = packer.pack(buffer.data(), got);
        if (!packed) return false;
        before += got;
        after += packed->size();
    }
    return before > 0 && static_cast<double>(after) < kWorth * static_cast<double>(before);
}

}  // namespace sandbox::pack
