#include "client_lines.hpp"

#include <base/timeout.hpp>

#include <sys/socket.h>

#include <algorithm>
#include <cstring>

namespace mcp {
namespace {

constexpr std::size_t kChunk = 64 * 1024, kKept = 1 << 20;
constexpr base::milliseconds kLastWords{1'000};  // for the reader to find out why the writer cannot write

class LinesLink final : public Link {
  public:
    LinesLink(ClientCore& core, std::unique_ptr<base::ByteStream> stream)
        : core_(core),
          stream_(std::move(stream)),
          more_(core.executor),
          less_(core.executor),
          ended_(core.executor) {}

    base::Status start() override {
        core_.spawn(read(core_.shared_from_this(), *this));
        core_.spawn(write(core_.shared_from_this(), *this));
        return {};
    }
    base::Status send(std::shared_ptr<Pending> request, Outgoing out) override {
        if (bytes_ + out.text.size() > core_.options.max_queued_bytes)
            return base::error(base::errc::busy, "the server does not read: " + std::to_string(bytes_) +
                                                     " bytes wait for it; try again later");
        request->sent = true;
        push(std::move(out.text));
        return {};
    }
    Task<void> say(Outgoing out) override {
        push(std::move(out.text));
        co_return;
    }
    void abandon(Pending& request, std::string why) override {
        if (request.method == "initialize") return;  // which may not be cancelled
        Json params{{"requestId", request.id}, {"reason", std::move(why)}};
        push(notification_text("notifications/cancelled", params));
    }
    void stop() override { stream_->close(); }
    Task<void> close() override {
        auto const end = base::Clock::now() + core_.options.close_limit;
        auto const left = [end] {
            return std::max(base::milliseconds(0),
                            std::chrono::duration_cast<base::milliseconds>(end - base::Clock::now()));
        };
        while (!over_ && (writing_ || !queue_.empty()) && left().count() > 0) co_await less_.wait(left());
        stream_->shutdown_write();
        while (!over_ && left().count() > 0) co_await ended_.wait(left());
    }
    bool http() const override { return false; }

  private:
    void push(std::string line) {
        // Short ones of our own (cancellations, answers) come on top of the bound; when even they pile up,
        // nobody reads.
        if (bytes_ > 2 * core_.options.max_queued_bytes)
            return core_.fail("the server does not read what it is sent");
        line += '\n';
        bytes_ += line.size();
        queue_.push_back(std::move(line));
        more_.notify();
    }

    static Task<void> read(std::shared_ptr<ClientCore> core, LinesLink& self) {
        auto reading = self.read_lines(*core);
        auto const why = co_await std::move(reading);
        self.over_ = true;
        self.ended_.notify();
        self.less_.notify();
        core->fail(why);
    }

    /// Until it is over; says why.
    Task<std::string> read_lines(ClientCore& core) {
        std::string buffer;  // its first `filled` bytes; the rest is room, written once and not for each read
        std::size_t filled = 0, begin = 0, searched = 0;
        for (;;) {
            for (;;) {
                auto const all = std::string_view(buffer).substr(0, filled);
                auto const end = all.find('\n', searched);
                if (end == all.npos) break;
                auto line = all.substr(begin, end - begin);
                begin = searched = end + 1;
                if (line.ends_with('\r')) line.remove_suffix(1);
                auto const taken = line.empty() ? blank_line() : core.receive(line, nullptr);
                if (!taken) co_return taken.error().context;
                if (core.over) co_return core.reason;
            }
            filled -= begin;
            std::memmove(buffer.data(), buffer.data() + begin, filled);
            begin = 0;
            if (filled > core.options.max_message_bytes)
                co_return "the server wrote a line of more than " +
                    std::to_string(core.options.max_message_bytes) + " bytes";
            searched = filled;
            if (filled == 0 && buffer.size() > kKept) buffer = {};  // one long message is no reason to keep its room
            if (buffer.size() < filled + kChunk) buffer.resize(filled + std::max(filled, kChunk));
            auto const space = asio::buffer(buffer.data() + filled, buffer.size() - filled);
            auto const got = co_await stream_->read_some(space);
            if (!got) co_return "the server's output cannot be read: " + got.error().message();
            filled += *got;
            if (*got == 0)
                co_return filled == 0 ? "the server ended its output"
                                      : "the server ended its output in the middle of a message: " +
                                            excerpt(std::string_view(buffer).substr(0, filled));
        }
    }

    // Harmless one by one; not as a way to keep us busy.
    base::Status blank_line() {
        if (++blanks_ > 1000)
            return base::error(base::errc::limit, "the server wrote more than 1000 empty lines");
        return {};
    }

    static Task<void> write(std::shared_ptr<ClientCore> core, LinesLink& self) {
        for (;;) {
            while (!self.queue_.empty()) {
                std::string batch = std::move(self.queue_.front());
                self.queue_.pop_front();
                while (!self.queue_.empty() && batch.size() + self.queue_.front().size() <= kChunk) {
                    batch += self.queue_.front();
                    self.queue_.pop_front();
                }
                self.writing_ = true;
                auto const bytes = asio::buffer(batch);
                auto const written = co_await self.stream_->write(bytes);
                self.writing_ = false;
                self.bytes_ -= batch.size();
                self.less_.notify();
                if (!written) {
                    co_await base::sleep_for(kLastWords);
                    core->fail("the server takes no more input: " + written.error().message());
                    co_return;
                }
            }
            co_await self.more_.wait(std::chrono::hours(1));
        }
    }

    ClientCore& core_;  // owns us
    std::unique_ptr<base::ByteStream> stream_;
    std::deque<std::string> queue_;
    std::size_t bytes_ = 0;
    int blanks_ = 0;
    bool writing_ = false, over_ = false;
    Wake more_, less_, ended_;
};

class DescriptorStream final : public base::ByteStream {
  public:
    DescriptorStream(asio::any_io_executor executor, base::UniqueFd in, base::UniqueFd out)
        : in_(executor, in.release()), out_(executor, out.release()) {
        boost::system::error_code ignored;
        in_.non_blocking(true, ignored);
        out_.non_blocking(true, ignored);
    }
    Task<base::Result<std::size_t>> read_some(asio::mutable_buffer buffer) override {
        auto const [ec, n] = co_await in_.async_read_some(buffer, base::as_tuple);
        if (ec == asio::error::eof) co_return std::size_t{0};
        if (ec) co_return base::Error{ec, "read"};
        co_return n;
    }
    Task<base::Status> write(asio::const_buffer bytes) override {
        auto const [ec, n] = co_await asio::async_write(out_, bytes, base::as_tuple);
        if (ec) co_return base::Error{ec, "write"};
        co_return base::Status();
    }
    void shutdown_write() override {
        boost::system::error_code ignored;
        if (!out_.is_open()) return;
        ::shutdown(out_.native_handle(), SHUT_WR);  // a socket's other half may live on in `in_`
        out_.close(ignored);
    }
    void close() override {
        boost::system::error_code ignored;
        in_.close(ignored);
        out_.close(ignored);
    }

  private:
    asio::posix::stream_descriptor in_, out_;
};

}  // namespace

std::unique_ptr<Link> lines_link(ClientCore& core, std::unique_ptr<base::ByteStream> stream) {
    return std::make_unique<LinesLink>(core, std::move(stream));
}

std::unique_ptr<base::ByteStream> descriptor_stream(asio::any_io_executor executor, base::UniqueFd from_server,
                                              base::UniqueFd to_server) {
    return std::make_unique<DescriptorStream>(std::move(executor), std::move(from_server),
                                              std::move(to_server));
}

}  // namespace mcp
