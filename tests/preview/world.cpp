#include "world.hpp"

namespace http_test {
std::vector<http::Route> routes(Seen& seen) {
    http::Handler handler = [&seen](http::Request, http::Reply& reply) -> Task<void> {
        ++seen.requests;
        (void)co_await reply.send(http::Status::ok, {}, "control");
    };
    return {{"/health", {http::Verb::get}, http::Access::open, 0, handler}};
}
}  // namespace http_test
