#include "check.hpp"

#include <egress/address.hpp>
#include <egress/request.hpp>
#include <sandbox/egress.hpp>

#include <cstdint>

using namespace sandbox;

namespace {

void policy(std::string const& text) {
    auto const parsed = EgressPolicy::parse({text});
    if (!parsed) return;
    FUZZ_CHECK(parsed->rules.size() == 1);
    auto const& rule = parsed->rules[0];
    if (rule.subdomains) {
        FUZZ_CHECK(!parsed->allows("127.0.0.1", rule.port ? rule.port : 443));
        FUZZ_CHECK(!parsed->allows("[::1]", rule.port ? rule.port : 443));
    } else {
        FUZZ_CHECK(parsed->allows(rule.host, rule.port ? rule.port : 443));
        FUZZ_CHECK(!parsed->allows("sub." + rule.host, rule.port ? rule.port : 443));
    }
}

void request(std::string_view head) {
    auto const parsed = egress::parse_request(head);
    if (!parsed) return;
    FUZZ_CHECK(parsed->port >= 1 && parsed->port <= 65535);
    auto const name = egress::canonical_name(parsed->host);
    FUZZ_CHECK(name == parsed->host || egress::canonical_literal(parsed->host) == parsed->host);
    if (parsed->connect) return;
    // What goes on is one head, and says the same to its next reader.
    FUZZ_CHECK(parsed->head.find("\r\n\r\n") == parsed->head.size() - 4);
    auto const target = parsed->head.find(' ') + 1;
    auto again_text = parsed->head;
    bool const v6 = parsed->host.find(':') != std::string::npos;
    again_text.insert(target, "http://" + (v6 ? "[" + parsed->host + "]" : parsed->host) + ":" + std::to_string(parsed->port));
    if (again_text.size() > egress::kMaxHead) return;
    auto const again = egress::parse_request(again_text);
    FUZZ_CHECK(again.has_value());
    FUZZ_CHECK(again->head == parsed->head);
    FUZZ_CHECK(again->chunked == parsed->chunked && again->content_length == parsed->content_length);
}

// However the bytes are cut, the body ends at the same place.
void body(std::string_view bytes) {
    egress::Request chunked;
    chunked.chunked = true;
    egress::Body whole(chunked), single(chunked);
    auto const taken = whole.take(bytes);
    FUZZ_CHECK(taken <= bytes.size());
    std::size_t one_by_one = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) one_by_one += single.take(bytes.substr(i, 1));
    FUZZ_CHECK(one_by_one == taken && single.done() == whole.done() && single.bad() == whole.bad());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    std::string const text(reinterpret_cast<char const*>(data), size);
    policy(text);
    request(text);
    body(text);
    return 0;
}
