#pragma once
#include "lab.hpp"

#include <vector>

namespace bench {

/// One row of the benchmark: measures, and adds its lines to the report.
struct Row {
    char const* name;
    char const* help;
    void (*measure)(Lab&);
    enum class When { always, asked, long_run } when = When::always;  ///< asked: --only, or an option of its own
};
std::vector<Row> const& all_rows();

// Each in rows/, in a file of about its name.
void measure_create(Lab&);
void measure_create_to_echo(Lab&);
void measure_wake_frozen(Lab&);
void measure_run_true(Lab&);
void measure_hibernate(Lab&);
void measure_wake_together(Lab&);
void measure_fork(Lab&);
void measure_write_4k(Lab&);
void measure_read_4k(Lab&);
void measure_read_rate(Lab&);
void measure_http_floor(Lab&);
void measure_pool_drained(Lab&);
void measure_start(Lab&);
void measure_memory(Lab&);
void measure_crowd(Lab&);
void measure_images(Lab&);
void measure_preview(Lab&);
void measure_preview_url(Lab&);
void measure_preview_wake(Lab&);
void measure_server_call(Lab&);
void measure_server_memory(Lab&);
void measure_server_wake(Lab&);
void measure_native(Lab&);
void measure_density(Lab&);
void measure_asleep(Lab&);
void measure_cycles(Lab&);

}  // namespace bench
