#include "../reach.hpp"
#include "../templates.hpp"
#include "commands.hpp"

#include <http/tls_check.hpp>

#include <cstdio>
#include <filesystem>

namespace host {

namespace {

sandbox::Options what_is_looked_at(Options const& o, config::Settings const& settings) {
    sandbox::Options options;
    options.directory = std::filesystem::absolute(o.data).string();
    options.guest_binary = beside_us("berth-guest");
    options.native.allowed = settings.native.allow;
    options.native.program = beside_us("berth-contain");
    options.templates = templates_in(settings.templates_dir);
    // Those that are wanted and missing are named as well.
    auto const wanted = [&](std::string const& name) {
        options.templates.try_emplace(name, sandbox::Template{name, settings.templates_dir + "/" + name + "/rootfs", ""});
    };
    wanted(settings.default_template);
    for (auto const& [name, pool] : settings.pools) {
        if (settings.given("pools." + name)) wanted(name);
        options.pool[name] = {pool.ready, pool.awake};
    }
    for (auto const& name : settings.native.templates) wanted(name);
    return options;
}

/// What only the configuration can have wrong: its names, its certificates, who is admitted.
std::vector<sandbox::Finding> look_at(config::Settings const& settings) {
    std::vector<sandbox::Finding> out;
    auto const say = [&](std::string name, base::Status const& status, std::string good) {
        out.push_back({std::move(name), status.has_value(), status ? std::move(good) : status.error().message(), ""});
    };
    say("configuration", check_templates(settings, templates_in(settings.templates_dir)),
        settings.file.empty() ? "the defaults" : settings.file);
    auto const pair = [&](std::string const& section, std::string const& certificate, std::string const& key) {
        if (!certificate.empty()) say(section + " certificate", http::check_tls({certificate, key}), certificate);
    };
    pair("listen", settings.listen.tls_certificate, settings.listen.tls_key);
    pair("previews", settings.previews.tls_certificate, settings.previews.tls_key);
    if (auto const warning = unreachable(settings.listen); !warning.empty())
        out.push_back({"listen.hosts", false, "no client beyond this machine is admitted", warning});
    return out;
}

/// A machine without a browser lacks nothing that berth needs; one whose browser does not start is worth a look.
base::Task<sandbox::Finding> look_at_browser(asio::io_context& io, base::BlockingPool& pool, std::string directory) {
    auto options = browser_options(std::move(directory), beside_us("berth-jail"));
    sandbox::Finding out{"browser", true, "", ""};
    if (options.program.empty()) {
        out.detail = "none: preview_check gives status and title, without console and screenshot (install chromium)";
        co_return out;
    }
    auto const program = options.program;
    preview::Browser browser(io, pool, std::move(options));
    auto const version = co_await browser.version();
    out.ok = version.has_value();
    out.detail = version ? *version + " (" + program + "), in a jail" : version.error().message();
    if (!version) out.hint = "preview_check gives status and title alone until it starts";
    co_return out;
}

}  // namespace

int doctor(Options const& o, config::Settings const& settings) {
    asio::io_context io{1};
    auto const options = what_is_looked_at(o, settings);
    bool good = true;
    base::BlockingPool pool(1);
    auto all = [&]() -> base::Task<std::vector<sandbox::Finding>> {
        auto findings = co_await sandbox::examine(options);
        for (auto& found : look_at(settings)) findings.push_back(std::move(found));
        auto browser = co_await look_at_browser(io, pool, options.directory + "/doctor");
        findings.push_back(std::move(browser));
        co_return findings;
    };
    asio::co_spawn(io, all(),
                   [&](std::exception_ptr e, std::vector<sandbox::Finding> findings) {
                       if (e) std::rethrow_exception(e);
                       for (auto const& f : findings) {
                           std::printf("%-4s %-24s %s\n", f.ok ? "ok" : "MISS", f.name.c_str(),
                                       f.detail.c_str());
                           if (!f.ok && !f.hint.empty())
                               std::printf("     %-24s -> %s\n", "", f.hint.c_str());
                           good = good && f.ok;
                       }
                   });
    io.run();
    return good ? 0 : 1;
}

}  // namespace host
