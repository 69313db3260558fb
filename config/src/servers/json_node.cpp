#include "json_node.hpp"

#include <charconv>

namespace config {
namespace {

constexpr std::size_t kMaxJsonConfig = 1 << 20;
constexpr int kMaxJsonDepth = 32;

struct JsonMistake {
    int line;
    std::string expected;
};

class JsonReader {
  public:
    explicit JsonReader(std::string_view text) : text_(text) {}

    JsonNode document() {
        if (text_.starts_with("\xEF\xBB\xBF")) at_ = 3;  // Windows editors
        auto node = value(0);
        space();
        if (at_ < text_.size()) fail("the end of the file");
        return node;
    }

  private:
    [[noreturn]] void fail(std::string expected) const { throw JsonMistake{line_, std::move(expected)}; }
    bool more() const { return at_ < text_.size(); }
    char peek() const { return more() ? text_[at_] : '\0'; }
    char take() {
        char const c = text_[at_++];
        if (c == '\n') ++line_;
        return c;
    }

    void space() {
        while (more()) {
            char const c = peek();
            if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
                take();
            } else if (text_.substr(at_).starts_with("//")) {
                while (more() && peek() != '\n') take();
            } else if (text_.substr(at_).starts_with("/*")) {
                int const opened = line_;
                at_ += 2;
                while (more() && !text_.substr(at_).starts_with("*/")) take();
                if (!more()) throw JsonMistake{opened, "the end of this comment"};
                at_ += 2;
            } else {
                return;
            }
        }
    }

    JsonNode value(int depth) {
        if (depth > kMaxJsonDepth) fail("at most 32 levels");
        space();
        JsonNode node;
        node.line = line_;
        node.begin = at_;
        switch (peek()) {
            case '{':
                object(node, depth);
                break;
            case '[':
                array(node, depth);
                break;
            case '"':
                node.kind = JsonNode::Kind::string;
                node.text = string();
                break;
            default:
                word(node);
        }
        node.end = at_;
        return node;
    }

    void object(JsonNode& node, int depth) {
        node.kind = JsonNode::Kind::object;
        take();
        for (;;) {
            space();
            if (peek() == '}') break;
            JsonNode::Member member;
            member.line = line_;
            if (peek() != '"') fail("a key in double quotes, or }");
            member.key = string();
            space();
            if (peek() != ':') fail("a colon after \"" + member.key.substr(0, 60) + '"');
            take();
            if (node.find(member.key)) {
                throw JsonMistake{member.line,
                                  "the key \"" + member.key.substr(0, 60) + "\" once, it stands here twice"};
            }
            member.value = value(depth + 1);
            node.members.push_back(std::move(member));
            space();
            if (peek() == ',')
                take();
            else if (peek() != '}')
                fail("a comma or }");
        }
        take();
    }

    void array(JsonNode& node, int depth) {
        node.kind = JsonNode::Kind::array;
        take();
        for (;;) {
            space();
            if (peek() == ']') break;
            node.items.push_back(value(depth + 1));
            space();
            if (peek() == ',')
                take();
            else if (peek() != ']')
                fail("a comma or ]");
        }
        take();
    }

    void word(JsonNode& node) {
        auto const start = at_;
        while (more() && std::string_view(",]}: \t\r\n/\"{[").find(peek()) == std::string_view::npos) take();
        auto const text = text_.substr(start, at_ - start);
        if (text == "true" || text == "false") {
            node.kind = JsonNode::Kind::boolean;
            node.flag = text == "true";
        } else if (text != "null") {
            node.kind = JsonNode::Kind::number;
            auto const [end, ec] = std::from_chars(text.data(), text.data() + text.size(), node.number);
            if (text.empty() || ec != std::errc{} || end != text.data() + text.size() || text[0] == '+' ||
                text[0] == 'i' || text[0] == 'n')
                fail("a value");
            node.text = text;
        }
    }

    unsigned hex4() {
        unsigned code = 0;
        for (int i = 0; i < 4; ++i) {
            char const c = more() ? take() : '\0';
            auto const digit = std::string_view("0123456789abcdef").find(static_cast<char>(c | 0x20));
            if (digit == std::string_view::npos || (c < '0')) fail("four hexadecimal digits after \\u");
            code = code * 16 + static_cast<unsigned>(digit);
        }
        return code;
    }

    static void append_utf8(std::string& out, unsigned code) {
        if (code < 0x80) {
            out += static_cast<char>(code);
        } else if (code < 0x800) {
            out += static_cast<char>(0xC0 | code >> 6);
            out += static_cast<char>(0x80 | (code & 0x3F));
        } else if (code < 0x10000) {
            out += static_cast<char>(0xE0 | code >> 12);
            out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
            out += static_cast<char>(0x80 | (code & 0x3F));
        } else {
            out += static_cast<char>(0xF0 | code >> 18);
            out += static_cast<char>(0x80 | (code >> 12 & 0x3F));
            out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
            out += static_cast<char>(0x80 | (code & 0x3F));
        }
    }

    std::string string() {
        take();
        std::string out;
        for (;;) {
            if (!more() || peek() == '\n') fail("a closing double quote");
            char const c = take();
            if (c == '"') return out;
            if (static_cast<unsigned char>(c) < 0x20) fail("no control characters in a string");
            if (c != '\\') {
                out += c;
                continue;
            }
            char const e = more() ? take() : '\0';
            switch (e) {
                case '"':
                case '\\':
                case '/':
                    out += e;
                    break;
                case 'b':
                    out += '\b';
                    break;
                case 'f':
                    out += '\f';
                    break;
                case 'n':
                    out += '\n';
                    break;
                case 'r':
                    out += '\r';
                    break;
                case 't':
                    out += '\t';
                    break;
                case 'u': {
                    unsigned code = hex4();
                    if (code >= 0xD800 && code < 0xDC00) {
                        if (!text_.substr(at_).starts_with("\\u"))
                            fail("the second half of a surrogate pair");
                        at_ += 2;
                        unsigned const low = hex4();
                        if (low < 0xDC00 || low > 0xDFFF) fail("the second half of a surrogate pair");
                        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
                    } else if (code >= 0xDC00 && code < 0xE000) {
                        fail("no half of a surrogate pair");
                    }
                    if (code == 0) fail("no \\u0000 in a string");
                    append_utf8(out, code);
                    break;
                }
                default:
                    fail("one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u after a backslash");
            }
        }
    }

    std::string_view text_;
    std::size_t at_ = 0;
    int line_ = 1;
};

}  // namespace

JsonNode const* JsonNode::find(std::string_view key) const {
    for (auto const& member : members)
        if (member.key == key) return &member.value;
    return nullptr;
}

std::string on_one_line(std::string_view text) {
    auto out = base::to_utf8(text);
    for (char& c : out)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
    return out;
}

base::Result<JsonNode> parse_json_config(std::string_view text, std::string const& name) {
    auto const fail = [&](int line, std::string const& expected) {
        return base::error(base::errc::invalid,
                           on_one_line(name + ":" + std::to_string(line) + ": expected " + expected));
    };
    if (text.size() > kMaxJsonConfig) return fail(1, "at most 1 MiB");
    if (!base::valid_utf8(text)) return fail(1, "UTF-8");
    try {
        return JsonReader(text).document();
    } catch (JsonMistake const& m) {
        return fail(m.line, m.expected);
    }
}

}  // namespace config
