#pragma once
#include "headers.hpp"
#include "pages.hpp"
#include "traffic.hpp"

namespace preview {

/// One request that was let in, on its way to a program and back.
struct Proxied {
    http::Exchange& visitor;
    Passage& passage;
    Options const& options;
    std::string target;  ///< without our link
    Forwarded forwarded;
    std::string cookie;        ///< Set-Cookie of ours for the answer, or ""
    std::string sibling;       ///< origin of the page that asks, when it is of this workspace: reads what we say
    bool sees_output = false;  ///< let in by a credential: may read what a crashed program wrote
    std::unique_ptr<Awake> awake;  ///< given up when what is left of the exchange keeps nothing awake

    /// Sends it to `port` and the answer back, or a page that says why there is none. With `awake`.
    base::Task<void> run(std::shared_ptr<http::Client> client, int port);
    base::Task<void> answer(Problem problem);

  private:
    base::Task<std::optional<http::Client::Taken>> connected(http::Client&, int port, bool may_reuse);
    base::Task<bool> send_body(http::ClientConnection&, std::string first);
    base::Task<bool> send_answer(std::shared_ptr<http::ClientConnection>, bool may_repeat);
    base::Task<bool> pass_answer(std::shared_ptr<http::ClientConnection>, bool may_repeat);
    base::Task<void> tunnel(http::ClientConnection&, http::ResponseHead);
    base::Task<void> carry(base::ByteStream& from, base::ByteStream& to, std::uint64_t& count);
};

}  // namespace preview
