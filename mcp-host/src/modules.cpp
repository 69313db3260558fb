#include "modules.hpp"

#include <cstddef>

#define BERTH_FILE(name, file)                                                                                        \
    extern "C" char const berth_file_##name[], berth_file_##name##_end[];                                            \
    asm(".section .rodata\n.global berth_file_" #name "\n.global berth_file_" #name "_end\nberth_file_" #name        \
        ":\n.incbin \"" BERTH_MODULES "/" file "\"\nberth_file_" #name "_end:\n.byte 0\n.previous\n");               \
    std::string_view host::name() {                                                                                   \
        return {berth_file_##name, static_cast<std::size_t>(berth_file_##name##_end - berth_file_##name)};           \
    }

BERTH_FILE(berth_tools_py, "berth_tools.py")
BERTH_FILE(berth_tools_js, "berth_tools.js")
