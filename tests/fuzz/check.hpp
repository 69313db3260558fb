#pragma once
#include <cstdlib>

// A property that no input may break; assert() would be gone in release builds.
#define FUZZ_CHECK(condition) \
    do {                      \
        if (!(condition)) std::abort(); \
    } while (false)
