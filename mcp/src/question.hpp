#pragma once
#include "rpc.hpp"

#include <vector>

namespace mcp {

/// Thrown by a modern Call::ask whose answers the request does not carry. Deliberately no std::exception: a
/// handler's `catch (std::exception const&)` must not turn a question into a failure.
struct InputRequired {
    std::vector<Question> questions;  ///< those still open
    Json state;
};

/// The part of ClientCapabilities that these questions need and the client did not declare; null when none is
/// missing.
Json missing_capabilities(std::vector<Question> const&, Json const& declared);
/// The form of {key: {method, params}} that inputRequests has.
Json input_requests(std::vector<Question> const&);
/// errors: RpcException -32602 when `answer` is no result of `method`.
void check_answer(std::string const& method, Json const& answer);
/// errors: RpcException -32602 unless it is an object of objects. Null counts as none.
void check_answers(Json const& input_responses);

}  // namespace mcp
