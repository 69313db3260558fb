#include "rows.hpp"

namespace bench {

std::vector<Row> const& all_rows() {
    using When = Row::When;
    static std::vector<Row> const rows{
        {"start", "server start to /readyz, without a stock", measure_start},
        {"memory", "resident memory of a server without sandboxes", measure_memory},
        {"create", "workspace_create from the stock; beside runsc run", measure_create},
        {"create_to_echo", "workspace_create and run_command `echo hi`; beside runsc run",
         measure_create_to_echo},
        {"wake_frozen", "a frozen workspace to the first answer from inside", measure_wake_frozen},
        {"hibernate", "memory to disk and back, by what runs; beside runsc checkpoint and restore", measure_hibernate},
        {"wake_together", "sixteen callers of one hibernated workspace; fifty of fifty", measure_wake_together},
        {"fork", "one workspace into ten that answered; beside a runsc checkpoint and ten restores", measure_fork},
        {"run_true", "run_command /bin/true; beside fork+exec inside, and runsc exec", measure_run_true},
        {"write_4k", "write_file, 4 KiB, durable; beside the system calls, and npm servers",
         measure_write_4k},
        {"read_4k", "read_file, 4 KiB; beside the system calls, and npm servers", measure_read_4k},
        {"read_rate", "read_file, 4 KiB, calls a second; beside npm servers", measure_read_rate},
        {"http_floor", "a trivial tool over HTTP; beside one of the TypeScript SDK", measure_http_floor},
        {"pool_drained", "workspace_create with nothing in stock; beside runsc run", measure_pool_drained},
        {"preview_url", "get_preview_url", measure_preview_url},
        {"preview", "requests through a preview, and bytes; beside those made inside, and nginx", measure_preview},
        {"preview_wake", "a request to a hibernated workspace, to its answer", measure_preview_wake},
        {"server_call", "a community server's tool: one caller, 16, 64; beside its own stdio, and npm gateways",
         measure_server_call},
        {"server_memory", "one community server and sixteen; beside npm gateways", measure_server_memory},
        {"server_wake", "a sleeping community server's tool; beside starting it outside", measure_server_wake},
        {"images", "memory on disk by the GiB: room and time, compressed or not", measure_images},
        {"crowd", "200 workspaces of which 40 fit in memory, under Zipf traffic", measure_crowd},
        {"native", "native beside gVisor, bubblewrap and no sandbox: processes, files, builds, numbers, TCP, sleep, memory", measure_native},
        {"density", "N sandboxes in stock: fill, memory, threads, idle CPU, claims", measure_density, When::asked},
        {"asleep", "100 hibernated workspaces, 2,000 with --long: list and wake any; beside ten", measure_asleep,
         When::long_run},
        {"cycles", "N self-checking hibernations", measure_cycles, When::asked},
    };
    return rows;
}

}  // namespace bench
