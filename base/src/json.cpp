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

}  // namespace base
