#pragma once
#include <base/ids.hpp>
#include <base/json.hpp>
#include <base/result.hpp>
#include <sandbox/image_store.hpp>

#include <string>
#include <vector>

namespace sandbox {

/// What makes a published image: a keyed tag over each piece of each file, and over the manifest that lists them beside what
/// the image is. Nothing of an image is believed before `check` has passed.
///
/// The tags of the pieces are Poly1305 (RFC 8439), each with a one-time key that HMAC-SHA256 derives from the node's key, the
/// seal's random salt, the file's name and the piece's place; the manifest has an HMAC-SHA256 of its own. Measured here for
/// 64 MiB: Poly1305 9 ms, AES-256-GMAC 16, SHA-256 with the processor's help 89, BLAKE2b 173.
///
/// The pieces of a confidential image are packed, then enciphered with ChaCha20 (RFC 8439), each with a key of its own from the
/// same key and salt, and tagged as they stand on disk. Names, sizes and which pieces are all zero stay visible.
namespace seal {

enum class Form { plain, packed, enciphered };
inline constexpr char const *kPacked = ".zst", *kEnciphered = ".enc";

struct SealedFile {
    std::string name;
    std::uint64_t size = 0;                        ///< as the runtime wants it
    std::vector<std::string> tags;                 ///< one for each kPiece bytes, and one for the rest, however short
    std::vector<std::uint64_t> packed;             ///< of a packed file: how long each piece of it became
    bool enciphered = false;                       ///< packed ones only

    bool is_packed() const { return !packed.empty(); }
    /// Its name in the image's directory.
    std::string stored() const { return is_packed() ? name + (enciphered ? kEnciphered : kPacked) : name; }
};

struct Manifest {
    ImageInfo info;
    std::string salt;
    std::vector<SealedFile> files;
};

inline constexpr std::size_t kPiece = 4 << 20;
inline constexpr char const* kManifest = "manifest.json";

/// Tags every regular file in the directory, punching holes where whole pages are zero. `packed`: large files that get smaller
/// by it are replaced by packed ones. `enciphered`: all are. Blocks.
base::Result<std::vector<SealedFile>> tag_files(std::string const& directory, base::Secret const& key,
                                                std::string const& salt, Form form = Form::plain);
/// Writes the sealed manifest.
base::Status write(std::string const& directory, Manifest const& manifest, base::Secret const& key);
/// Reads it and checks its own tag, not the files'. image_errc::damaged.
base::Result<Manifest> read(std::string const& directory, base::Secret const& key);
/// Reads every byte and compares; with `parts`, every so many piece, so that several threads share the work. Packed files are
/// unpacked on the way, each piece once its tag fits, into files of their names that stand in `unpacked`, all holes.
/// image_errc::damaged names the file. Blocks.
base::Status check(std::string const& directory, Manifest const& manifest, base::Secret const& key,
                   std::string const& unpacked = "", std::size_t part = 0, std::size_t parts = 1);

}  // namespace seal
}  // namespace sandbox
