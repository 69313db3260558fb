# The rules that every target follows.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

set(BERTH_SANITIZE "" CACHE STRING "Sanitizers, as -fsanitize= takes them")
option(BERTH_FUZZ "Build the libFuzzer targets (needs clang++)" OFF)

find_program(CCACHE ccache)
if(CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${CCACHE})
endif()
find_program(MOLD mold)
if(MOLD AND NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    add_link_options(-fuse-ld=mold)
endif()

add_compile_options(-Wall -Wextra -Wno-missing-field-initializers -Wpedantic -Wshadow -fno-omit-frame-pointer)
if(CMAKE_UNITY_BUILD)
    # There every file but the first looks included, and its coroutine frames hold what is local to it.
    add_compile_options(-Wno-subobject-linkage)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-fpch-preprocess)   # ccache needs it to cache users of a precompiled header
endif()
# Full debug information of Asio's coroutines costs more time than it is worth here; line tables give the back traces.
if(CMAKE_BUILD_TYPE STREQUAL "Debug")
    add_compile_options(-Og -g1)
endif()
if(BERTH_SANITIZE)
    add_compile_options(-fsanitize=${BERTH_SANITIZE} -fno-sanitize-recover=all)
    add_link_options(-fsanitize=${BERTH_SANITIZE})
    if(BERTH_SANITIZE MATCHES "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
        add_compile_options(-Wno-tsan)      # Asio's fences
    endif()
endif()
if(BERTH_FUZZ)
    add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all)
    add_link_options(-fsanitize=address,undefined)
endif()

# berth_library(<folder> SOURCES ... [PUBLIC ...] [PRIVATE ...]): a folder's library, with the alias berth::<folder>,
# its public headers in include/, its private ones in src/. `mcp-host` is named host in code.
function(berth_library name)
    cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
    add_library(berth_${name} STATIC ${ARG_SOURCES})
    add_library(berth::${name} ALIAS berth_${name})
    target_include_directories(berth_${name} PUBLIC include PRIVATE src)
    target_link_libraries(berth_${name} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
    if(NOT name STREQUAL "base")
        target_precompile_headers(berth_${name} REUSE_FROM berth_base)
    endif()
endfunction()

# berth_test(<name> LABEL unit|sandbox|e2e SOURCES ... LIBS ...): one doctest program, one ctest entry.
function(berth_test name)
    cmake_parse_arguments(ARG "" "LABEL;TIMEOUT" "SOURCES;LIBS" ${ARGN})
    add_executable(${name} ${ARG_SOURCES})
    target_link_libraries(${name} PRIVATE ${ARG_LIBS} berth_test_main)
    target_precompile_headers(${name} REUSE_FROM berth_base)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT})
endfunction()
