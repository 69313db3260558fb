#pragma once
#include <base/result.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace config {

/// The groups that tools come in, as `toolsets` and ?toolsets= name them.
inline constexpr std::array<std::string_view, 7> kToolsets{"core",    "files",  "lifecycle", "preview",
                                                           "servers", "search", "community"};
/// "core, files, ..." for messages.
std::string toolset_names();

/// Everything an operator can set, with the shipped defaults; immutable once loaded. Each key is described in docs/config.md, which a test
/// checks against `known_keys()`.
struct Settings {
    struct Listen {
        std::string address = "127.0.0.1";
        std::uint16_t port = 7777;
        std::vector<std::string> hosts;              ///< further Host names that clients use, beside the loopback ones; without port
        std::string url;                             ///< where clients reach the server, "" = as it listens
        std::vector<std::string> origins;            ///< further web origins
        std::string tls_certificate, tls_key;        ///< PEM files
        bool insecure_plain_http = false;            ///< allow a non-loopback address without TLS
    } listen;
    std::string templates_dir = "/var/lib/berth/templates";
    struct Pool {
        int ready = 8, awake = 2;                    ///< an awake that is not given is no more than ready
    };
    std::map<std::string, Pool> pools{{"base", {}}};
    std::string default_template = "base";
    struct Limits {
        std::uint64_t memory_bytes = 2ull << 30;
        double cpus = 2;
        int pids = 1024;
        std::uint64_t disk_bytes = 10ull << 30;
    } limits, max_limits{8ull << 30, 8, 4096, 100ull << 30};
    struct Native {
        bool allow = false;                                  ///< workspaces without gVisor; without it there are none
        std::vector<std::string> templates;                  ///< whose workspaces are native unless they ask for gVisor
        int ready = 0;                                       ///< booted ones kept of each of these
    } native;
    int max_workspaces = 2000, max_sandboxes = 400, max_boots = 2;
    struct Snapshots {
        int per_workspace = 10;
        std::uint64_t max_bytes = 64ull << 30;               ///< of one owner's, files and memory
        std::chrono::milliseconds max_still{60'000};         ///< of a workspace while its files are copied
    } snapshots;
    struct Idle {
        std::chrono::milliseconds freeze_after{2'000};
        std::chrono::milliseconds hibernate_after{600'000};  ///< 0 = never
        std::chrono::milliseconds stop_after{0};             ///< 0 = never
        bool keep_alive = false;
    } idle;
    struct Hibernation {
        std::uint64_t disk_bytes = 64ull << 30;              ///< of all memory images together
        std::uint64_t memory_ceiling = 0;                    ///< of all sandboxes together; 0 = 80 % of the machine's
        std::string compression = "none";                    ///< none | zstd
    } hibernation;
    struct Network {
        std::vector<std::string> max_allow{"*"};             ///< what a workspace may ask for; "*" = any public host
        std::vector<std::string> insecure_private_addresses; ///< CIDRs that the egress proxy may dial although private
    } network;
    struct Previews {
        std::string url;                             ///< "" = *.localhost on the server's port
        std::string address = "127.0.0.1";           ///< of a listener for previews alone
        std::uint16_t port = 0;                      ///< 0 = no such listener: the server's own answers
        std::string tls_certificate, tls_key;        ///< PEM files of that listener
        std::vector<std::string> domains;            ///< that previews may be given beside their own names
        std::vector<std::string> trusted_proxies;    ///< networks whose X-Forwarded-For is believed
        bool allow_public = true;
        int max_requests = 512;                      ///< of one preview at once
        int max_requests_total = 2048;               ///< of all together
        int max_waiting = 64;                        ///< for one workspace to wake
        std::chrono::milliseconds wake_timeout{60'000};
        std::chrono::milliseconds answer_timeout{600'000};   ///< to the first byte of an answer
        std::chrono::milliseconds silence_timeout{3'600'000};
        std::string keep_awake = "traffic";          ///< traffic | requests | never
    } previews;
    struct Servers {
        std::string expose = "tools";                        ///< tools | search | toolset
        int name_length = 40;
    } servers;
    std::vector<std::string> toolsets{"core", "files"};
    std::string log_level = "info";

    /// What stands in front of a message about a key's value that only its user can judge: "FILE:LINE: KEY: ", or
    /// "KEY: " where no file has it.
    std::string where(std::string const& key) const;
    bool given(std::string const& key) const { return lines.contains(key); }
    std::string file;                                        ///< "" = the defaults
    std::map<std::string, int> lines;                        ///< of every key and section in it
};

/// Defaults for a missing `path` argument; else errc::invalid (or the system's error) as "FILE:LINE: key: what was expected".
/// Unknown keys are errors that name the nearest known one. Sizes read 512MiB / 2GiB, times 500ms / 30s / 5m / 2h.
base::Result<Settings> load_settings(std::optional<std::string> const& path);
/// The same over text, for tests and fuzzing; `name` stands in messages.
base::Result<Settings> parse_settings(std::string const& text, std::string const& name);

/// The host of "https://host:port", an IPv6 address in its brackets; "" of "".
std::string url_host(std::string const& url);

struct KnownKey {
    std::string key, unit, default_value, meaning;
};
std::vector<KnownKey> const& known_keys();
/// A commented berth.yaml with every key at its default.
std::string example_yaml();

/// "10GiB", "512M", "1073741824" to bytes; "30s", "5m" to milliseconds. Used for tool arguments too.
base::Result<std::uint64_t> parse_size(std::string const& text);
base::Result<std::chrono::milliseconds> parse_duration(std::string const& text);
/// The way back, for messages: the exact size in the largest unit that needs no fraction, "8GiB" or "1500B"; "0.5" or "2" of a
/// number of processors, to six places.
std::string show_size(std::uint64_t bytes);
std::string show_number(double value);

}  // namespace config
