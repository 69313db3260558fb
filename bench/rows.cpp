#include "rows.hpp"

namespace bench {

std::vector<Row> const& all_rows() {
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
        {"density", "N sandboxes in stock: fill, memory, threads, idle CPU, claims", measure_density, false},
    };
    return rows;
}

}  // namespace bench
