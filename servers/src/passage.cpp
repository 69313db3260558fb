#include "passage.hpp"

#include <base/ids.hpp>

#include <algorithm>

namespace servers {
namespace {

using mcp::Json;

constexpr base::milliseconds kLookAround{1'000};
constexpr std::size_t kMaxOpenQuestions = 16;

/// What this client can be asked, of what servers may ask at all.
Json capabilities_of(mcp::Call const& call, bool own_roots) {
    Json out = Json::object();
    auto const& has = call.client_capabilities();
    for (auto const* name : {"elicitation", "sampling", "roots"})
        if (auto const it = has.find(name); it != has.end()) out[name] = *it;
    if (own_roots) out["roots"] = Json::object();
    return out;
}

}  // namespace

Passage::Passage(asio::io_context& io, std::shared_ptr<Upstream> upstream,
                 std::shared_ptr<Connection> connection, Upstream::Turn turn, std::string principal,
                 std::string what)
    : io_(io),
      upstream_(std::move(upstream)),
      connection_(std::move(connection)),
      turn_(std::move(turn)),
      principal_(std::move(principal)),
      what_(std::move(what)),
      id_(base::random_id()),
      changed_(io.get_executor()) {
    upstream_->passages.push_back(this);
}

Passage::~Passage() { std::erase(upstream_->passages, this); }

void Passage::begin(Run run, mcp::Call& call) {
    mcp::CallOptions options;
    options.limit = upstream_->entry().call_timeout;
    can_answer_ = capabilities_of(call, upstream_->own_roots());
    options.capabilities = can_answer_;
    options.meta = call.meta();
    log_level_ = std::min(call.log_level().value_or(mcp::LogLevel::info), mcp::LogLevel::info);
    options.log_level = log_level_;
    auto const weak = weak_from_this();
    if (call.wants_progress())
        options.on_progress = [weak](mcp::Progress p) {
            auto const self = weak.lock();
            if (self && self->call_)
                self->call_->progress(p.progress, p.total, self->upstream_->redactor().text(p.message));
        };
    options.on_log = [weak](mcp::LogMessage message) {
        if (auto const self = weak.lock()) self->log(std::move(message));
    };
    options.on_question = [weak](mcp::Question asked) -> Task<Json> {
        auto const self = weak.lock();
        if (!self) throw mcp::RpcException({-32603, "the call is over", nullptr});
        try {
            co_return co_await self->question(std::move(asked));
        } catch (PassageOver const& over) {
            throw mcp::RpcException({-32603, over.what(), nullptr});
        }
    };
    call_ = &call;
    asio::co_spawn(
        io_, travel(shared_from_this(), std::move(run), std::move(options)),
        asio::bind_cancellation_slot(cancel_.slot(), [self = shared_from_this()](std::exception_ptr) {}));
}

Task<void> Passage::travel(std::shared_ptr<Passage> self, Run run, mcp::CallOptions options) {
    co_await asio::post(self->io_,
                        asio::use_awaitable);  // a coroutine with a slot may not end before it was suspended
    try {
        co_await self->upstream_->tune_log(self->connection_);
        self->upstream_->call_begins(*self->connection_, self->principal_);
        auto outcome = co_await run(*self->connection_->client, std::move(options));
        self->outcome_.emplace(std::move(outcome));
    } catch (std::exception const& e) {
        self->outcome_.emplace(mcp::failure(base::errc::cancelled, "the call was cancelled", true));
    }
    self->turn_.reset();
    std::erase(self->upstream_->passages, self.get());
    self->changed_.notify();
}

void Passage::cancel() {
    if (std::exchange(cancelled_, true)) return;
    cancel_.emit(asio::cancellation_type::terminal);
}

void Passage::log(mcp::LogMessage message) {
    auto const& redactor = upstream_->redactor();
    redactor.apply(message.data);
    if (call_)
        call_->log(message.level,
                   upstream_->entry().name + (message.logger.empty() ? "" : "/" + redactor.text(message.logger)),
                   message.data);
}

bool Passage::can_answer(std::string const& method) const {
    auto const capability = method.substr(0, method.find('/'));
    return can_answer_.is_object() && can_answer_.contains(capability);
}

Task<Json> Passage::question(mcp::Question asked) {
    auto const self = shared_from_this();
    if (asked.method == "roots/list" && upstream_->own_roots()) co_return upstream_->roots();
    if (open_.size() >= kMaxOpenQuestions)
        throw mcp::RpcException({-32603, "too many questions are open", nullptr});
    auto const entry = std::make_shared<Asked>();
    entry->question = std::move(asked);
    entry->question.key = "q" + std::to_string(++asked_);
    upstream_->redactor().apply(entry->question.params);
    open_.push_back(entry);
    struct Leave {
        std::vector<std::shared_ptr<Asked>>& open;
        std::shared_ptr<Asked> entry;
        ~Leave() { std::erase(open, entry); }
    } const leave{open_, entry};
    changed_.notify();
    while (!entry->answer && !entry->refusal) {
        if (outcome_) throw PassageOver();
        co_await changed_.wait(kLookAround);
    }
    if (entry->refusal) throw mcp::RpcException(*entry->refusal);
    co_return std::move(*entry->answer);
}

Task<mcp::Outcome<Json>> Passage::ride(mcp::Call& call, ParkedCalls& parked) {
    auto const self = shared_from_this();
    // Whoever leaves before the end either comes back (parked) or takes the call with them.
    struct Ride {
        Passage& passage;
        bool over = false, waits = false;
        Ride(Passage& p, mcp::Call& c) : passage(p) { passage.call_ = &c; }
        Ride(Ride const&) = delete;
        Ride& operator=(Ride const&) = delete;
        ~Ride() {
            passage.call_ = nullptr;
            if (!over && !waits) passage.cancel();
        }
    } ride(*this, call);

    for (;;) {
        if (outcome_) {
            ride.over = true;
            parked.remove(id_);
            co_return std::move(*outcome_);
        }
        std::vector<std::shared_ptr<Asked>> asking;
        std::vector<mcp::Question> questions;
        for (auto const& entry : open_)
            if (!entry->answer && !entry->refusal)
                asking.push_back(entry), questions.push_back(entry->question);
        if (questions.empty()) {
            co_await changed_.wait(kLookAround);
            continue;
        }
        Json state{{"passage", id_}};
        std::map<std::string, Json> answers;
        std::optional<mcp::RpcError> refusal;
        if (!parked.put(self)) refusal = mcp::RpcError{-32603, "too many calls wait for answers", nullptr};
        ride.waits = !refusal;
        if (!refusal) {
            try {
                for (auto const& question : questions)
                    if (question.method == "elicitation/create") upstream_->expect_completion(question.params, call);
                answers = co_await call.ask(std::move(questions), std::move(state));
            } catch (mcp::RpcException const& e) {
                refusal = e.error;
            } catch (std::exception const&) {
                ride.waits = false;
                parked.remove(id_);
                throw;
            }
        }
        ride.waits = false;
        parked.remove(id_);
        for (auto const& entry : asking) {
            auto const it = answers.find(entry->question.key);
            if (it != answers.end())
                entry->answer = std::move(it->second);
            else
                entry->refusal = refusal.value_or(mcp::RpcError{-32603, "not answered", nullptr});
        }
        changed_.notify();
    }
}

bool ParkedCalls::put(std::shared_ptr<Passage> passage) {
    auto const id = passage->id();
    if (calls_.size() >= kMax && !calls_.contains(id)) return false;
    calls_[id] = {std::move(passage), base::Clock::now() + kPatience};
    return true;
}

std::shared_ptr<Passage> ParkedCalls::find(std::string const& id) const {
    auto const it = calls_.find(id);
    return it == calls_.end() ? nullptr : it->second.passage;
}

void ParkedCalls::sweep() {
    auto const now = base::Clock::now();
    for (auto it = calls_.begin(); it != calls_.end();) {
        if (it->second.until > now) {
            ++it;
            continue;
        }
        it->second.passage->cancel();
        it = calls_.erase(it);
    }
}

void ParkedCalls::cancel_all() {
    for (auto const& [id, entry] : std::exchange(calls_, {})) entry.passage->cancel();
}

}  // namespace servers
