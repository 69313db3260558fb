#include <config/listen.hpp>

#include <base/asio.hpp>

#include <charconv>

namespace config {
namespace {

bool is_v6(std::string_view text) {
    boost::system::error_code ec;
    asio::ip::make_address_v6(std::string(text), ec);
    return !ec;
}

}  // namespace

base::Result<ListenAddress> parse_listen(std::string_view text) {
    auto const wrong = [&](char const* what) {
        return base::error(base::errc::invalid, std::string("expected ") + what + ", not \"" + std::string(text.substr(0, 60)) + "\"");
    };
    constexpr char const* kForm = "ADDR:PORT such as 127.0.0.1:7777 or [::1]:7777";
    // Addresses are read as C strings further down, which would end there.
    if (text.find('\0') != text.npos) return wrong(kForm);
    bool const bracketed = text.starts_with('[');
    auto const end = bracketed ? text.find(']') : text.find(':');
    if (end == text.npos) return wrong(kForm);
    auto const host = bracketed ? text.substr(1, end - 1) : text.substr(0, end);
    auto rest = text.substr(bracketed ? end + 1 : end);
    if (!rest.starts_with(':')) return wrong(kForm);
    rest.remove_prefix(1);
    // "::1:7777" is an address as well as one with a port.
    if (!bracketed && (is_v6(text) || is_v6(text.substr(0, text.rfind(':')))))
        return wrong("an IPv6 address in brackets such as [::1]:7777");

    ListenAddress out;
    boost::system::error_code ec;
    if (bracketed) out.address = asio::ip::make_address_v6(std::string(host), ec).to_string();
    else if (host == "localhost") out.address = "127.0.0.1";
    else out.address = asio::ip::make_address_v4(std::string(host), ec).to_string();
    if (ec) return wrong(kForm);
    auto const [stopped, failed] = std::from_chars(rest.data(), rest.data() + rest.size(), out.port);
    if (failed != std::errc{} || stopped != rest.data() + rest.size()) return wrong("a port from 0 to 65535 behind the address");
    return out;
}

bool is_loopback(std::string_view text) {
    if (text == "localhost") return true;
    if (text.find('\0') != text.npos) return false;
    boost::system::error_code ec;
    auto const address = asio::ip::make_address(std::string(text), ec);
    if (ec) return false;
    if (address.is_v6() && address.to_v6().is_v4_mapped())
        return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6()).is_loopback();
    return address.is_loopback();
}

}  // namespace config
