#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace sandbox::native::wire {

// Protocol Buffers as they stand on the wire (protobuf.dev/programming-guides/encoding): numbers and strings
// by field number. CRIU's requests and the one image of it that is changed need no more, and neither a
// compiler for them nor a library.

/// A message that is being written. Fields may come in any order, and more than once where they are lists.
class Message {
  public:
    Message& number(unsigned field, std::uint64_t value);
    Message& text(unsigned field, std::string_view value);
    Message& message(unsigned field, Message const& value) { return text(field, value.bytes_); }
    std::string const& bytes() const { return bytes_; }

  private:
    std::string bytes_;
};

/// One field of a message that was read.
struct Field {
    unsigned number = 0;
    std::uint64_t value = 0;  ///< of a number
    std::string_view text;    ///< of a string or a message; lives as long as what was read
    bool is_text = false;
};

/// Takes fields off a message, one after the other.
class Reader {
  public:
    explicit Reader(std::string_view message) : rest_(message) {}
    /// False at the end, and at what is no message: then `sound` is false too.
    bool next(Field& field);
    bool sound() const { return sound_; }

  private:
    bool varint(std::uint64_t& value);
    bool fixed(std::size_t bytes, std::uint64_t& value);
    std::string_view rest_;
    bool sound_ = true;
};

}  // namespace sandbox::native::wire
