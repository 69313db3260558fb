#include "image_seal.hpp"
#include "image_pack.hpp"

#include <base/files.hpp>
#include <base/hash.hpp>
#include <base/syscalls.hpp>

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <numeric>

namespace sandbox::seal {

using base::Json;

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kBuffer = 256 * 1024;          // stays in the processor's cache between reading and tagging
constexpr std::size_t kMaxManifest = 64 << 20;
constexpr std::size_t kTag = 16;
constexpr std::uint64_t kWorthPacking = 1 << 20;     // smaller files are not
constexpr int kFormatPlain = 1, kFormatPacked = 2, kFormatEnciphered = 3;

struct FreeMac {
    void operator()(EVP_MAC* mac) const { EVP_MAC_free(mac); }
    void operator()(EVP_MAC_CTX* context) const { EVP_MAC_CTX_free(context); }
};

class Tagger {
  public:
    Tagger() : mac_(EVP_MAC_fetch(nullptr, "POLY1305", nullptr)), context_(mac_ ? EVP_MAC_CTX_new(mac_.get()) : nullptr) {}
    bool begin(std::string const& key) {
        return context_ && EVP_MAC_init(context_.get(), reinterpret_cast<unsigned char const*>(key.data()), key.size(),
                                        nullptr) == 1;
    }
    void add(char const* bytes, std::size_t n) {
        (void)EVP_MAC_update(context_.get(), reinterpret_cast<unsigned char const*>(bytes), n);
    }
    std::string end() {
        unsigned char tag[kTag];
        std::size_t size = 0;
        if (EVP_MAC_final(context_.get(), tag, &size, sizeof tag) != 1) return {};
        return {reinterpret_cast<char*>(tag), size};
    }

  private:
    std::unique_ptr<EVP_MAC, FreeMac> mac_;
    std::unique_ptr<EVP_MAC_CTX, FreeMac> context_;
};

std::string piece_key(base::Secret const& key, std::string const& salt, std::string const& name, std::size_t index,
                      std::string const& purpose = "piece") {
    return base::hmac_sha256(key.reveal(), purpose + "\n" + salt + "\n" + name + "\n" + std::to_string(index));
}

/// Enciphers or deciphers in place. The key is used for this piece alone, so the nonce may be zero.
base::Status cipher_piece(std::string& bytes, std::string const& key) {
    struct Free {
        void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
    };
    std::unique_ptr<EVP_CIPHER_CTX, Free> const context(EVP_CIPHER_CTX_new());
    unsigned char const start[16] = {};                      // counter and nonce
    auto* const data = reinterpret_cast<unsigned char*>(bytes.data());
    int n = 0;
    bool const done = context &&
                      EVP_EncryptInit_ex(context.get(), EVP_chacha20(), nullptr,
                                         reinterpret_cast<unsigned char const*>(key.data()), start) == 1 &&
                      EVP_EncryptUpdate(context.get(), data, &n, data, static_cast<int>(bytes.size())) == 1;
    if (done && static_cast<std::size_t>(n) == bytes.size()) return {};
    return base::error(base::errc::unavailable, "this OpenSSL has no ChaCha20");
}

// Runs of zero pages within the buffer, given back to the disk.
void punch(int fd, char const* bytes, std::size_t n, std::uint64_t at) {
    std::size_t run = 0;
    auto const give_back = [&](std::size_t end) {
        if (run > 0)
            (void)::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(at + end - run),
                              static_cast<off_t>(run));
        run = 0;
    };
    std::size_t offset = 0;
    for (; offset + kPage <= n; offset += kPage) {
        if (pack::all_zero(bytes + offset, kPage)) run += kPage;
        else give_back(offset);
    }
    give_back(offset);
}

