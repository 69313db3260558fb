#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

// The bytes between the server and `berth-guest`, shared by both: little endian, no alignment.
//   frame    u32 payload length, u8 kind, u8 flags, u32 id, payload
//   message  the payloads of the frames of one kind and id up to the first without kMore
//   request and reply messages: u32 JSON length, JSON, raw bytes
namespace sandbox::protocol {

enum class Kind : std::uint8_t {
    attach = 1,   ///< to the guest: a new server. Payload: the nonce. Answered by kSyncMagic and the nonce, no frame.
    request,      ///< to the guest. The id is the host's choice.
    reply,        ///< from the guest, with the request's id
    open,         ///< from the guest: a program connected to the proxy port. The id has kGuestStreamBit.
    data,         ///< stream bytes, never more than the receiver's credit
    credit,       ///< u32: so many more bytes may be sent
    shut,         ///< the sender's last byte was sent
    close,        ///< forget the stream; bytes sent before are still delivered
};

inline constexpr std::uint8_t kMore = 1;
inline constexpr std::uint32_t kGuestStreamBit = 0x8000'0000;
inline constexpr std::size_t kHeaderBytes = 10;
// PIPE_BUF: one write(2) puts all of such a frame into the FIFO or nothing, so a killed server leaves no partial frame.
inline constexpr std::size_t kMaxToGuest = 4096;
inline constexpr std::size_t kMaxFromGuest = 64 * 1024;
inline constexpr std::size_t kMaxMessage = (32 << 20) + (1 << 20);   // a file of 32 MiB and its JSON
inline constexpr std::size_t kMaxJson = 4 << 20;
inline constexpr std::uint32_t kWindow = 256 * 1024;                 // initial credit of each direction of a stream
inline constexpr std::size_t kNonceBytes = 16;
inline constexpr std::string_view kSyncMagic = "\xB1" "BERTH\xB1\n";

struct Frame {
    Kind kind{};
    bool more = false;
    std::uint32_t id = 0;
    std::string_view payload;
    std::size_t size = 0;         ///< with the header
};

enum class Parsed { frame, incomplete, invalid };

inline std::uint32_t load32(char const* p) {
    auto const* u = reinterpret_cast<unsigned char const*>(p);
    return std::uint32_t(u[0]) | std::uint32_t(u[1]) << 8 | std::uint32_t(u[2]) << 16 | std::uint32_t(u[3]) << 24;
}

inline void store32(std::string& out, std::uint32_t v) {
    for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(v >> shift));
}

/// Looks at the frame at the front of `bytes`. `max` bounds the whole frame; an impossible header is invalid at once,
/// without waiting for its payload.
inline Parsed parse_frame(std::string_view bytes, std::size_t max, Frame& out) {
    if (bytes.size() < kHeaderBytes) return Parsed::incomplete;
    std::size_t const length = load32(bytes.data());
    auto const kind = static_cast<unsigned char>(bytes[4]);
    auto const flags = static_cast<unsigned char>(bytes[5]);
    if (length > max - kHeaderBytes || kind < static_cast<int>(Kind::attach) ||
        kind > static_cast<int>(Kind::close) || (flags & ~kMore) != 0)
        return Parsed::invalid;
    out.kind = static_cast<Kind>(kind);
    out.more = flags & kMore;
    if (out.more && out.kind != Kind::request && out.kind != Kind::reply) return Parsed::invalid;
    out.id = load32(bytes.data() + 6);
    if (bytes.size() < kHeaderBytes + length) return Parsed::incomplete;
    out.payload = bytes.substr(kHeaderBytes, length);
    out.size = kHeaderBytes + length;
    return Parsed::frame;
}

/// The two parts of a request or reply message. False when the lengths do not fit.
inline bool split_message(std::string_view message, std::string_view& json, std::string_view& raw) {
    if (message.size() < 4) return false;
    std::size_t const length = load32(message.data());
    if (length > kMaxJson || length > message.size() - 4) return false;
    json = message.substr(4, length);
    raw = message.substr(4 + length);
    return true;
}

inline void append_frame(std::string& out, Kind kind, std::uint32_t id, std::string_view payload, bool more = false) {
    store32(out, static_cast<std::uint32_t>(payload.size()));
    out.push_back(static_cast<char>(kind));
    out.push_back(static_cast<char>(more ? kMore : 0));
    store32(out, id);
    out.append(payload);
}

inline std::string make_frame(Kind kind, std::uint32_t id, std::string_view payload, bool more = false) {
    std::string out;
    out.reserve(kHeaderBytes + payload.size());
    append_frame(out, kind, id, payload, more);
    return out;
}

/// Cuts one message into frames of at most `max` bytes and hands each to `sink(std::string)`.
template <class Sink>
void frame_message(Kind kind, std::uint32_t id, std::string_view json, std::string_view raw, std::size_t max,
                   Sink sink) {
    std::string message;
    message.reserve(4 + json.size() + raw.size());
    store32(message, static_cast<std::uint32_t>(json.size()));
    message.append(json).append(raw);
    std::string_view rest = message;
    do {
        auto const part = rest.substr(0, max - kHeaderBytes);
        rest.remove_prefix(part.size());
        sink(make_frame(kind, id, part, !rest.empty()));
    } while (!rest.empty());
}

}  // namespace sandbox::protocol
