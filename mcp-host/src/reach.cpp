#include "reach.hpp"

#include <config/listen.hpp>

namespace host {

using config::is_loopback;

std::vector<std::string> admitted_hosts(config::Settings::Listen const& listen) {
    auto hosts = listen.hosts;
    if (!listen.url.empty()) hosts.push_back(config::url_host(listen.url));
    for (auto const* own : {"localhost", "127.0.0.1", "[::1]"}) hosts.push_back(own);
    return hosts;
}

std::string own_url(config::Settings::Listen const& listen, std::uint16_t port) {
    bool const named = !is_loopback(listen.address) && !listen.hosts.empty();
    auto host = named ? listen.hosts.front() : listen.address;
    if (!named && host.find(':') != host.npos) host = "[" + host + "]";
    return (listen.tls_certificate.empty() ? "http://" : "https://") + host + ":" + std::to_string(port);
}

std::string public_url(config::Settings::Listen const& listen, std::uint16_t port) {
    return listen.url.empty() ? own_url(listen, port) : listen.url;
}

std::string unreachable(config::Settings::Listen const& listen) {
    if (is_loopback(listen.address) || !listen.hosts.empty() || !listen.url.empty()) return {};
    bool const any = listen.address == "0.0.0.0" || listen.address == "::";
    auto const v6 = listen.address.find(':') != listen.address.npos;
    auto const name = any ? "tools.example.com" : v6 ? "\"[" + listen.address + "]\"" : listen.address;
    return "every client beyond this machine will be refused (403, host not allowed): write the names by which they reach "
           "the server into berth.yaml, for example  listen: {hosts: [" +
           name + "]}  or, behind a proxy,  listen: {url: https://tools.example.com}";
}

}  // namespace host
