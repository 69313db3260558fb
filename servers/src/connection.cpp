#include "passage.hpp"
#include "upstream.hpp"

#include <algorithm>

// What a server says and asks of its own accord: passed to the call that it belongs to, noted, or looked into. Nothing is
// looked at once its connection is over.
namespace servers {

using mcp::Json;

Task<Json> Connection::ask(mcp::Question question) {
    auto const owner = owner_.lock();
    if (!owner) throw mcp::RpcException({-32603, "the connection is over", nullptr});
    if (question.method == "roots/list" && (owner->own_roots() || owner->passages.empty()))
        co_return owner->roots();
    for (;;) {
        auto const passage = asked_for(question.method);
        try {
            co_return co_await passage->question(question);
        } catch (PassageOver const&) {  // it was another call's: look again
        }
    }
}

/// On stdio a question names no call. With one in flight it is that one's; of several that belong to the same
/// person the latest is asked whose client can answer. Calls of different people are never mixed.
std::shared_ptr<Passage> Connection::asked_for(std::string const& method) const {
    auto const owner = owner_.lock();
    if (!owner || owner->passages.empty())
        throw mcp::RpcException({-32603, "no call is in flight that this could be asked for", nullptr});
    auto const& flying = owner->passages;
    for (auto const* passage : flying)
        if (passage->principal() != flying.back()->principal())
            throw mcp::RpcException(
                {-32603, "calls of several callers are in flight, and this question names none of them", nullptr});
    auto const able = std::find_if(flying.rbegin(), flying.rend(),
                                   [&](Passage const* passage) { return passage->can_answer(method); });
    return (able == flying.rend() ? flying.back() : *able)->shared_from_this();
}

void Connection::log(mcp::LogMessage message) {
    auto const owner = owner_.lock();
    if (!owner || over) return;
    if (owner->passages.size() == 1) return owner->passages.front()->log(std::move(message));
    owner->redactor().apply(message.data);
    owner->log().append(base::dump(message.data).substr(0, 4096) + "\n");
}

void Connection::tools_changed() {
    auto const owner = owner_.lock();
    if (!owner || over || owner->connection_.get() != this) return;
    asio::co_spawn(owner->around_.io, owner->learn_again(owner->connection_), asio::detached);
}
void Connection::prompts_changed() { tools_changed(); }
void Connection::resources_changed() { tools_changed(); }

void Connection::resource_updated(std::string uri) {
    if (auto const owner = owner_.lock(); owner && !over)
        owner->around_.updated(*owner, public_uri(owner->entry().name, uri));
}

void Connection::elicitation_completed(std::string elicitation_id) {
    auto const owner = owner_.lock();
    if (!owner || over) return;
    auto& open = owner->completions_;
    auto const found = std::find_if(open.begin(), open.end(), [&](auto const& one) { return one.first == elicitation_id; });
    if (found == open.end()) return;
    auto const tell = std::move(found->second);
    open.erase(found);
    tell(std::move(elicitation_id));
}

void Connection::tool_dropped(std::string name, std::string reason) {
    if (auto const owner = owner_.lock())
        owner->log().note("tool " + name.substr(0, 128) + " is left out: " + reason);
}

void Connection::failed(std::string reason) {
    if (auto const owner = owner_.lock(); owner && !over) owner->connection_failed(*this, std::move(reason));
}

}  // namespace servers
