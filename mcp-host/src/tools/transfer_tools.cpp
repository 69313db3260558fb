#include "../transfers.hpp"
#include "tools.hpp"

namespace host {
namespace {

constexpr std::int64_t kDefaultSeconds = 900, kMaxSeconds = 86'400;

}  // namespace

std::vector<mcp::Tool> transfer_tools(Tools& t) {
    using Type = Field::Type;
    std::vector<mcp::Tool> tools;
    tools.push_back(make_tool(
        {.name = "get_transfer_url",
         .title = "Link for a large file",
         .description = "A signed link to upload a file to (PUT) or download it from (GET), of any size, past the model. "
                        "Good until it expires.",
         .fields = {workspace_id_field(),
                    {.name = "path",
                     .description = "Below /workspace, or absolute",
                     .required = true,
                     .example = "data/big.csv",
                     .aliases = {"file_path"},
                     .max_length = 4095},
                    {.name = "direction", .required = true, .example = "download", .values = {"upload", "download"}},
                    {.name = "expires_s",
                     .type = Type::integer,
                     .description = "Default 900",
                     .example = 3600,
                     .minimum = 1,
                     .maximum = kMaxSeconds}},
         .output = {{"url", "string"}, {"method", "string"}, {"curl", "string"}, {"expires_s", "integer"}},
         .hints = {.read_only = true},
         .toolset = "files"},
        [&t](Arguments a, Call& call) -> Task<ToolResult> {
            Transfers::Link link;
            link.owner = call.caller().principal;
            link.workspace = a.string("workspace_id");
            link.path = a.string("path");
            bool const up = a.string("direction") == "upload";
            link.direction = up ? Transfers::Direction::upload : Transfers::Direction::download;
            auto place = co_await t.workspaces.place(link.owner, link.workspace, link.path);
            auto const where = value_of(std::move(place));
            if (!where.root) throw ToolFailure(link.path + " is outside /workspace and /home/agent; copy it there first");
            auto look = [where] { return where.root->stat(where.path); };
            auto found = co_await base::blocking(t.pool, std::move(look));
            if (found && found->kind != base::Beneath::Kind::file)
                throw ToolFailure(link.path + " is not a file" +
                                  (up ? "" : "; pack a directory with run_command (tar czf) first"));
            if (!found && !(up && base::is(found.error(), base::errc::not_found))) throw ToolFailure(found.error());
            auto const seconds = a.integer("expires_s", kDefaultSeconds);
            link.expires_ms = std::chrono::duration_cast<base::milliseconds>(
                                  std::chrono::system_clock::now().time_since_epoch())
                                  .count() +
                              seconds * 1000;
            auto const curl = t.transfers.curl(link);
            t.records.audit_lazy(link.workspace, up ? "upload link" : "download link", {{"path", link.path}});
            co_return ToolResult::text(curl, {{"url", t.transfers.url(link)},
                                              {"method", up ? "PUT" : "GET"},
                                              {"curl", curl},
                                              {"expires_s", seconds}});
        }));
    return tools;
}

}  // namespace host
