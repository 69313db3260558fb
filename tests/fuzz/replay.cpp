#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size);

// Runs the target over every file of the corpus, and over every beginning of the small ones: what a cut connection gives.
int main(int argc, char** argv) {
    std::size_t inputs = 0;
    auto const one = [&](std::string const& bytes) {
        LLVMFuzzerTestOneInput(reinterpret_cast<std::uint8_t const*>(bytes.data()), bytes.size());
        ++inputs;
    };
    one("");
    for (int i = 1; i < argc; ++i)
        for (auto const& entry : std::filesystem::directory_iterator(argv[i])) {
            std::ifstream file(entry.path(), std::ios::binary);
            std::string const bytes{std::istreambuf_iterator<char>(file), {}};
            one(bytes);
            for (std::size_t n = 0; bytes.size() <= 2048 && n < bytes.size(); ++n) one(bytes.substr(0, n));
        }
    std::printf("%zu inputs\n", inputs);
    return inputs > 1 ? 0 : 1;    // an empty corpus tests nothing
}
