#include <base/json.hpp>

#include <vector>

namespace base {
namespace {

// Builds the value while watching depth and keys; the library's own DOM parser keeps the last of two equal keys.
class StrictBuilder final : public nlohmann::json_sax<Json> {
  public:
    explicit StrictBuilder(int max_depth) : max_depth_(max_depth) {}

    bool null() override { return put(nullptr); }
    bool boolean(bool v) override { return put(v); }
    bool number_integer(number_integer_t v) override { return put(v); }
    bool number_unsigned(number_unsigned_t v) override { return put(v); }
    bool number_float(number_float_t v, string_t const&) override { return put(v); }
    bool string(string_t& v) override { return put(std::move(v)); }
    bool binary(binary_t&) override { return false; }
    bool start_object(std::size_t) override { return open(Json::object()); }
    bool start_array(std::size_t) override { return open(Json::array()); }
    bool end_object() override { return close(); }
    bool end_array() override { return close(); }

    bool key(string_t& k) override {
        if (stack_.back()->contains(k)) {
            failure = base::error(errc::invalid, "duplicate key \"" + k.substr(0, 80) + "\"");
            return false;
        }
        key_ = std::move(k);
        return true;
    }
    bool parse_error(std::size_t position, std::string const&, nlohmann::detail::exception const&) override {
        failure = base::error(errc::invalid, "not valid JSON at byte " + std::to_string(position));
        return false;
    }

    Json root;
    Error failure;

  private:
    Json* put(Json value, int) {
        if (stack_.empty()) {
            root = std::move(value);
            return &root;
        }
        Json& parent = *stack_.back();
        if (parent.is_object()) return &(parent[std::move(key_)] = std::move(value));
        parent.push_back(std::move(value));
        return &parent.back();
    }
    template <class T>
    bool put(T&& value) {
        put(Json(std::forward<T>(value)), 0);
        return true;
    }
    bool open(Json value) {
        if (static_cast<int>(stack_.size()) >= max_depth_) {
            failure = base::error(errc::limit, "nested deeper than " + std::to_string(max_depth_) + " levels");
            return false;
        }
        // Pointers into parents stay good: a parent takes no new child while this one is open.
        stack_.push_back(put(std::move(value), 0));
        return true;
    }
    bool close() {
        stack_.pop_back();
        return true;
    }

    int max_depth_;
    std::vector<Json*> stack_;
    std::string key_;
};

// Length of the well-formed sequence at the front (Unicode 15, table 3-7), 0 when there is none.
std::size_t sequence_length(std::string_view s) {
    auto const byte = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
    auto const tail = [&](std::size_t i, unsigned low = 0x80, unsigned high = 0xBF) {
        return i < s.size() && byte(i) >= low && byte(i) <= high;
    };
    unsigned char const b = byte(0);
    if (b < 0x80) return 1;
    if (b >= 0xC2 && b <= 0xDF) return tail(1) ? 2 : 0;
    if (b >= 0xE0 && b <= 0xEF)
        return tail(1, b == 0xE0 ? 0xA0 : 0x80, b == 0xED ? 0x9F : 0xBF) && tail(2) ? 3 : 0;
    if (b >= 0xF0 && b <= 0xF4)
        return tail(1, b == 0xF0 ? 0x90 : 0x80, b == 0xF4 ? 0x8F : 0xBF) && tail(2) && tail(3) ? 4 : 0;
    return 0;
}

}  // namespace

Result<Json> parse_json(std::string_view text, JsonLimits limits) {
    if (text.size() > limits.max_bytes)
        return error(errc::limit, "larger than " + std::to_string(limits.max_bytes) + " bytes");
    // The library's lexer takes a NUL for the end of the text.
    if (auto const nul = text.find('\0'); nul != text.npos)
        return error(errc::invalid, "not valid JSON at byte " + std::to_string(nul));
    StrictBuilder builder(limits.max_depth);
    if (!Json::sax_parse(text.begin(), text.end(), &builder)) {
        if (builder.failure.code) return builder.failure;
        return error(errc::invalid, "not valid JSON");
    }
    return std::move(builder.root);
}

std::string dump(Json const& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

bool valid_utf8(std::string_view s) {
    while (!s.empty()) {
        auto const n = sequence_length(s);
        if (n == 0) return false;
        s.remove_prefix(n);
    }
    return true;
}

std::string to_utf8(std::string_view s) {
    std::string out;
    out.reserve(s.size());
    while (!s.empty()) {
        std::size_t plain = 0;
        while (plain < s.size() && static_cast<unsigned char>(s[plain]) < 0x80) ++plain;
        out.append(s.substr(0, plain));
        s.remove_prefix(plain);
        if (s.empty()) break;
        auto const n = sequence_length(s);
        if (n == 0) {
            out += "\xEF\xBF\xBD";
            s.remove_prefix(1);
        } else {
            out.append(s.substr(0, n));
            s.remove_prefix(n);
        }
    }
    return out;
}

}  // namespace base
