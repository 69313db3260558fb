#pragma once
#include "devtools.hpp"

#include <preview/browser.hpp>
#include <set>

namespace preview {

/// One page in a browser: what happens there, kept within bounds. Events come in through `happened`, from
/// DevTools.
class PageVisit {
  public:
    static constexpr unsigned kWidth = 1024, kHeight = 640;

    PageVisit(DevTools& tools, std::string origin) : tools_(tools), origin_(std::move(origin)) {}

    /// Goes there, waits until it has settled or takes too long, and looks. What goes wrong with the page is
    /// a note of the result; an error is the browser's own.
    base::Task<base::Result<Sight>> look(std::string url, bool picture);
    void happened(std::string const& method, base::Json const& params);

  private:
    base::Task<base::Status> open();
    base::Task<void> settle(base::Clock::time_point until);
    base::Task<void> read();
    base::Task<void> photograph();
    bool busy() const { return !in_flight_.empty(); }
    void note(std::string text);
    std::string place(std::string_view url) const;  ///< a URL without this preview's own origin and our link
    void on_request(base::Json const&);
    void on_response(base::Json const&);
    void on_failure(base::Json const&);
    void on_console(base::Json const&);
    void on_exception(base::Json const&);
    void on_dialog(base::Json const&);
    void add(std::vector<Said>&, Said);
    void failed(std::string const& request, std::string reason);

    struct Request {
        std::string method, url;
        bool reported = false;
    };

    DevTools& tools_;
    std::string origin_, frame_, target_;
    Sight sight_;
    std::map<std::string, Request> requests_;
    std::set<std::string> in_flight_;
    base::Clock::time_point last_event_{}, loaded_at_{};
    std::size_t events_ = 0, left_out_ = 0;
    int dialogs_ = 0;
    bool crashed_ = false, muted_ = false;
};

}  // namespace preview
