#include "seal.hpp"

#include <base/hash.hpp>
#include <base/ids.hpp>

#include <chrono>

namespace mcp {
namespace {

constexpr std::string_view kPrefix = "v1.";

std::int64_t unix_ms() {
    using namespace std::chrono;
    return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

}  // namespace

Seal::Seal(std::string key) : key_(key.empty() ? base::random_bytes(32) : std::move(key)) {}

std::string Seal::mac(std::string_view purpose, std::string_view binding, std::string_view body) const {
    // Fixed-length digests between the parts: no two different triples make the same bytes.
    std::string text = base::sha256_hex(purpose);
    text.append(base::sha256_hex(binding)).append(body);
    return base::base64url_encode(base::hmac_sha256(key_, text));
}

std::string Seal::close(std::string_view purpose, std::string_view binding, Json const& value,
                        base::milliseconds good_for) const {
    Json const envelope{{"e", unix_ms() + good_for.count()}, {"v", value}};
    auto body = base::base64url_encode(base::dump(envelope));
    auto const tag = mac(purpose, binding, body);
    return std::string(kPrefix) + body + '.' + tag;
}

std::optional<Json> Seal::open(std::string_view purpose, std::string_view binding,
                               std::string_view sealed) const {
    if (!sealed.starts_with(kPrefix)) return std::nullopt;
    sealed.remove_prefix(kPrefix.size());
    auto const dot = sealed.find('.');
    if (dot == sealed.npos) return std::nullopt;
    auto const body = sealed.substr(0, dot);
    if (!base::constant_time_equal(mac(purpose, binding, body), sealed.substr(dot + 1))) return std::nullopt;
    std::string text;
    if (!base::base64url_decode(body, text)) return std::nullopt;
    auto envelope = base::parse_json(text);
    if (!envelope || (*envelope)["e"].get<std::int64_t>() < unix_ms()) return std::nullopt;
    return std::move((*envelope)["v"]);
}

}  // namespace mcp
