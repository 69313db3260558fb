#include "fixtures.hpp"
#include <base/timeout.hpp>

namespace fixtures {
namespace {

using base::sleep_for;
using std::chrono_literals::operator""ms;

Json text_block(std::string text) { return {{"type", "text"}, {"text", std::move(text)}}; }
Json image_block() { return {{"type", "image"}, {"data", kPng}, {"mimeType", "image/png"}}; }
Json resource_block() {
    return {{"type", "resource"},
            {"resource",
             {{"uri", "test://embedded-resource"},
              {"mimeType", "text/plain"},
              {"text", "An embedded resource."}}}};
}

ToolResult blocks(Json content) {
    ToolResult out;
    out.content = std::move(content);
    return out;
}

Run fixed(ToolResult result) {
    return [result = std::move(result)](Json, Call&) -> Task<ToolResult> { co_return result; };
}

Task<ToolResult> log_thrice(Json, Call& call) {
    for (auto const* step : {"started", "working", "finished"}) {
        call.log(mcp::LogLevel::info, "fixture", std::string("Tool ") + step);
        co_await sleep_for(20ms);
    }
    co_return ToolResult::text("Logged three messages.");
}

Task<ToolResult> report_progress(Json, Call& call) {
    for (double const done : {0.0, 50.0, 100.0}) {
        call.progress(done, 100.0, "step");
        co_await sleep_for(20ms);
    }
    co_return ToolResult::text("Done.");
}

Task<ToolResult> reconnect(Json, Call& call) {
    call.close_stream(500ms);
    co_await sleep_for(1000ms);
    co_return ToolResult::text("The result came after a reconnection.");
}

Task<ToolResult> echo_arguments(Json arguments, Call&) { co_return ToolResult::text(base::dump(arguments)); }

/// Of the suite's scenario json-schema-2020-12: it must come out of tools/list as it stands here.
Json schema_2020_12() {
    return base::parse_json(R"({
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "type": "object",
      "$defs": {"address": {"$anchor": "addressDef", "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}},
      "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"},
                     "contactMethod": {"type": "string", "enum": ["phone", "email"]},
                     "phone": {"type": "string"}, "email": {"type": "string"}},
      "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
      "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
      "then": {"required": ["phone"]},
      "else": {"required": ["email"]},
      "additionalProperties": false})")
        .value();
}

}  // namespace

Tool tool(std::string name, std::string description, Json properties, std::vector<std::string> required,
          Run run) {
    Tool out;
    out.definition = {{"name", name},
                      {"description", std::move(description)},
                      {"inputSchema", {{"type", "object"}, {"properties", std::move(properties)}}}};
    if (!required.empty()) out.definition["inputSchema"]["required"] = std::move(required);
    out.name = std::move(name);
    out.run = std::move(run);
    return out;
}

std::vector<Tool> content_tools(std::shared_ptr<Late> late) {
    auto const none = Json::object();
    std::vector<Tool> out;
    out.push_back(tool("test_simple_text", "Answers with text", none, {},
                       fixed(ToolResult::text("This is a simple text response for testing."))));
    out.push_back(tool("test_image_content", "Answers with an image", none, {},
                       fixed(blocks(Json::array({image_block()})))));
    Json const audio{{"type", "audio"}, {"data", kWav}, {"mimeType", "audio/wav"}};
    out.push_back(
        tool("test_audio_content", "Answers with a sound", none, {}, fixed(blocks(Json::array({audio})))));
    out.push_back(tool("test_embedded_resource", "Answers with a resource", none, {},
                       fixed(blocks(Json::array({resource_block()})))));
    out.push_back(
        tool("test_multiple_content_types", "Answers with text, image and resource", none, {},
             fixed(blocks(Json::array({text_block("Mixed content:"), image_block(), resource_block()})))));
    out.push_back(tool("test_error_handling", "Always fails", none, {},
                       fixed(ToolResult::failure("This tool intentionally returns an error for testing"))));
    out.push_back(tool("test_tool_with_logging", "Logs while it works", none, {}, log_thrice));
    out.push_back(tool("test_logging_tool", "Logs while it works", none, {}, log_thrice));
    out.push_back(tool("test_tool_with_progress", "Reports progress", none, {}, report_progress));
    out.push_back(tool("test_reconnection", "Closes its stream and finishes later", none, {}, reconnect));
    out.push_back(tool("test_trigger_tool_change", "Announces a changed tool list", none, {},
                       [late](Json, Call&) -> Task<ToolResult> {
                           late->hub->tools_changed();
                           co_return ToolResult::text("Announced.");
                       }));
    out.push_back(tool("test_trigger_prompt_change", "Announces a changed prompt list", none, {},
                       [late](Json, Call&) -> Task<ToolResult> {
                           late->hub->prompts_changed();
                           co_return ToolResult::text("Announced.");
                       }));
    Json const region{{"region", {{"type", "string"}, {"x-mcp-header", "Region"}}},
                      {"count", {{"type", "integer"}, {"x-mcp-header", "Count"}}}};
    out.push_back(
        tool("test_x_mcp_header", "Has parameters that are mirrored in headers", region, {}, echo_arguments));
    auto schema = tool("json_schema_2020_12_tool", "Has a schema of draft 2020-12", none, {}, echo_arguments);
    schema.definition["inputSchema"] = schema_2020_12();
    out.push_back(std::move(schema));
    return out;
}

}  // namespace fixtures
