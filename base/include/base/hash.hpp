#pragma once
#include <string>
#include <string_view>

namespace base {

std::string sha256_hex(std::string_view bytes);
std::string hmac_sha256(std::string_view key, std::string_view bytes);   ///< 32 raw bytes
std::string base64_encode(std::string_view bytes);                       ///< RFC 4648, padded
/// Strict: the standard alphabet, correct padding, no white space. False when it is anything else.
bool base64_decode(std::string_view text, std::string& out);
/// The URL alphabet without padding, for opaque values in headers and paths.
std::string base64url_encode(std::string_view bytes);
bool base64url_decode(std::string_view text, std::string& out);          ///< as strict

}  // namespace base