// One piece of an open file; short at the end of the file. `size` becomes the bytes there were.
base::Result<std::string> tag_piece(int fd, std::string const& path, std::string const& one_time_key, std::size_t index,
                                    bool punch_holes, Tagger& tagger, std::vector<char>& buffer, std::size_t& size) {
    if (!tagger.begin(one_time_key)) return base::error(base::errc::unavailable, "this OpenSSL has no Poly1305");
    std::uint64_t const start = static_cast<std::uint64_t>(index) * kPiece;
    size = 0;
    while (size < kPiece) {
        ssize_t const n = ::pread(fd, buffer.data(), std::min(buffer.size(), kPiece - size),
                                  static_cast<off_t>(start + size));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return base::errno_error("read " + path);
        if (n == 0) break;
        auto const got = static_cast<std::size_t>(n);
        tagger.add(buffer.data(), got);
        if (punch_holes) punch(fd, buffer.data(), got, start + size);
        size += got;
    }
    return tagger.end();
}

base::Result<SealedFile> pack_file(int from, std::string const& directory, std::string const& name, base::Secret const& key,
                                   std::string const& salt, bool encipher);

base::Result<SealedFile> tag_file(std::string const& directory, std::string const& name, base::Secret const& key,
                                  std::string const& salt, Form form) {
    auto const path = directory + "/" + name;
    auto fd = base::sys::open(path, O_RDWR | O_NOFOLLOW);
    if (!fd) return fd.error();
    struct stat st{};
    if (::fstat(fd->get(), &st) != 0) return base::errno_error("stat " + path);
    auto const bytes = static_cast<std::uint64_t>(st.st_size);
    bool const smaller = form == Form::packed && bytes >= kWorthPacking && pack::pays(fd->get(), bytes);
    if (smaller || form == Form::enciphered)
        return pack_file(fd->get(), directory, name, key, salt, form == Form::enciphered);
    SealedFile out;
    out.name = name;
    std::vector<char> buffer(kBuffer);
    Tagger tagger;
    // The last one is short, if only by all of it: so a file that grew is told from one that did not.
    for (std::size_t size = kPiece; size == kPiece;) {
        auto const index = out.tags.size();
        auto tag = tag_piece(fd->get(), path, piece_key(key, salt, name, index), index, true, tagger, buffer, size);
        if (!tag) return tag.error();
        out.tags.push_back(std::move(*tag));
        // The disk begins with what was looked at; the flush at the end waits for the rest of it.
        if (size > 0)
            (void)::sync_file_range(fd->get(), static_cast<off_t>(out.size), static_cast<off_t>(size), SYNC_FILE_RANGE_WRITE);
        out.size += size;
    }
    return out;
}

base::Status read_all(int fd, char* out, std::size_t size, std::uint64_t at, std::string const& path, std::size_t& got) {
    for (got = 0; got < size;) {
        ssize_t const n = ::pread(fd, out + got, size - got, static_cast<off_t>(at + got));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return base::errno_error("read " + path);
        if (n == 0) break;
        got += static_cast<std::size_t>(n);
    }
    return {};
}

