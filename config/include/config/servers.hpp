#pragma once
#include <base/ids.hpp>
#include <base/result.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

// servers.json: which community MCP servers to run, in the spellings that people already have (Claude, VS
// Code, Cursor, Windsurf, Cline, Gemini, Codex and the gateways). docs/servers.md describes each key and is
// checked against `known_server_keys()`.
namespace config {

/// A value of the environment or a header. Never printed; `sensitive` says that it has to be taken out of
/// what the server sends as well.
struct HiddenValue {
    base::Secret value;
    bool sensitive = false;
};

/// One server, validated and immutable.
struct ServerEntry {
    enum class Kind { stdio, http, sse };
    enum class Isolation { sandbox, host_insecure };

    std::string name;
    int line = 0;                    ///< where its entry begins
    std::string problem;             ///< not "": misconfigured, "FILE:LINE: key: what was expected"
    std::vector<std::string> notes;  ///< what was accepted but has no effect here
    std::vector<std::string> files;      ///< whose contents its values asked for: ${file:...} and envFile
    std::vector<std::string> variables;  ///< of berth's environment that its values asked for
    /// What `${...}` brought into the server's values from outside the file, by variable, file:PATH or input:ID.
    std::map<std::string, HiddenValue> outside;
    bool disabled = false;

    Kind kind = Kind::stdio;
    bool sse_fallback =
        false;  ///< http whose type was not said: the older transport is tried when POST is refused
    std::string command;
    std::vector<std::string> args;
    std::map<std::string, HiddenValue> env;
    std::string cwd;  ///< "" = /workspace inside
    std::string url;
    std::map<std::string, HiddenValue> headers;
    /// How to log in where the server asks for it.
    struct OAuth {
        bool enabled = true;
        bool client_credentials = false;  ///< as the client itself, without a user
        std::string client_id;            ///< "" = registered when it is needed
        HiddenValue client_secret;
        std::string issuer;               ///< the only one that `client_id` is for; "" = whichever the server names
        std::string client_metadata_url;  ///< "" = none
        std::vector<std::string> scopes;  ///< empty = what the server names
        int callback_port = 0;            ///< of the loopback address that a browser is sent back to; 0 = any
    } oauth;
    /// An address without a credential of its own.
    bool may_log_in() const;
    /// Its memory can hold what is nobody else's to read.
    bool is_confidential() const { return !env.empty() || !outside.empty(); }

    Isolation isolation = Isolation::sandbox;
    struct Sandbox {
        std::vector<std::string> allow_read,
            allow_write;                           ///< host directories or files, at the same path inside
        std::vector<std::string> allowed_domains;  ///< egress patterns; empty = no network
        std::string workspace;                     ///< id or name; "" = a folder of its own at /workspace
        std::string template_name;                 ///< "" = the default one
        std::uint64_t memory_bytes = 1ull << 30, disk_bytes = 2ull << 30;
        double cpus = 1;
        int pids = 256;
    } sandbox;

    struct Tools {
        std::optional<std::vector<std::string>> allow;  ///< patterns with *; an empty list = none; nothing = all
        std::vector<std::string> deny;                  ///< wins over allow
        std::map<std::string, std::string> rename, describe;
    } tools;
    bool pin_tools = true;

    std::chrono::milliseconds start_timeout{60'000}, call_timeout{120'000};
    bool start_timeout_said = false;  ///< by the entry itself
    std::chrono::milliseconds idle_timeout{600'000};  ///< 0 = never stopped
    bool hibernate = false;  ///< then: to disk with its memory, instead of being stopped
    bool start_on_demand = true;
    bool restart_on_exit = true;
    int max_restarts = 5;                            ///< in a row; 0 = any number
    std::chrono::milliseconds restart_delay{1'000};  ///< doubles up to 16 times this
    int max_concurrent_calls = 16;
    int calls_per_minute = 0;  ///< 0 = any number
    std::uint64_t max_result_bytes = 8ull << 20;
    std::vector<std::string> auto_approve;  ///< loosens nothing

    /// Over everything that makes a running server another one: the same hash, no restart. Values of secrets
    /// count.
    std::string fingerprint;
};

struct ServerFile {
    std::string path;
    std::vector<ServerEntry> servers;  ///< in the file's order
    std::vector<std::string> notes;    ///< about the file as a whole
};

/// What `${...}` refers to.
struct ServerVariables {
    std::function<std::optional<std::string>(std::string const&)> environment;
    std::function<base::Result<std::string>(std::string const& path)> file;
};
/// This process's own environment and files.
ServerVariables process_variables();

/// errc::invalid as "FILE:LINE: what was expected" when the text as a whole is no list of servers; a mistake
/// in one entry makes that entry misconfigured.
base::Result<ServerFile> parse_servers(std::string const& text, std::string const& name,
                                       ServerVariables const&);
/// The file must belong to the operator: a regular file, no link, owned by root or this user, not writable by
/// others (errc::denied). A missing one is errc::not_found.
base::Result<ServerFile> load_servers(std::string const& path, ServerVariables const&);

/// `text` with the entries of `other` that it does not have yet, and the inputs that they may refer to, everything else
/// as it stands. `taken` and `skipped` get their names; those of `leave_out` are not looked at. An empty `text` makes a new file.
base::Result<std::string> merge_servers(std::string const& text, std::string const& other,
                                        std::string const& other_name, std::vector<std::string>& taken,
                                        std::vector<std::string>& skipped,
                                        std::set<std::string> const& leave_out = {});

struct KnownServerKey {
    std::string key, aliases, unit, default_value, meaning;
};
std::vector<KnownServerKey> const& known_server_keys();

}  // namespace config
