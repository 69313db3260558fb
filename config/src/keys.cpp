#include "keys.hpp"

#include <config/minimums.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace config {
namespace {

using Node = YAML::Node;
using Read = decltype(Key::read);

std::string but_was(std::string const& text) { return ", not \"" + text.substr(0, 60) + "\""; }

template <class Take>
Read scalar(std::string expected, Take take) {
    return [expected = std::move(expected), take](Settings& s, Node const& node, std::string const& entry, int&) {
        if (!node.IsScalar()) return "expected " + expected;
        auto const problem = take(s, node.Scalar(), entry);
        return problem.empty() ? problem : problem + but_was(node.Scalar());
    };
}

template <class Field>
Read text(std::string expected, Field field, std::string (*good)(std::string const&) = nullptr) {
    return scalar(std::move(expected), [field, good](Settings& s, std::string const& v, std::string const&) {
        field(s) = v;
        return good ? good(v) : std::string();
    });
}

template <class Field>
Read one_of(std::vector<std::string> choices, Field field) {
    std::string expected = "one of";
    for (auto const& c : choices) expected += (c == choices.front() ? " " : ", ") + c;
    return scalar(expected, [=](Settings& s, std::string const& v, std::string const&) {
        field(s) = v;
        return std::find(choices.begin(), choices.end(), v) == choices.end() ? "expected " + expected : std::string();
    });
}

template <class Field>
Read flag(Field field) {
    return scalar("true or false", [field](Settings& s, std::string const& v, std::string const&) {
        field(s) = v == "true";
        return v == "true" || v == "false" ? std::string() : std::string("expected true or false");
    });
}

template <class Field>
Read integer(long min, long max, Field field) {
    auto const expected = "a whole number from " + std::to_string(min) + " to " + std::to_string(max);
    return scalar(expected, [=](Settings& s, std::string const& v, std::string const& entry) {
        long n = 0;
        auto const [end, ec] = std::from_chars(v.data(), v.data() + v.size(), n);
        if (ec != std::errc{} || end != v.data() + v.size() || n < min || n > max) return "expected " + expected;
        auto& target = field(s, entry);
        target = static_cast<std::remove_reference_t<decltype(target)>>(n);
        return std::string();
    });
}

template <class Field>
Read cpus(Field field) {
    return scalar("a number of processors such as 2 or 0.5", [field](Settings& s, std::string const& v, std::string const&) {
        double n = 0;
        auto const [end, ec] = std::from_chars(v.data(), v.data() + v.size(), n, std::chars_format::fixed);
        if (ec != std::errc{} || end != v.data() + v.size() || !std::isfinite(n) || n < kMinCpus || n > 1024)
            return "expected a number of processors from " + show_number(kMinCpus) + " to 1024";
        field(s) = n;
        return std::string();
    });
}

template <class Field>
Read size(Field field, std::uint64_t min = kMinMemoryBytes) {
    return [field, min](Settings& s, Node const& node, std::string const&, int&) -> std::string {
        auto const bytes = parse_size(node.IsScalar() ? node.Scalar() : "");
        if (!bytes) return bytes.error().context;
        if (*bytes < min) return "expected at least " + show_size(min) + but_was(node.Scalar());
        field(s) = *bytes;
        return {};
    };
}

template <class Field>
Read size_or_none(Field field) {
    return [field, some = size(field)](Settings& s, Node const& node, std::string const& entry, int& line) -> std::string {
        if (!node.IsScalar() || node.Scalar() != "0") return some(s, node, entry, line);
        field(s) = 0;
        return {};
    };
}

template <class Field>
Read duration(std::chrono::milliseconds min, Field field) {
    return [=](Settings& s, Node const& node, std::string const&, int&) -> std::string {
        auto const ms = parse_duration(node.IsScalar() ? node.Scalar() : "");
        if (!ms) return ms.error().context;
        if (*ms < min) return "expected at least " + std::to_string(min.count()) + "ms" + but_was(node.Scalar());
        field(s) = *ms;
        return {};
    };
}

template <class Field>
Read list(std::string (*good)(std::string const&), Field field) {
    return [=](Settings& s, Node const& node, std::string const&, int& line) -> std::string {
        if (!node.IsSequence()) return "expected a list such as [a, b]";
        if (node.size() > 1000) return "expected at most 1000 entries";
        std::vector<std::string> values;
        for (Node const& item : node) {
            line = item.Mark().line + 1;
            if (!item.IsScalar()) return "expected a list of plain values";
            if (auto const problem = good(item.Scalar()); !problem.empty()) return problem + but_was(item.Scalar());
            if (std::find(values.begin(), values.end(), item.Scalar()) != values.end())
                return "expected each entry once" + but_was(item.Scalar());
            values.push_back(item.Scalar());
        }
        field(s) = std::move(values);
        return {};
    };
}

std::string absolute(std::string const& v) {
    return v.starts_with('/') && v.find('\0') == v.npos ? "" : "expected an absolute path";
}
std::string absolute_or_none(std::string const& v) { return v.empty() ? "" : absolute(v); }

std::string check_url_or_none(std::string const& v) {
    return v.empty() || check_origin(v).empty() ? "" : "expected a URL such as https://preview.example.com, without a path";
}

// The field that a key stands for.
#define FIELD(member) [](Settings& s) -> auto& { return s.member; }
#define NUMBER(member) [](Settings& s, std::string const&) -> auto& { return s.member; }
#define POOL(member) [](Settings& s, std::string const& entry) -> auto& { return s.pools[entry].member; }

std::vector<Key> make_keys() {
    using namespace std::chrono_literals;
    return {
        {"listen.address", "IP address", "127.0.0.1",
         "Where the server listens. Anything but a loopback address needs TLS.", text("an IP address", FIELD(listen.address))},
        {"listen.port", "TCP port", "7777", "Port of the server. 0 takes any free one, which the log names.",
         integer(0, 65535, NUMBER(listen.port))},
        {"listen.hosts", "host names", "[]",
         "Further names by which clients reach the server, without a port. Requests for any other Host are refused.",
         list(check_host, FIELD(listen.hosts))},
        {"listen.url", "URL", "\"\"",
         "Where clients reach the server, for links that it hands out, such as those of get_transfer_url. Its host is one of "
         "listen.hosts without being named there. Empty means the first of listen.hosts, else the address, on the server's port.",
         text("a URL without a path", FIELD(listen.url), check_url_or_none)},
        {"listen.origins", "web origins", "[]", "Web pages that may call the server from a browser.",
         list(check_origin, FIELD(listen.origins))},
        {"listen.tls_certificate", "PEM file", "\"\"", "Certificate chain for TLS. Together with tls_key.",
         text("a path", FIELD(listen.tls_certificate), absolute_or_none)},
        {"listen.tls_key", "PEM file", "\"\"", "Private key for TLS. Together with tls_certificate.",
         text("a path", FIELD(listen.tls_key), absolute_or_none)},
        {"listen.insecure_plain_http", "true, false", "false",
         "Allows an address beyond this machine without TLS: tokens then cross the network in the clear.",
         flag(FIELD(listen.insecure_plain_http))},
        {"templates_dir", "directory", "/var/lib/berth/templates", "Root file systems that workspaces start from, one folder each.",
         text("a path", FIELD(templates_dir), absolute)},
        {"default_template", "template name", "base", "Template of a workspace that names none.",
         text("a template's name", FIELD(default_template), check_name)},
        {"pools.NAME.ready", "sandboxes", "8",
         "Booted sandboxes kept in stock for template NAME. A given pools section replaces the shipped one as a whole.",
         integer(0, 1000, POOL(ready))},
        {"pools.NAME.awake", "sandboxes", "2", "How many of the stock stay unfrozen while workspaces are made, for the fastest claim; no more than ready. 10 s after the last one they freeze too.",
         integer(0, 1000, POOL(awake))},
        {"native.allow", "true, false", "false",
         "Allows workspaces that ask for `runtime: native`: Linux namespaces and filters in place of gVisor. They are faster, and make "
         "their system calls to this machine's own kernel: a flaw there is a way out. Where it is true, a machine without gVisor serves "
         "native workspaces alone.",
         flag(FIELD(native.allow))},
        {"native.templates", "template names", "[]", "Templates whose workspaces are native unless they ask for `runtime: gvisor`.",
         list(check_name, FIELD(native.templates))},
        {"native.ready", "sandboxes", "0", "Booted native sandboxes kept in stock for each template in native.templates.",
         integer(0, 1000, NUMBER(native.ready))},
        {"limits.memory", "bytes", "2GiB", "Memory of a workspace that asks for nothing else.", size(FIELD(limits.memory_bytes))},
        {"limits.cpus", "processors", "2", "Processor time of a workspace, in processors.", cpus(FIELD(limits.cpus))},
        {"limits.pids", "processes", "1024", "Processes and threads of a workspace.", integer(kMinPids, 1'000'000, NUMBER(limits.pids))},
        {"limits.disk", "bytes", "10GiB", "Size of a workspace's volume.", size(FIELD(limits.disk_bytes), kMinDiskBytes)},
        {"max_limits.memory", "bytes", "8GiB", "The most memory that a workspace may ask for.", size(FIELD(max_limits.memory_bytes))},
        {"max_limits.cpus", "processors", "8", "The most processor time that a workspace may ask for.", cpus(FIELD(max_limits.cpus))},
        {"max_limits.pids", "processes", "4096", "The most processes that a workspace may ask for.",
         integer(kMinPids, 1'000'000, NUMBER(max_limits.pids))},
        {"max_limits.disk", "bytes", "100GiB", "The largest volume that a workspace may ask for.", size(FIELD(max_limits.disk_bytes), kMinDiskBytes)},
        {"max_workspaces", "workspaces", "2000", "Workspaces on this server, running or not.", integer(1, 1'000'000, NUMBER(max_workspaces))},
        {"max_sandboxes", "sandboxes", "400", "Sandboxes that exist at once, the stock included.", integer(1, 100'000, NUMBER(max_sandboxes))},
        {"max_boots", "sandboxes", "2", "Sandboxes that boot at once; the others wait their turn.", integer(1, 1000, NUMBER(max_boots))},
        {"snapshots.per_workspace", "snapshots", "10", "Snapshots that one workspace may have.",
         integer(0, 1000, NUMBER(snapshots.per_workspace))},
        {"snapshots.max_bytes", "bytes", "64GiB", "Disk that the snapshots of one owner may take, files and memory together.",
         size(FIELD(snapshots.max_bytes))},
        {"snapshots.max_still", "time", "60s",
         "How long a running workspace may stand still while its files are copied for a snapshot or a fork; when that is not "
         "enough the call fails and the workspace goes on.",
         duration(1ms, FIELD(snapshots.max_still))},
        {"idle.freeze_after", "time", "2s", "Without calls for this long a workspace is frozen; the next call thaws it.",
         duration(10ms, FIELD(idle.freeze_after))},
        {"idle.hibernate_after", "time", "10m",
         "Without use for this long its memory goes to disk and the sandbox ends; the next call wakes it. 0 means never.",
         duration(0ms, FIELD(idle.hibernate_after))},
        {"idle.stop_after", "time", "0s", "Without use for this long memory and its image go, and only files are left. 0 means never.",
         duration(0ms, FIELD(idle.stop_after))},
        {"idle.keep_alive", "true, false", "false", "Workspaces neither hibernate nor stop, however long they are idle.",
         flag(FIELD(idle.keep_alive))},
        {"hibernation.disk", "bytes", "64GiB", "The most that all memory images take up together.",
         size(FIELD(hibernation.disk_bytes))},
        {"hibernation.memory_ceiling", "bytes", "0",
         "Memory that all sandboxes may use together: beyond it the longest-idle workspaces hibernate, also before another one "
         "starts. A little of it is kept free for sleeping ones to come back. 0 means four fifths of the machine's.",
         size_or_none(FIELD(hibernation.memory_ceiling))},
        {"hibernation.compression", "none, zstd", "none",
         "How the pages of memory images are kept: as they are, or packed with zstd where they get smaller by it. Packed ones take "
         "less of the disk and longer to wake from.",
         one_of({"none", "zstd"}, FIELD(hibernation.compression))},
        {"network.max_allow", "host patterns", "[\"*\"]",
         "What a workspace may ask to reach: exact hosts, *.example.com, each with an optional port; * is any public host.",
         list(check_pattern, FIELD(network.max_allow))},
        {"network.insecure_private_addresses", "networks", "[]",
         "Private addresses that workspaces may reach all the same, such as your own package mirror's.",
         list(check_network, FIELD(network.insecure_private_addresses))},
        {"previews.url", "URL", "\"\"",
         "Where visitors reach previews: https://preview.example.com stands for https://PORT-WORKSPACE.preview.example.com. "
         "Empty means *.localhost on the server's port.",
         text("a URL without a path", FIELD(previews.url), check_url_or_none)},
        {"previews.address", "IP address", "127.0.0.1", "Where the listener for previews alone listens, if previews.port asks for one.",
         text("an IP address", FIELD(previews.address))},
        {"previews.port", "TCP port", "0",
         "Port of a listener that answers on preview names and on no others. 0 means that the server's own listener answers on both.",
         integer(0, 65535, NUMBER(previews.port))},
        {"previews.tls_certificate", "PEM file", "\"\"", "Wildcard certificate chain of that listener. Read again when it changes.",
         text("a path", FIELD(previews.tls_certificate), absolute_or_none)},
        {"previews.tls_key", "PEM file", "\"\"", "Private key of that certificate.",
         text("a path", FIELD(previews.tls_key), absolute_or_none)},
        {"previews.domains", "host names", "[]",
         "Names that a preview may be given beside its own: shop.example.com, or *.apps.example.com for all below it.",
         list(check_domain, FIELD(previews.domains))},
        {"previews.trusted_proxies", "networks", "[]",
         "Reverse proxies in front of the server. Visitors whom they pass on are told apart by X-Forwarded-For.",
         list(check_network, FIELD(previews.trusted_proxies))},
        {"previews.allow_public", "true, false", "true", "Whether a preview may be opened to everyone who knows its address.",
         flag(FIELD(previews.allow_public))},
        {"previews.max_requests", "requests", "512", "Requests and sockets that one preview may have at once.",
         integer(1, 100'000, NUMBER(previews.max_requests))},
        {"previews.max_requests_total", "requests", "2048", "Requests and sockets of all previews at once.",
         integer(1, 100'000, NUMBER(previews.max_requests_total))},
        {"previews.max_waiting", "requests", "64", "Requests that may wait for one sleeping workspace to wake; eight times as many for all.",
         integer(1, 10'000, NUMBER(previews.max_waiting))},
        {"previews.wake_timeout", "time", "1m", "A request waits so long for its workspace to wake.",
         duration(1s, FIELD(previews.wake_timeout))},
        {"previews.answer_timeout", "time", "10m", "A program may take so long to begin its answer.",
         duration(1s, FIELD(previews.answer_timeout))},
        {"previews.silence_timeout", "time", "1h", "A socket, or an answer that has begun, ends after so long without a byte in either direction.",
         duration(1s, FIELD(previews.silence_timeout))},
        {"previews.keep_awake", "traffic, requests, never", "traffic",
         "What keeps a workspace awake while it is open: all traffic; requests, but no WebSocket; or nothing, once an answer has begun. "
         "A WebSocket that keeps nothing awake wakes nothing either.",
         one_of({"traffic", "requests", "never"}, FIELD(previews.keep_awake))},
        {"servers.expose", "tools, search, toolset", "tools",
         "How the tools of servers.json reach clients that ask for no toolsets: listed, found through search_tools, or not at "
         "all. A client that asks for the toolset community sees them in any case.",
         one_of({"tools", "search", "toolset"}, FIELD(servers.expose))},
        {"servers.name_length", "characters", "40",
         "Longest name of a server's tool. A longer one is shortened and ends in a hash.",
         integer(20, 64, NUMBER(servers.name_length))},
        {"toolsets", toolset_names(), "[core, files]", "Tools that clients see unless they ask for others.",
         list(check_toolset, FIELD(toolsets))},
        {"log_level", "trace, debug, info, warn, error, off", "info", "The least severe messages that are logged.",
         one_of({"trace", "debug", "info", "warn", "error", "off"}, FIELD(log_level))},
    };
}

#undef FIELD
#undef NUMBER
#undef POOL

}  // namespace

std::vector<Key> const& keys() {
    static std::vector<Key> const all = make_keys();
    return all;
}

std::vector<KnownKey> const& known_keys() {
    static std::vector<KnownKey> const all = [] {
        std::vector<KnownKey> result;
        for (auto const& k : keys()) result.push_back({k.name, k.unit, k.default_value, k.meaning});
        return result;
    }();
    return all;
}

namespace {

/// Wrapped, so that it is read in a terminal.
std::string comment(std::string_view text, std::string const& lead) {
    constexpr std::size_t kColumns = 100;
    std::string out;
    while (!text.empty()) {
        auto const room = kColumns - lead.size();
        auto end = text.size() <= room ? text.size() : text.rfind(' ', room);
        if (end == text.npos) end = std::min(text.find(' '), text.size());
        out.append(lead).append(text.substr(0, end)).append(1, '\n');
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return out;
}

}  // namespace

std::string example_yaml() {
    std::string out = "# Every key with its default. Remove what you do not change.\n";
    std::vector<std::string> open;    // sections written so far on the way down
    for (auto const& k : keys()) {
        std::vector<std::string> parts;
        for (std::size_t from = 0; from <= k.name.size();) {
            auto const dot = std::min(k.name.find('.', from), k.name.size());
            auto part = k.name.substr(from, dot - from);
            parts.push_back(part == "NAME" ? "base" : std::move(part));
            from = dot + 1;
        }
        std::size_t depth = 0;
        while (depth < open.size() && depth + 1 < parts.size() && open[depth] == parts[depth]) ++depth;
        open.resize(depth);
        if (depth == 0) out += "\n";
        for (; depth + 1 < parts.size(); ++depth) {
            out += std::string(4 * depth, ' ') + parts[depth] + ":\n";
            open.push_back(parts[depth]);
        }
        std::string const indent(4 * depth, ' ');
        out += comment(k.meaning + " (" + k.unit + ")", indent + "# ");
        out += indent + parts.back() + ": " + k.default_value + "\n";
    }
    return out;
}

}  // namespace config
