#pragma once
#include <base/result.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

// Pages of an image as zstd frames (RFC 8878), one for each piece, so that each can be checked, and unpacked, by itself.
namespace sandbox::pack {

/// Packs one piece after another. Not for several threads at once.
class Packer {
  public:
    Packer();
    ~Packer();
    Packer(Packer const&) = delete;
    Packer& operator=(Packer const&) = delete;
    /// "" when all of it is zero, and the piece itself when it does not get smaller.
    base::Result<std::string> pack(char const* piece, std::size_t size);

  private:
    std::unique_ptr<ZSTD_CCtx_s, std::size_t (*)(ZSTD_CCtx_s*)> context_;
};

class Unpacker {
  public:
    Unpacker();
    ~Unpacker();
    Unpacker(Unpacker const&) = delete;
    Unpacker& operator=(Unpacker const&) = delete;
    /// What `pack` made of a piece of `size` bytes, which `out` has room for. errc::corrupt.
    base::Status unpack(std::string const& packed, char* out, std::size_t size);

  private:
    std::unique_ptr<ZSTD_DCtx_s, std::size_t (*)(ZSTD_DCtx_s*)> context_;
};

/// Whether packing an open file is worth it, by samples of what is not a hole. Random or compressed contents are not.
bool pays(int fd, std::uint64_t size);

bool all_zero(char const* bytes, std::size_t size);

}  // namespace sandbox::pack
