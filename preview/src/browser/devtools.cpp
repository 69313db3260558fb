#include "devtools.hpp"

#include <sys/socket.h>

namespace preview {
namespace {

using base::errc;

constexpr std::size_t kMaxMessage = 8 << 20;    // a large picture as base64
constexpr std::size_t kMaxTogether = 64 << 20;  // then the page only wants to keep us busy
constexpr std::size_t kMaxOutgoing = 256;
constexpr base::JsonLimits kJson{kMaxMessage, 200};

}  // namespace

std::shared_ptr<DevTools> DevTools::open(asio::io_context& io, base::UniqueFd wire) {
    std::shared_ptr<DevTools> tools(new DevTools(io));
    boost::system::error_code ec;
    tools->socket_.assign(asio::generic::stream_protocol(AF_UNIX, 0), wire.release(), ec);
    if (!ec) tools->socket_.non_blocking(true, ec);
    auto reading = read(tools);
    asio::co_spawn(io, std::move(reading), asio::detached);
    return tools;
}

void DevTools::close() {
    ended_ = true;
    boost::system::error_code ignored;
    socket_.close(ignored);
    for (auto const& [id, answer] : waiting_) answer->arrived.cancel();
}

int DevTools::send(std::string method, Json params) {
    int const id = ++last_id_;
    if (ended_ || outgoing_.size() >= kMaxOutgoing) return id;
    bool const of_page = !method.starts_with("Target.") && !method.starts_with("Browser.");
    Json message{{"id", id}, {"method", std::move(method)}, {"params", std::move(params)}};
    if (of_page && !session.empty()) message["sessionId"] = session;
    auto text = base::dump(message);
    text.push_back('\0');
    outgoing_.push_back(std::move(text));
    if (!std::exchange(writing_, true)) {
        auto task = write(shared_from_this());
        asio::co_spawn(io_, std::move(task), asio::detached);
    }
    return id;
}

void DevTools::post(std::string method, Json params) { (void)send(std::move(method), std::move(params)); }

base::Task<base::Result<base::Json>> DevTools::call(std::string method, Json params,
                                                    base::milliseconds limit) {
    auto const self = shared_from_this();
    auto const what = "the browser's " + method;
    auto const answer = std::make_shared<Answer>(io_);
    answer->arrived.expires_after(limit);
    int const id = send(std::move(method), std::move(params));
    waiting_[id] = answer;
    if (!ended_) (void)co_await answer->arrived.async_wait(base::as_tuple);
    waiting_.erase(id);
    if (answer->result) co_return std::move(*answer->result);
    if (ended_) co_return base::error(errc::unavailable, "the browser has ended");
    co_return base::error(errc::timed_out, what);
}

base::Task<void> DevTools::write(std::shared_ptr<DevTools> self) {
    while (!self->outgoing_.empty() && !self->ended_) {
        auto const text = std::move(self->outgoing_.front());
        self->outgoing_.pop_front();
        auto [ec, n] = co_await asio::async_write(self->socket_, asio::buffer(text), base::as_tuple);
        if (ec) self->close();
    }
    self->writing_ = false;
}

base::Task<void> DevTools::read(std::shared_ptr<DevTools> self) {
    std::string message, buffer(64 * 1024, '\0');
    bool too_long = false;
    std::size_t together = 0;
    while (!self->ended_) {
        auto [ec, n] = co_await self->socket_.async_read_some(asio::buffer(buffer), base::as_tuple);
        together += n;
        if (ec || together > kMaxTogether) break;
        std::string_view rest(buffer.data(), n);
        while (!rest.empty() && !self->ended_) {
            auto const end = rest.find('\0');
            auto const part = rest.substr(0, end);
            too_long = too_long || message.size() + part.size() > kMaxMessage;
            if (!too_long) message += part;
            if (end == rest.npos) break;
            if (!std::exchange(too_long, false)) self->take(message);
            message.clear();
            rest.remove_prefix(end + 1);
        }
    }
    self->close();
}

void DevTools::take(std::string_view message) {
    auto parsed = base::parse_json(message, kJson);
    if (!parsed || !parsed->is_object()) return close();
    auto& json = *parsed;
    auto const id = json.find("id");
    if (id == json.end()) {
        auto const method = json.find("method");
        if (method != json.end() && method->is_string() && on_event)
            on_event(method->get<std::string>(), json["params"]);
        return;
    }
    auto const at = id->is_number_integer() ? waiting_.find(id->get<int>()) : waiting_.end();
    if (at == waiting_.end()) return;
    if (json.contains("result"))
        at->second->result = std::move(json["result"]);
    else
        at->second->result =
            base::error(errc::invalid, "the browser refused: " + base::dump(json["error"]).substr(0, 300));
    at->second->arrived.cancel();
}

}  // namespace preview