// Instead of the file, one that holds its pieces packed.
base::Result<SealedFile> pack_file(int from, std::string const& directory, std::string const& name, base::Secret const& key,
                                   std::string const& salt, bool encipher) {
    SealedFile out;
    out.name = name;
    out.enciphered = encipher;
    auto const path = directory + "/" + name, place = path + (encipher ? kEnciphered : kPacked);
    auto to = base::sys::open(place, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    if (!to) return to.error();
    std::vector<char> piece(kPiece);
    Tagger tagger;
    pack::Packer packer;
    std::uint64_t written = 0;
    for (std::size_t got = kPiece; got == kPiece;) {
        if (auto s = read_all(from, piece.data(), kPiece, out.size, path, got); !s) return s.error();
        auto packed = packer.pack(piece.data(), got);
        if (!packed) return packed.error();
        if (encipher)
            if (auto s = cipher_piece(*packed, piece_key(key, salt, name, out.tags.size(), "cipher")); !s) return s.error();
        if (!tagger.begin(piece_key(key, salt, name, out.tags.size())))
            return base::error(base::errc::unavailable, "this OpenSSL has no Poly1305");
        tagger.add(packed->data(), packed->size());
        out.tags.push_back(tagger.end());
        if (auto s = base::sys::write_all(to->get(), *packed, "write " + place); !s) return s.error();
        (void)::sync_file_range(to->get(), static_cast<off_t>(written), static_cast<off_t>(packed->size()),
                                SYNC_FILE_RANGE_WRITE);
        out.packed.push_back(packed->size());
        written += packed->size();
        out.size += got;
    }
    if (auto s = base::sys::unlink(path); !s) return s.error();
    return out;
}

Json to_json(Manifest const& m) {
    auto const& i = m.info;
    Json files = Json::array();
    int format = kFormatPlain;
    for (auto const& f : m.files) {
        std::string tags;
        for (auto const& tag : f.tags) tags += tag;
        Json file{{"name", f.name}, {"size", f.size}, {"tags", base::base64_encode(tags)}};
        if (f.is_packed()) file["packed"] = f.packed, format = std::max(format, kFormatPacked);
        if (f.enciphered) file["enciphered"] = true, format = kFormatEnciphered;
        files.push_back(std::move(file));
    }
    return {{"format", format},
            {"workspace", i.ref.workspace_id},
            {"image", i.ref.image_id},
            {"generation", i.ref.generation},
            {"template", i.facts.template_name},
            {"stamp", i.facts.template_stamp},
            {"runtime", i.facts.runtime_build},
            {"guest", i.facts.guest_build},
            {"cpu", {{"vendor", i.facts.cpu.vendor}, {"family", i.facts.cpu.family}, {"features", i.facts.cpu.features}}},
            {"created_ms", i.created_ms},
            {"bytes", i.bytes},
            {"salt", base::base64_encode(m.salt)},
            {"files", std::move(files)}};
}

Manifest from_json(Json const& j) {
    Manifest m;
    auto& i = m.info;
    int const format = j.at("format").get<int>();
    if (format < kFormatPlain || format > kFormatEnciphered) throw std::runtime_error("an unknown format");
    i.ref.workspace_id = j.at("workspace").get<std::string>();
    i.ref.image_id = j.at("image").get<std::string>();
    i.ref.generation = j.at("generation").get<std::uint64_t>();
    i.facts.template_name = j.at("template").get<std::string>();
    i.facts.template_stamp = j.at("stamp").get<std::string>();
    i.facts.runtime_build = j.at("runtime").get<std::string>();
    i.facts.guest_build = j.at("guest").get<std::string>();
    i.facts.cpu.vendor = j.at("cpu").at("vendor").get<std::string>();
    i.facts.cpu.family = j.at("cpu").at("family").get<std::string>();
    i.facts.cpu.features = j.at("cpu").at("features").get<std::vector<std::string>>();
    i.created_ms = j.at("created_ms").get<std::int64_t>();
    i.bytes = j.at("bytes").get<std::uint64_t>();
    if (!base::base64_decode(j.at("salt").get<std::string>(), m.salt)) throw std::runtime_error("its salt");
    for (auto const& one : j.at("files")) {
        SealedFile f;
        f.name = one.at("name").get<std::string>();
        f.size = one.at("size").get<std::uint64_t>();
        std::string tags;
        if (!base::base64_decode(one.at("tags").get<std::string>(), tags) || tags.size() % kTag != 0)
            throw std::runtime_error("its tags");
        for (std::size_t at = 0; at < tags.size(); at += kTag) f.tags.push_back(tags.substr(at, kTag));
        if (auto const packed = one.find("packed"); packed != one.end()) f.packed = packed->get<std::vector<std::uint64_t>>();
        f.enciphered = one.value("enciphered", false);
        if ((f.is_packed() && f.packed.size() != f.tags.size()) || (f.enciphered && !f.is_packed()))
            throw std::runtime_error("its pieces");
        m.files.push_back(std::move(f));
    }
    return m;
}

std::string manifest_tag(base::Secret const& key, std::string const& text) {
    return base::base64_encode(base::hmac_sha256(key.reveal(), "manifest\n" + text));
}

}  // namespace

