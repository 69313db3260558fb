#pragma once
#include <sandbox/jail.hpp>

#include <preview/browser.hpp>

namespace preview {

/// How Chromium is started for a page on `host`:`port`, in a jail.
sandbox::Jail::Prisoner chromium_for(std::string const& program, std::string const& host, std::uint16_t port,
                                     bool tls);

/// What its last words say about why it is of no use here, or "".
std::string why_not(std::string const& words);

}  // namespace preview
