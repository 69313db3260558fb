#include "wire.hpp"

namespace sandbox::native::wire {

namespace {

enum Type : unsigned { varint_type = 0, eight_bytes = 1, length_type = 2, four_bytes = 5 };

void put_varint(std::string& out, std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
    out.push_back(static_cast<char>(value));
}

}  // namespace

Message& Message::number(unsigned field, std::uint64_t value) {
    put_varint(bytes_, field << 3 | varint_type);
    put_varint(bytes_, value);
    return *this;
}

Message& Message::text(unsigned field, std::string_view value) {
    put_varint(bytes_, field << 3 | length_type);
    put_varint(bytes_, value.size());
    bytes_.append(value);
    return *this;
}

bool Reader::varint(std::uint64_t& value) {
    value = 0;
    for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
        auto const byte = static_cast<unsigned char>(rest_.front());
        rest_.remove_prefix(1);
        value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
        if (byte < 0x80) return true;
    }
    return sound_ = false;
}

bool Reader::fixed(std::size_t bytes, std::uint64_t& value) {
    if (rest_.size() < bytes) return sound_ = false;
    value = 0;
    for (std::size_t i = bytes; i-- > 0;) value = value << 8 | static_cast<unsigned char>(rest_[i]);
    rest_.remove_prefix(bytes);
    return true;
}

bool Reader::next(Field& field) {
    if (rest_.empty() || !sound_) return false;
    std::uint64_t key = 0, length = 0;
    if (!varint(key)) return false;
    field = Field{};
    field.number = static_cast<unsigned>(key >> 3);
    switch (key & 7) {
        case varint_type:
            return varint(field.value);
        case eight_bytes:
            return fixed(8, field.value);
        case four_bytes:
            return fixed(4, field.value);
        case length_type:
            if (!varint(length)) return false;
            if (length > rest_.size()) return sound_ = false;
            field.text = rest_.substr(0, length);
            field.is_text = true;
            rest_.remove_prefix(length);
            return true;
        default:
            return sound_ = false;  // groups, which are no longer made
    }
}

}  // namespace sandbox::native::wire