base::Result<std::vector<SealedFile>> tag_files(std::string const& directory, base::Secret const& key,
                                                std::string const& salt, Form form) {
    std::vector<std::string> names;
    std::error_code ec;
    for (std::filesystem::directory_iterator it(directory, ec), end; !ec && it != end; it.increment(ec)) {
        std::string const name = it->path().filename();
        if (it->is_regular_file(ec) && !it->is_symlink(ec) && !name.starts_with(kManifest)) names.push_back(name);
    }
    if (ec) return base::error(base::errc::not_found, directory + ": " + ec.message());
    std::sort(names.begin(), names.end());
    std::vector<SealedFile> out;
    for (auto const& name : names) {
        auto file = tag_file(directory, name, key, salt, form);
        if (!file) return file.error();
        out.push_back(std::move(*file));
    }
    return out;
}

base::Status write(std::string const& directory, Manifest const& manifest, base::Secret const& key) {
    auto const text = base::dump(to_json(manifest));
    // The tag stands on a line of its own, over the very bytes of the other.
    return base::replace_file(directory + "/" + kManifest, text + "\n" + manifest_tag(key, text) + "\n", 0600);
}

base::Result<Manifest> read(std::string const& directory, base::Secret const& key) {
    auto file = base::read_file(directory + "/" + kManifest, kMaxManifest);
    if (!file) {
        if (file.error().code.value() == ENOENT) return base::error(base::errc::not_found, "no such memory image");
        return file.error();
    }
    auto const line = file->find('\n');
    auto const text = file->substr(0, line);
    auto const tag = line == file->npos ? std::string() : file->substr(line + 1);
    if (!base::constant_time_equal(tag, manifest_tag(key, text) + "\n"))
        return error(image_errc::damaged, "the memory image's seal does not fit its manifest");
    auto j = base::parse_json(text, base::JsonLimits{kMaxManifest, 8});
    if (!j) return error(image_errc::damaged, "the memory image's manifest: " + j.error().message());
    try {
        return from_json(*j);
    } catch (std::exception const& e) {
        return error(image_errc::damaged, std::string("the memory image's manifest: ") + e.what());
    }
}

namespace {

struct Opened {
    base::UniqueFd fd;
    std::string path;
};

base::Error broken(SealedFile const& sealed, char const* how) {
    return error(image_errc::damaged, "the memory image's " + sealed.name + how);
}

base::Result<Opened> open_sealed(std::string const& directory, SealedFile const& sealed) {
    if (sealed.name.empty() || sealed.name.find('/') != sealed.name.npos) return broken(sealed, " has no name of ours");
    auto const path = directory + "/" + sealed.stored();
    auto fd = base::sys::open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    struct stat st{};
    if (!fd) {
        // Too many open files, say, is over in a moment and says nothing about this one.
        int const why = fd.error().code.value();
        if (why == ENOENT || why == ELOOP) return broken(sealed, " is missing");
        return fd.error();
    }
    if (::fstat(fd->get(), &st) != 0) return base::errno_error("stat " + path);
    if (!S_ISREG(st.st_mode)) return broken(sealed, " is missing");
    std::uint64_t stored = sealed.size;
    if (sealed.is_packed()) stored = std::accumulate(sealed.packed.begin(), sealed.packed.end(), std::uint64_t{0});
    if (static_cast<std::uint64_t>(st.st_size) != stored || sealed.tags.size() != sealed.size / kPiece + 1)
        return broken(sealed, " is of another size");
    return Opened{std::move(*fd), path};
}

// Pages of zeros stay holes.
base::Status write_pages(int fd, char const* bytes, std::size_t size, std::uint64_t at, std::string const& path) {
    for (std::size_t from = 0; from < size;) {
        auto const zero = [&](std::size_t page) { return pack::all_zero(bytes + page, std::min(kPage, size - page)); };
        std::size_t to = from;
        while (to < size && !zero(to)) to += kPage;
        to = std::min(to, size);
        for (std::size_t done = from; done < to;) {
            ssize_t const n = ::pwrite(fd, bytes + done, to - done, static_cast<off_t>(at + done));
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) return base::errno_error("write " + path);
            done += static_cast<std::size_t>(n);
        }
        from = to;
        while (from < size && zero(from)) from += kPage;
    }
    return {};
}

