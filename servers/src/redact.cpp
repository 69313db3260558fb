#include "redact.hpp"

#include <base/hash.hpp>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <set>

namespace servers {
namespace {

constexpr std::size_t kLine = 12;  // shorter lines of a key are found everywhere

std::string in_url(std::string const& text) {
    static constexpr char digits[] = "0123456789ABCDEF";
    std::string out;
    for (char const c : text) {
        auto const byte = static_cast<unsigned char>(c);
        // As encodeURIComponent has it.
        if (std::isalnum(byte) || std::strchr("-_.!~*'()", c)) {
            out += c;
        } else {
            out += '%';
            out += digits[byte >> 4];
            out += digits[byte & 15];
        }
    }
    return out;
}

/// As it stands within JSON, within JSON in JSON, and in an address; and the lines of a key, which logs show one by one.
std::set<std::string> other_forms(std::string const& value) {
    std::set<std::string> out;
    auto escaped = value;
    for (int depth = 0; depth < 2; ++depth) {
        auto const text = base::dump(base::Json(base::to_utf8(escaped)));
        escaped = text.substr(1, text.size() - 2);
        out.insert(escaped);
    }
    out.insert(in_url(value));
    if (value.find('\n') != value.npos)
        for (std::size_t at = 0; at < value.size();) {
            auto const end = std::min(value.find('\n', at), value.size());
            auto const line = value.substr(at, end - at);
            if (line.size() >= kLine && !line.starts_with("-----")) out.insert(line);
            at = end + 1;
        }
    out.erase(value);
    return out;
}

}  // namespace

void Redactor::add(std::string const& name, std::string const& value) {
    if (value.size() < 8) return;  // no secret, and found everywhere
    needles_.push_back({name, base::Secret(value)});
    for (auto const& form : other_forms(value)) needles_.push_back({name, base::Secret(form)});
    // The same bytes at each of the three places in a base64 group, without the digits that neighbours decide.
    for (std::size_t shift = 0; shift < 3 && value.size() >= 12; ++shift) {
        auto text = base::base64_encode(std::string(shift, 'x') + value);
        while (text.ends_with('=')) text.pop_back();
        text = text.substr(shift ? 4 : 0);
        text.resize(text.size() - std::min<std::size_t>(text.size(), 2));
        if (text.size() >= 12) needles_.push_back({name, base::Secret(text)});
    }
}

void Redactor::sort() {
    std::stable_sort(needles_.begin(), needles_.end(), [](Needle const& a, Needle const& b) {
        return a.value.reveal().size() > b.value.reveal().size();
    });
}

Redactor::Redactor(config::ServerEntry const& entry) {
    for (auto const& [name, value] : entry.env)
        if (value.sensitive) add(name, value.value.reveal());
    for (auto const& [name, value] : entry.headers) {
        if (!value.sensitive) continue;
        auto const& text = value.value.reveal();
        auto const space = text.find(' ');  // "Bearer abc": the token alone is as secret
        add(name, space == text.npos || text.size() - space < 9 ? text : text.substr(space + 1));
    }
    add("oauth.clientSecret", entry.oauth.client_secret.value.reveal());
    for (auto const& [name, value] : entry.outside)
        if (value.sensitive) add(name.starts_with("file:") ? "file" : name, value.value.reveal());  // not where it lies
    sort();
}

void Redactor::hide(std::string const& name, base::Secret const& value) {
    add(name, value.reveal());
    sort();
}

std::size_t Redactor::replace(std::string& text) const {
    std::size_t count = 0;
    for (auto const& needle : needles_) {
        auto const& value = needle.value.reveal();
        auto const mark = "[redacted: " + needle.name + "]";
        auto at = text.find(value);
        if (at == text.npos) continue;
        std::string out;
        std::size_t from = 0;
        for (; at != text.npos; at = text.find(value, from)) {
            out.append(text, from, at - from).append(mark);
            from = at + value.size();
            ++count;
        }
        text = std::move(out.append(text, from));
    }
    return count;
}

std::string Redactor::text(std::string text) const {
    replace(text);
    return text;
}

std::size_t Redactor::apply(base::Json& value) const {
    if (needles_.empty()) return 0;
    std::size_t count = 0;
    if (value.is_string()) {
        count += replace(value.get_ref<std::string&>());
    } else if (value.is_array()) {
        for (auto& item : value) count += apply(item);
    } else if (value.is_object()) {
        std::vector<std::string> keys;
        for (auto const& [key, item] : value.items()) {
            auto copy = key;
            if (replace(copy) > 0) keys.push_back(key);
        }
        for (auto const& key : keys) {
            auto item = std::move(value[key]);
            value.erase(key);
            value[text(key)] = std::move(item);
            ++count;
        }
        for (auto& [key, item] : value.items()) count += apply(item);
    }
    return count;
}

}  // namespace servers
