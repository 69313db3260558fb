#include "glob.hpp"

#include <re2/re2.h>

namespace workspace {
namespace {

using base::errc;
using base::error;

constexpr std::size_t kMaxPattern = 1000;

base::Error bad(std::string_view pattern, std::size_t at, std::string_view what) {
    return error(errc::invalid, "glob \"" + std::string(pattern) + "\": " + std::string(what) +
                                    " at character " + std::to_string(at + 1));
}

base::Result<std::string> to_regex(std::string_view pattern) {
    std::string out;
    int braces = 0;
    for (std::size_t i = 0; i < pattern.size(); ++i) {
        char const c = pattern[i];
        if (c == '*' && i + 1 < pattern.size() && pattern[i + 1] == '*') {
            ++i;
            bool const from_start = i == 1 || pattern[i - 2] == '/';
            if (from_start && i + 1 < pattern.size() && pattern[i + 1] == '/') {
                ++i;
                out += "(?:.*/)?";  // "**/x" also means "x"
            } else {
                out += ".*";
            }
        } else if (c == '*') {
            out += "[^/]*";
        } else if (c == '?') {
            out += "[^/]";
        } else if (c == '[') {
            auto const negated = i + 1 < pattern.size() && (pattern[i + 1] == '!' || pattern[i + 1] == '^');
            auto const start = i + 1 + negated;
            auto const end = pattern.find(']', start + 1);
            if (start >= pattern.size() || end == pattern.npos) return bad(pattern, i, "\"[\" without \"]\"");
            out += negated ? "[^/" : "[";
            for (auto j = start; j < end; ++j) {
                if (pattern[j] == '\\' || pattern[j] == '[' || pattern[j] == ']' || pattern[j] == '^')
                    out += '\\';
                out += pattern[j];
            }
            out += "]";
            i = end;
        } else if (c == '{') {
            ++braces;
            out += "(?:";
        } else if (c == '}' && braces > 0) {
            --braces;
            out += ")";
        } else if (c == ',' && braces > 0) {
            out += "|";
        } else if (c == '\\') {
            if (++i == pattern.size()) return bad(pattern, i - 1, "nothing after \"\\\"");
            out += re2::RE2::QuoteMeta(re2::StringPiece(&pattern[i], 1));
        } else if (static_cast<unsigned char>(c) >= 0x80) {
            out += c;  // a part of a UTF-8 sequence, which quoting would break
        } else {
            out += re2::RE2::QuoteMeta(re2::StringPiece(&pattern[i], 1));
        }
    }
    if (braces > 0) return bad(pattern, pattern.rfind('{'), "\"{\" without \"}\"");
    return out;
}

}  // namespace

Glob::Glob() = default;
Glob::Glob(Glob&&) noexcept = default;
Glob::~Glob() = default;

base::Result<Glob> Glob::compile(std::string_view pattern) {
    if (pattern.size() > kMaxPattern)
        return error(errc::invalid, "the glob is longer than " + std::to_string(kMaxPattern) + " bytes");
    if (pattern.find('\0') != pattern.npos) return error(errc::invalid, "the glob contains a NUL byte");
    while (pattern.starts_with("./")) pattern.remove_prefix(2);
    auto regex = to_regex(pattern);
    if (!regex) return regex.error();
    Glob out;
    re2::RE2::Options options;
    options.set_log_errors(false);
    options.set_dot_nl(true);
    options.set_max_mem(4 << 20);
    out.regex_ = std::make_unique<re2::RE2>(*regex, options);
    if (!out.regex_->ok())
        return error(errc::invalid, "glob \"" + std::string(pattern) + "\": " + out.regex_->error());
    out.pattern_ = pattern;
    out.by_name_ = pattern.find('/') == pattern.npos;
    out.literal_ = pattern.find_first_of("*?[{\\") == pattern.npos;
    return out;
}

bool Glob::matches(std::string_view path) const {
    if (by_name_) path = path.substr(path.rfind('/') + 1);  // npos + 1 is 0
    return re2::RE2::FullMatch(re2::StringPiece(path.data(), path.size()), *regex_);
}

bool Glob::names_part(std::string_view part) const {
    std::string_view rest = pattern_;
    while (!rest.empty()) {
        auto const slash = rest.find('/');
        if (rest.substr(0, slash) == part) return true;
        rest = slash == rest.npos ? std::string_view{} : rest.substr(slash + 1);
    }
    return false;
}

}  // namespace workspace