/// Checks, and unpacks, pieces of a packed file.
class Unpacking {
  public:
    Unpacking(Opened from, SealedFile const& sealed, Manifest const& manifest, base::Secret const& key)
        : from_(std::move(from)), sealed_(sealed), manifest_(manifest), key_(key), piece_(kPiece) {}
    base::Status into(std::string const& directory) {
        auto fd = base::sys::open(directory + "/" + sealed_.name, O_WRONLY | O_NOFOLLOW);
        if (!fd) return fd.error();
        to_ = std::move(*fd);
        return {};
    }
    base::Status piece(std::size_t index) {
        auto const at = std::accumulate(sealed_.packed.begin(), sealed_.packed.begin() + static_cast<std::ptrdiff_t>(index),
                                        std::uint64_t{0});
        if (sealed_.packed[index] > kPiece) return broken(sealed_, " was changed");
        packed_.resize(sealed_.packed[index]);
        std::size_t got = 0;
        if (auto s = read_all(from_.fd.get(), packed_.data(), packed_.size(), at, from_.path, got); !s) return s;
        if (got != packed_.size()) return broken(sealed_, " is of another size");
        if (!tagger_.begin(piece_key(key_, manifest_.salt, sealed_.name, index)))
            return base::error(base::errc::unavailable, "this OpenSSL has no Poly1305");
        tagger_.add(packed_.data(), packed_.size());
        if (!base::constant_time_equal(tagger_.end(), sealed_.tags[index])) return broken(sealed_, " was changed");
        auto const start = static_cast<std::uint64_t>(index) * kPiece;
        auto const size = static_cast<std::size_t>(std::min<std::uint64_t>(kPiece, sealed_.size - start));
        if (!to_ || packed_.empty()) return {};
        if (sealed_.enciphered)
            if (auto s = cipher_piece(packed_, piece_key(key_, manifest_.salt, sealed_.name, index, "cipher")); !s) return s;
        if (auto s = unpacker_.unpack(packed_, piece_.data(), size); !s) return broken(sealed_, " cannot be unpacked");
        return write_pages(to_.get(), piece_.data(), size, start, sealed_.name);
    }

  private:
    Opened from_;
    SealedFile const& sealed_;
    Manifest const& manifest_;
    base::Secret const& key_;
    base::UniqueFd to_;
    std::string packed_;
    std::vector<char> piece_;
    Tagger tagger_;
    pack::Unpacker unpacker_;
};

}  // namespace

base::Status check(std::string const& directory, Manifest const& manifest, base::Secret const& key,
                   std::string const& unpacked, std::size_t part, std::size_t parts) {
    std::vector<char> buffer(kBuffer);
    Tagger tagger;
    std::size_t turn = 0;
    for (auto const& sealed : manifest.files) {
        auto opened = open_sealed(directory, sealed);
        if (!opened) return opened.error();
        if (sealed.is_packed()) {
            Unpacking work(std::move(*opened), sealed, manifest, key);
            if (!unpacked.empty())
                if (auto s = work.into(unpacked); !s) return s;
            for (std::size_t i = 0; i < sealed.tags.size(); ++i)
                if (turn++ % parts == part)
                    if (auto s = work.piece(i); !s) return s;
            continue;
        }
        for (std::size_t i = 0; i < sealed.tags.size(); ++i) {
            if (turn++ % parts != part) continue;
            std::size_t size = 0;
            auto tag = tag_piece(opened->fd.get(), opened->path, piece_key(key, manifest.salt, sealed.name, i), i, false, tagger,
                                 buffer, size);
            if (!tag) return tag.error();
            if (!base::constant_time_equal(*tag, sealed.tags[i])) return broken(sealed, " was changed");
        }
    }
    return {};
}

}  // namespace sandbox::seal
