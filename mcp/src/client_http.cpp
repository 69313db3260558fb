#include "client_http.hpp"

#include <base/timeout.hpp>

namespace mcp {
namespace {

constexpr int kMaxChallenges = 3;  // a first token, a wider one, and one more in case it was just revoked
constexpr std::size_t kMaxRefusalBytes = 64 * 1024;
constexpr base::milliseconds kRefusalLimit{10'000};

}  // namespace

std::string media_type(std::string_view content_type) {
    auto type = content_type.substr(0, content_type.find(';'));
    while (type.ends_with(' ') || type.ends_with('\t')) type.remove_suffix(1);
    while (type.starts_with(' ')) type.remove_prefix(1);
    std::string out(type);
    for (auto& c : out)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return out;
}

HttpAccess::HttpAccess(asio::io_context& io, HttpServer server, http::Url url)
    : server_(std::move(server)), url_(std::move(url)), origins_(io, http::OriginsOptions()) {}

base::Result<std::shared_ptr<HttpAccess>> HttpAccess::make(asio::io_context& io, HttpServer server) {
    auto url = http::Url::parse(server.url);
    if (!url) return base::wrap(url.error(), "url");
    for (auto const& [name, value] : server.headers)
        if (name.empty() || name.find_first_of(": \r\n\t") != name.npos ||
            value.reveal().find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos)
            return base::error(base::errc::invalid, "header \"" + base::to_utf8(name) + "\" cannot be sent");
    return std::shared_ptr<HttpAccess>(new HttpAccess(io, std::move(server), std::move(*url)));
}

Task<Outcome<std::unique_ptr<http::OriginAnswer>>> HttpAccess::send(boost::beast::http::verb verb,
                                                                    http::Url url, Fields fields,
                                                                    std::string body,
                                                                    base::milliseconds head_limit,
                                                                    bool* sent) {
    for (int challenges = 0;; ++challenges) {
        http::OriginRequest request;
        request.verb = verb;
        request.url = url;
        request.body = body;
        for (auto const& [name, value] : server_.headers) request.fields.set(name, value.reveal());
        for (auto const& [name, value] : fields) request.fields.set(name, value);
        if (server_.authorization) {
            auto asking = server_.authorization->token();
            auto const token = co_await std::move(asking);
            if (!token) co_return Failure{token.error(), std::nullopt, false};
            if (!token->reveal().empty()) request.fields.set("Authorization", "Bearer " + token->reveal());
        }
        bool left = false;
        auto sending = origins_.send(std::move(request), head_limit, &left);
        auto answer = co_await std::move(sending);
        if (sent) *sent = left;
        if (!answer) co_return Failure{answer.error(), std::nullopt, left};
        auto const status = (*answer)->status;
        if (status != 401 && status != 403) co_return std::move(*answer);
        std::string const challenge((*answer)->field("WWW-Authenticate"));
        bool better = false;
        if (server_.authorization && challenges < kMaxChallenges) {
            auto ignored = (*answer)->all(kMaxRefusalBytes, kRefusalLimit);
            co_await std::move(ignored);
            answer->reset();
            auto asking = server_.authorization->challenged(static_cast<int>(status), challenge);
            auto const challenged = co_await std::move(asking);
            if (!challenged) co_return Failure{challenged.error(), std::nullopt, false};
            better = *challenged;
        }
        if (!better)
            co_return failure(base::errc::denied, url.origin() + " answered HTTP " + std::to_string(status) +
                                                      (status == 401 ? ": it wants credentials"
                                                                     : ": it refuses these credentials"));
    }
}

}  // namespace mcp
