#include <base/json.hpp>
#include <config/registry_server.hpp>
#include <config/servers.hpp>

#include <doctest/doctest.h>

using base::Json;

namespace {

Json npm() {
    return {{"registryType", "npm"},
            {"identifier", "@acme/weather-mcp"},
            {"version", "1.4.2"},
            {"transport", {{"type", "stdio"}}}};
}

Json server(Json packages, Json remotes = Json::array()) {
    return {{"name", "io.github.acme/weather"},
            {"description", "Weather."},
            {"version", "1.4.2"},
            {"packages", std::move(packages)},
            {"remotes", std::move(remotes)}};
}

std::string why_not(Json const& package) {
    auto const made = config::servers_of_registry(server(Json::array({package})).dump(), "server.json");
    return made ? "accepted" : made.error().message();
}

config::ServerEntry entry_for(Json const& published) {
    REQUIRE(config::is_registry_server(published.dump()));
    auto const made = config::servers_of_registry(published.dump(), "server.json");
    REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().message()));
    INFO(*made);
    config::ServerVariables variables;
    variables.environment = [](std::string const& name) -> std::optional<std::string> {
        if (name == "TOKEN" || name == "API_KEY") return "given-" + name;
        return std::nullopt;
    };
    variables.file = [](std::string const&) -> base::Result<std::string> { return std::string("a file"); };
    auto file = config::parse_servers(*made, "made.json", variables);
    REQUIRE(file.has_value());
    REQUIRE(file->servers.size() == 1);
    CHECK(file->servers[0].problem == "");
    CHECK(file->servers[0].files.empty());
    return file->servers[0];
}

}  // namespace

TEST_CASE("a server.json of the registry") {
    SUBCASE("becomes an entry with the exact version, its arguments and variables") {
        auto package = npm();
        package["runtimeArguments"] = Json::array({{{"type", "named"}, {"name", "--quiet"}}});
        package["packageArguments"] =
            Json::array({{{"type", "positional"}, {"value", "serve"}},
                         {{"type", "named"}, {"name", "--units"}, {"default", "metric"}},
                         {{"type", "named"}, {"name", "--city"}, {"format", "string"}},
                         {{"type", "named"}, {"name", "--key"}, {"value", "k={key}"}, {"variables", {{"key", {{"isRequired", true}}}}}}});
        package["packageArguments"][3]["variables"] = {{"token", {{"isRequired", true}}}};
        package["packageArguments"][3]["value"] = "k={token}{other}";
        package["environmentVariables"] = Json::array(
            {{{"name", "API_KEY"}, {"isRequired", true}, {"isSecret", true}}, {{"name", "LEVEL"}, {"default", "info"}}, {{"name", "MORE"}}});
        auto const entry = entry_for(server(Json::array({package})));
        CHECK(entry.name == "weather");
        CHECK(entry.command == "npx");
        CHECK(entry.args == std::vector<std::string>{"-y", "--quiet", "@acme/weather-mcp@1.4.2", "serve", "--units", "metric",
                                                     "--key", "k=given-TOKEN{other}"});
        REQUIRE(entry.env.size() == 2);
        CHECK(entry.env.at("API_KEY").value.reveal() == "given-API_KEY");
        CHECK(entry.env.at("LEVEL").value.reveal() == "info");
        CHECK(entry.sandbox.allowed_domains == std::vector<std::string>{"registry.npmjs.org"});
    }
    SUBCASE("takes a package that can be started before an address, and an address before nothing") {
        Json const oci{{"registryType", "oci"}, {"identifier", "docker.io/acme/x:1"}, {"transport", {{"type", "stdio"}}}};
        Json const remote{{"type", "streamable-http"},
                          {"url", "https://{host}.example.com/mcp"},
                          {"variables", {{"host", {{"default", "eu"}}}}},
                          {"headers", Json::array({{{"name", "Authorization"},
                                                    {"value", "Bearer {token}"},
                                                    {"variables", {{"token", {{"isRequired", true}}}}}}})}};
        CHECK(entry_for(server(Json::array({oci, npm()}), Json::array({remote}))).command == "npx");
        auto const entry = entry_for(server(Json::array({oci}), Json::array({remote})));
        CHECK(entry.url == "https://eu.example.com/mcp");
        CHECK(entry.headers.at("Authorization").value.reveal() == "Bearer given-TOKEN");
        auto pypi = npm();
        pypi["registryType"] = "pypi";
        pypi["identifier"] = "weather-mcp";
        CHECK(entry_for(server(Json::array({pypi}))).args == std::vector<std::string>{"weather-mcp@1.4.2"});
    }
    SUBCASE("cannot ask for this machine's files in its own words") {
        auto package = npm();
        package["environmentVariables"] = Json::array({{{"name", "A"}, {"value", "${file:/etc/shadow}"}},
                                                       {{"name", "B"}, {"default", "x}${file:/etc/shadow}"}}});
        auto const entry = entry_for(server(Json::array({package})));
        CHECK(entry.env.at("A").value.reveal() == "${file:/etc/shadow}");
        CHECK(entry.env.at("B").value.reveal() == "x}${file:/etc/shadow}");
    }
    SUBCASE("is refused where it could be another program tomorrow, or one that nobody checks") {
        auto const with = [](char const* key, Json value) {
            auto package = npm();
            package[key] = std::move(value);
            return why_not(package);
        };
        for (auto const* version : {"", "latest", "^1.4.2", "1.4", "1.x.0", ">=1.0.0", "1.4.2 || 2.0.0", "1.4.2;rm"})
            CHECK_MESSAGE(with("version", version).find("no exact version") != std::string::npos, version);
        CHECK(with("version", "1.4.2-rc.1+5") == "accepted");
        for (auto const* name : {"--help", "../x", "a b", "x@latest", ""})
            CHECK_MESSAGE(with("identifier", name).find("no package's name") != std::string::npos, name);
        CHECK(with("fileSha256", std::string(64, 'a')).find("would not check") != std::string::npos);
        CHECK(with("registryBaseUrl", "https://registry.evil.example").find("another registry") != std::string::npos);
        CHECK(with("registryType", "mcpb").find("are not started here") != std::string::npos);
        CHECK(with("transport", {{"type", "sse"}}).find("stdio") != std::string::npos);
        CHECK_FALSE(config::servers_of_registry("[]", "x").has_value());
        CHECK_FALSE(config::is_registry_server(R"({"mcpServers": {}})"));
    }
}
