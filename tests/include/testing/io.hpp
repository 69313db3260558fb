#pragma once
#include <base/asio.hpp>
#include <base/blocking.hpp>

#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>

namespace testing_support {

/// An io_context and a pool; `run` drives one coroutine to its end, however long its own limits allow, at most a minute.
struct Io {
    asio::io_context context{1};
    base::BlockingPool pool{2};

    template <class T>
    T run(base::Task<T> task) {
        std::optional<T> result;
        std::exception_ptr thrown;
        asio::co_spawn(context, std::move(task), [&](std::exception_ptr e, T value) {
            thrown = e;
            if (!e) result.emplace(std::move(value));
        });
        drive([&] { return result || thrown; });
        if (thrown) std::rethrow_exception(thrown);
        return std::move(*result);
    }
    void run(base::Task<void> task) {
        bool done = false;
        std::exception_ptr thrown;
        asio::co_spawn(context, std::move(task), [&](std::exception_ptr e) { thrown = e; done = true; });
        drive([&] { return done; });
        if (thrown) std::rethrow_exception(thrown);
    }

  private:
    template <class Done>
    void drive(Done done) {
        context.restart();
        auto const end = base::Clock::now() + std::chrono::minutes(1);
        while (!done()) {
            if (base::Clock::now() > end) throw std::runtime_error("the task did not end within a minute");
            context.run_one_for(std::chrono::seconds(1));
        }
    }
};

/// A directory of its own below the system's temporary one, removed with the object.
struct TemporaryDirectory {
    TemporaryDirectory() {
        std::string pattern = (std::filesystem::temp_directory_path() / "berth-test-XXXXXX").string();
        if (!::mkdtemp(pattern.data())) throw std::runtime_error("mkdtemp failed");
        path = pattern;
    }
    TemporaryDirectory(TemporaryDirectory const&) = delete;
    TemporaryDirectory& operator=(TemporaryDirectory const&) = delete;
    ~TemporaryDirectory() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
    std::string path;
};

}  // namespace testing_support
