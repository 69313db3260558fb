#pragma once
#include <base/beneath.hpp>

#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <testing/io.hpp>

// A failed check shows the error; values need not be printable.
template <class T>
struct doctest::StringMaker<boost::system::result<T, base::Error>> {
    static String convert(boost::system::result<T, base::Error> const& r) {
        return r ? "a value" : r.error().message().c_str();
    }
};

/// A directory with a `root` that file functions get, and room outside it.
struct Tree {
    testing_support::TemporaryDirectory temporary;
    std::string path = temporary.path + "/root";
    base::Beneath root = [this] {
        std::filesystem::create_directory(path);
        return base::Beneath::open(path).value();
    }();

    void put(std::string const& name, std::string const& bytes) const {
        auto const full = path + "/" + name;
        std::filesystem::create_directories(std::filesystem::path(full).parent_path());
        std::ofstream(full, std::ios::binary) << bytes;
    }
    std::string get(std::string const& name) const { return read(path + "/" + name); }
    static std::string read(std::string const& full) {
        std::ifstream in(full, std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }
};

inline bool contains(std::string const& text, std::string const& part) {
    return text.find(part) != std::string::npos;
}
