#include "line_io.hpp"

#include <base/syscalls.hpp>

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>

namespace mcp {
namespace {

constexpr std::size_t kReadBytes = 64 * 1024;
constexpr std::size_t kMaxQueued =
    8 << 20;  // notifications beyond it are dropped, and no further request is read

// Not for regular files and /dev/null. Asio accepts those all the same, and then throws when it registers everything
// anew after a fork.
bool pollable(int fd) {
    base::UniqueFd const epoll(::epoll_create1(EPOLL_CLOEXEC));
    epoll_event event{};
    return epoll && ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

}  // namespace

Descriptor::Descriptor(asio::any_io_executor executor, int fd) : polled_(std::move(executor)), borrowed_(fd) {
    flags_ = ::fcntl(fd, F_GETFL);
    int const own = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (own < 0) return;
    if (!pollable(own)) {
        direct_.reset(own);
        return;
    }
    boost::system::error_code ec;
    polled_.assign(own, ec);
    if (ec) direct_.reset(own);
}

Descriptor::~Descriptor() {
    if (flags_ >= 0) ::fcntl(borrowed_, F_SETFL, flags_);
}

Task<std::pair<boost::system::error_code, std::size_t>> Descriptor::read_some(asio::mutable_buffer buffer) {
    if (!direct_) {
        auto const [ec, n] = co_await polled_.async_read_some(buffer, base::as_tuple);
        co_return std::pair(ec, n);
    }
    ssize_t n = 0;
    do n = ::read(direct_.get(), buffer.data(), buffer.size());
    while (n < 0 && errno == EINTR);
    boost::system::error_code ec;
    if (n < 0) ec.assign(errno, boost::system::system_category());
    if (n == 0) ec = asio::error::eof;
    co_return std::pair(ec, n > 0 ? static_cast<std::size_t>(n) : 0);
}

Task<boost::system::error_code> Descriptor::write_all(std::string const& bytes) {
    if (!direct_) {
        auto const [ec, n] = co_await asio::async_write(polled_, asio::buffer(bytes), base::as_tuple);
        co_return ec;
    }
    auto const written = base::sys::write_all(direct_.get(), bytes, "output");
    co_return written ? boost::system::error_code{} : written.error().code;
}

Task<LineReader::Line> LineReader::next() {
    for (;;) {
        if (auto const end = buffer_.find('\n', searched_); end != buffer_.npos) {
            Line line{Kind::line, buffer_.substr(begin_, end - begin_)};
            begin_ = searched_ = end + 1;
            if (std::exchange(skipping_, false)) continue;  // its end, told already
            if (line.text.size() > max_) co_return Line{Kind::too_long, {}};
            co_return line;
        }
        if (ended_) {
            Line rest{Kind::line, buffer_.substr(begin_)};
            buffer_.clear();
            begin_ = searched_ = 0;
            if (rest.text.empty() || std::exchange(skipping_, false)) co_return Line{};
            co_return rest;
        }
        buffer_.erase(0, begin_);
        begin_ = 0;
        if (skipping_ || buffer_.size() > max_) {
            bool const told = std::exchange(skipping_, true);
            buffer_.clear();
            searched_ = 0;
            if (!told) co_return Line{Kind::too_long, {}};
        }
        searched_ = buffer_.size();
        buffer_.resize(searched_ + kReadBytes);
        auto const [ec, n] = co_await in_.read_some(asio::buffer(buffer_.data() + searched_, kReadBytes));
        buffer_.resize(searched_ + n);
        if (ec) ended_ = true;
    }
}

LineWriter::LineWriter(asio::any_io_executor executor, int fd)
    : executor_(executor), out_(executor, fd), more_(executor), less_(executor) {}

void LineWriter::start() {
    auto done = [self = shared_from_this()](std::exception_ptr) {
        self->closed_ = true;
        self->less_.notify();
    };
    asio::co_spawn(executor_, run(shared_from_this()),
                   asio::bind_cancellation_slot(running_.signal.slot(), std::move(done)));
}

bool LineWriter::notify(std::string message) {
    if (closed_ || bytes_ > kMaxQueued) return false;
    deliver(std::move(message));
    return true;
}

void LineWriter::deliver(std::string message) {
    if (closed_) return;
    message += '\n';
    bytes_ += message.size();
    queue_.push_back(std::move(message));
    more_.notify();
}

Task<void> LineWriter::caught_up() {
    while (!closed_ && bytes_ > kMaxQueued) co_await less_.wait(std::chrono::hours(1));
}

Task<void> LineWriter::finish(base::milliseconds limit) {
    auto const end = base::Clock::now() + limit;
    while (!closed_ && (writing_ || !queue_.empty()) && base::Clock::now() < end)
        co_await less_.wait(std::chrono::duration_cast<base::milliseconds>(end - base::Clock::now()) +
                            base::milliseconds(1));
    closed_ = true;
    running_.cancel();
}

Task<void> LineWriter::run(std::shared_ptr<LineWriter> self) {
    for (;;) {
        while (!self->queue_.empty()) {
            // Small lines leave together: one system call for a burst of answers.
            std::string batch = std::move(self->queue_.front());
            self->queue_.pop_front();
            while (!self->queue_.empty() && batch.size() + self->queue_.front().size() <= kReadBytes) {
                batch += self->queue_.front();
                self->queue_.pop_front();
            }
            self->writing_ = true;
            auto const ec = co_await self->out_.write_all(batch);
            self->writing_ = false;
            self->bytes_ -= batch.size();
            self->less_.notify();
            if (ec) co_return;
        }
        co_await self->more_.wait(std::chrono::hours(1));
    }
}

}  // namespace mcp
