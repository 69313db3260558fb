#include <base/files.hpp>
#include <base/ids.hpp>
#include <base/timeout.hpp>
#include <doctest/doctest.h>
#include <sandbox/image_store.hpp>
#include <testing/io.hpp>

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>

/// A failed check shows the error itself; boost's own operator would need one for every value.
template <class T>
struct doctest::StringMaker<boost::system::result<T, base::Error>> {
    static doctest::String convert(boost::system::result<T, base::Error> const& r) {
        return r ? "a value" : r.error().message().c_str();
    }
};

using base::errc;
using sandbox::image_errc;
namespace fs = std::filesystem;

namespace {

struct Store {
    testing_support::TemporaryDirectory directory;
    testing_support::Io io;
    std::unique_ptr<sandbox::ImageStore> store;
    sandbox::ImageFacts facts;

    explicit Store(std::uint64_t max_bytes = 1 << 30) {
        facts.template_name = "base";
        facts.template_stamp = "s1";
        facts.runtime_build = "r1";
        facts.guest_build = "g1";
        facts.cpu.vendor = "V";
        facts.cpu.family = "6";
        facts.cpu.features = {"avx", "sse"};
        open(max_bytes);
    }
    void open(std::uint64_t max_bytes = 1 << 30, char key = 'k',
              sandbox::Compression compression = sandbox::Compression::none) {
        sandbox::LocalImages local;
        local.compression = compression;
        local.directory = directory.path + "/images";
        local.key = base::Secret(std::string(32, key));
        local.max_bytes = max_bytes;
        local.keep_free = 0;
        store = sandbox::open_local_images(io.pool, std::move(local)).value();
    }
    static sandbox::ImageRef ref(std::string workspace = "w1", std::string image = "i1", std::uint64_t generation = 1) {
        sandbox::ImageRef r;
        r.workspace_id = std::move(workspace);
        r.image_id = std::move(image);
        r.generation = generation;
        return r;
    }
    static std::string pages() {
        std::string bytes(9 << 20, '\0');        // several sealed pieces, a hole in the middle
        for (std::size_t i = 0; i < bytes.size(); i += 4096)
            if (i < (2u << 20) || i > (6u << 20)) bytes[i + 7] = static_cast<char>(i >> 12 | 1);
        return bytes;
    }
    base::Result<sandbox::ImageInfo> publish(sandbox::ImageRef r) {
        auto draft = io.run(store->begin(std::move(r), 16 << 20)).value();
        std::ofstream(draft.directory + "/checkpoint.img") << "state";
        std::ofstream(draft.directory + "/pages.img") << pages();
        return io.run(store->publish(std::move(draft), facts));
    }
    base::Result<sandbox::OpenImage> get(sandbox::ImageRef r) { return io.run(store->open(std::move(r), facts)); }
    std::string path(std::string const& rest = "") const { return directory.path + "/images/w1/i1" + rest; }
    bool refused(sandbox::ImageRef r, image_errc why) {
        auto opened = get(std::move(r));
        REQUIRE_FALSE(opened);
        INFO(opened.error().message());
        CHECK(std::string(sandbox::image_reason(opened.error())) != "");
        return is(opened.error(), why);
    }
};

void flip(std::string const& path, std::streamoff at) {
    std::fstream f(path, std::ios::in | std::ios::out | std::ios::binary);
    f.seekg(at);
    char const old = static_cast<char>(f.get());
    f.seekp(at);
    f.put(static_cast<char>(old ^ 4));
}

}  // namespace

TEST_CASE("a published image") {
    Store s;
    auto info = s.publish(Store::ref());
    REQUIRE(info);

    SUBCASE("opens with what it was published with, zero pages as holes") {
        auto opened = s.get(Store::ref());
        REQUIRE(opened);
        CHECK(opened->info.facts == s.facts);
        CHECK(opened->info.bytes == Store::pages().size() + 5);
        CHECK(base::read_file(opened->directory + "/pages.img", 64 << 20).value() == Store::pages());
        struct stat st{};
        REQUIRE(::stat(s.path("/pages.img").c_str(), &st) == 0);
        CHECK(static_cast<std::uint64_t>(st.st_blocks) * 512 <= 6u << 20);
    }
    SUBCASE("is refused as damaged wherever a bit was flipped") {
        for (std::streamoff at : {0, 4096, 5 << 20, (9 << 20) - 1}) {
            flip(s.path("/pages.img"), at);
            CHECK(s.refused(Store::ref(), image_errc::damaged));
            flip(s.path("/pages.img"), at);
        }
        CHECK(s.get(Store::ref()));
        flip(s.path("/checkpoint.img"), 2);
        CHECK(s.refused(Store::ref(), image_errc::damaged));
    }
    SUBCASE("is refused as damaged when it was cut, grown, or a file is missing") {
        SUBCASE("cut") { fs::resize_file(s.path("/pages.img"), 4 << 20); }
        SUBCASE("empty") { fs::resize_file(s.path("/pages.img"), 0); }
        SUBCASE("grown") { fs::resize_file(s.path("/pages.img"), 10 << 20); }
        SUBCASE("missing") { fs::remove(s.path("/checkpoint.img")); }
        SUBCASE("a link") {
            fs::rename(s.path("/checkpoint.img"), s.directory.path + "/elsewhere");
            fs::create_symlink(s.directory.path + "/elsewhere", s.path("/checkpoint.img"));
        }
        CHECK(s.refused(Store::ref(), image_errc::damaged));
    }
    SUBCASE("is refused as damaged when its manifest was touched") {
        SUBCASE("one byte") { flip(s.path("/manifest.json"), 20); }
        SUBCASE("the tag") { flip(s.path("/manifest.json"), static_cast<std::streamoff>(fs::file_size(s.path("/manifest.json"))) - 5); }
        SUBCASE("no tag") {
            auto text = base::read_file(s.path("/manifest.json")).value();
            std::ofstream(s.path("/manifest.json")) << text.substr(0, text.find('\n'));
        }
        SUBCASE("empty") { fs::resize_file(s.path("/manifest.json"), 0); }
        CHECK(s.refused(Store::ref(), image_errc::damaged));
    }
    SUBCASE("is refused as damaged under another key") {
        s.open(1 << 30, 'x');
        CHECK(s.refused(Store::ref(), image_errc::damaged));
    }
    SUBCASE("is not ours in another's place or at another generation") {
        REQUIRE(s.publish(Store::ref("w2", "i1", 1)));
        REQUIRE(s.publish(Store::ref("w1", "i0", 0)));
        SUBCASE("of another workspace") {
            fs::remove_all(s.path());
            fs::rename(s.directory.path + "/images/w2/i1", s.path());
        }
        SUBCASE("an older one of the same workspace") {
            fs::remove_all(s.path());
            fs::rename(s.directory.path + "/images/w1/i0", s.path());
        }
        SUBCASE("the same name, replayed") { CHECK(s.refused(Store::ref("w1", "i1", 2), image_errc::not_ours)); return; }
        CHECK(s.refused(Store::ref(), image_errc::not_ours));
    }
    SUBCASE("with a file of another image is damaged") {
        REQUIRE(s.publish(Store::ref("w2", "i1", 1)));
        fs::copy_file(s.directory.path + "/images/w2/i1/pages.img", s.path("/pages.img"), fs::copy_options::overwrite_existing);
        CHECK(s.get(Store::ref()));              // the same bytes are the same bytes
        auto other = base::read_file(s.path("/pages.img"), 64 << 20).value();
        other.replace(0, 4096, std::string(4096, 'z'));
        std::ofstream(s.path("/pages.img"), std::ios::binary) << other;
        CHECK(s.refused(Store::ref(), image_errc::damaged));
    }
    SUBCASE("is refused where it cannot run") {
        SUBCASE("another runtime") {
            s.facts.runtime_build = "r2";
            CHECK(s.refused(Store::ref(), image_errc::other_runtime));
        }
        SUBCASE("another guest") {
            s.facts.guest_build = "g2";
            CHECK(s.refused(Store::ref(), image_errc::other_runtime));
        }
        SUBCASE("another state of the template") {
            s.facts.template_stamp = "s2";
            CHECK(s.refused(Store::ref(), image_errc::other_template));
        }
        SUBCASE("a lesser processor") {
            s.facts.cpu.features = {"sse"};
            CHECK(s.refused(Store::ref(), image_errc::other_cpu));
        }
    }
    SUBCASE("runs on a better processor and, when none is named, with any guest") {
        s.facts.cpu.features = {"avx", "avx2", "sse"};
        s.facts.guest_build = "";
        CHECK(s.get(Store::ref()));
    }
    SUBCASE("is not replaced by another of its name") {
        auto again = s.publish(Store::ref());
        REQUIRE_FALSE(again);
        CHECK(is(again.error(), errc::exists));
        CHECK(s.get(Store::ref()));
        CHECK(fs::is_empty(s.directory.path + "/images/.aside"));
    }
    SUBCASE("is cloned without copying, and either outlives the other") {
        auto const before = s.store->use().bytes;
        auto copy = s.io.run(s.store->clone(Store::ref(), Store::ref("w9", "c1", 7)));
        REQUIRE(copy);
        CHECK(s.store->use().images == 2);
        CHECK(s.store->use().bytes < before + (1 << 20));
        REQUIRE(s.io.run(s.store->remove("w1", "i1")));
        CHECK(s.get(Store::ref("w9", "c1", 7)));
        CHECK(s.store->use().bytes >= 5u << 20);
        auto wrong = s.io.run(s.store->clone(Store::ref("w9", "c1", 8), Store::ref("w8", "c1", 1)));
        REQUIRE_FALSE(wrong);
        CHECK(is(wrong.error(), image_errc::not_ours));
    }
    SUBCASE("is listed, and removed for good") {
        REQUIRE(s.publish(Store::ref("w2", "i2", 3)));
        CHECK(s.io.run(s.store->list("")).value().size() == 2);
        auto one = s.io.run(s.store->list("w2")).value();
        REQUIRE(one.size() == 1);
        CHECK(one[0].ref.generation == 3);
        REQUIRE(s.io.run(s.store->remove_workspace("w2")));
        REQUIRE(s.io.run(s.store->remove("w1", "i1")));
        CHECK(s.io.run(s.store->remove("w1", "i1")));
        CHECK(s.store->use().images == 0);
        auto opened = s.get(Store::ref());
        REQUIRE_FALSE(opened);
        CHECK(is(opened.error(), errc::not_found));
    }
}

TEST_CASE("an image whose pages are packed") {
    Store s;
    s.open(1 << 30, 'k', sandbox::Compression::zstd);
    auto const contents = Store::pages();
    REQUIRE(s.publish(Store::ref()));
    auto const packed = s.path("/pages.img.zst");
    REQUIRE(fs::exists(packed));
    CHECK_FALSE(fs::exists(s.path("/pages.img")));
    CHECK(fs::file_size(packed) < contents.size() / 10);
    auto const aside = s.directory.path + "/images/.aside";
    auto const settled = [&] {
        for (int i = 0; i < 1000 && !fs::is_empty(aside); ++i) s.io.run(base::sleep_for(std::chrono::milliseconds(5)));
        return fs::is_empty(aside);
    };

    SUBCASE("opens unpacked, for as long as it is held, zero pages as holes") {
        auto const before = s.store->use().bytes;
        {
            auto opened = s.get(Store::ref());
            REQUIRE(opened);
            CHECK(opened->info.bytes == contents.size() + 5);
            CHECK(base::read_file(opened->directory + "/pages.img", 64 << 20).value() == contents);
            CHECK(base::read_file(opened->directory + "/checkpoint.img").value() == "state");
            struct stat st{};
            REQUIRE(::stat((opened->directory + "/pages.img").c_str(), &st) == 0);
            CHECK(static_cast<std::uint64_t>(st.st_blocks) * 512 <= 6u << 20);
            CHECK(s.store->use().bytes == before + opened->info.bytes);
        }
        CHECK(settled());
        CHECK(s.store->use().bytes == before);
        CHECK(s.get(Store::ref()));
    }
    SUBCASE("is refused as damaged wherever a bit was flipped, and nothing of it is left") {
        for (auto const at : {std::uintmax_t{0}, fs::file_size(packed) / 2, fs::file_size(packed) - 1}) {
            flip(packed, static_cast<std::streamoff>(at));
            CHECK(s.refused(Store::ref(), image_errc::damaged));
            flip(packed, static_cast<std::streamoff>(at));
        }
        CHECK(settled());
        CHECK(s.get(Store::ref()));
    }
    SUBCASE("is refused as damaged when it was cut, grown or is missing") {
        SUBCASE("cut") { fs::resize_file(packed, fs::file_size(packed) / 2); }
        SUBCASE("grown") { fs::resize_file(packed, fs::file_size(packed) + 1); }
        SUBCASE("missing") { fs::remove(packed); }
        CHECK(s.refused(Store::ref(), image_errc::damaged));
    }
    SUBCASE("is cloned without copying, and read by a store that packs nothing") {
        REQUIRE(s.io.run(s.store->clone(Store::ref(), Store::ref("w9", "c1", 7))));
        REQUIRE(s.io.run(s.store->remove("w1", "i1")));
        s.open();
        auto opened = s.get(Store::ref("w9", "c1", 7));
        REQUIRE(opened);
        CHECK(base::read_file(opened->directory + "/pages.img", 64 << 20).value() == contents);
    }
    SUBCASE("is left as it is when it would not get smaller, or goes in a moment") {
        auto const random = base::random_bytes(8 << 20);
        auto draft = s.io.run(s.store->begin(Store::ref("w2"), 16 << 20)).value();
        SUBCASE("random") { std::ofstream(draft.directory + "/pages.img") << random; }
        SUBCASE("short-lived") {
            draft.short_lived = true;
            std::ofstream(draft.directory + "/pages.img") << contents;
        }
        REQUIRE(s.io.run(s.store->publish(std::move(draft), s.facts)));
        CHECK(fs::exists(s.directory.path + "/images/w2/i1/pages.img"));
        CHECK(s.get(Store::ref("w2")));
    }
}

TEST_CASE("an image that is confidential") {
    Store s;
    std::string const secret = "a password in memory";
    auto contents = Store::pages();
    contents.replace(3 << 20, secret.size(), secret);
    contents += base::random_bytes(1 << 20) + secret;            // does not get smaller, and ends in the middle of a page
    auto draft = s.io.run(s.store->begin(Store::ref(), 16 << 20)).value();
    draft.confidential = true;
    std::ofstream(draft.directory + "/checkpoint.img") << secret;
    std::ofstream(draft.directory + "/empty.img");
    std::ofstream(draft.directory + "/pages.img") << contents;
    REQUIRE(s.io.run(s.store->publish(std::move(draft), s.facts)));
    auto const anywhere = [&] {
        for (auto const& file : fs::recursive_directory_iterator(s.directory.path))
            if (file.is_regular_file() && base::read_file(file.path(), 64 << 20).value().find(secret) != std::string::npos)
                return file.path().string();
        return std::string();
    };

    SUBCASE("stands in no file of the disk, but while it is read") {
        CHECK(anywhere() == "");
        {
            auto opened = s.get(Store::ref());
            REQUIRE(opened);
            CHECK(base::read_file(opened->directory + "/pages.img", 64 << 20).value() == contents);
            CHECK(base::read_file(opened->directory + "/checkpoint.img").value() == secret);
            CHECK(base::read_file(opened->directory + "/empty.img").value().empty());
        }
        for (int i = 0; i < 1000 && !anywhere().empty(); ++i) s.io.run(base::sleep_for(std::chrono::milliseconds(5)));
        CHECK(anywhere() == "");
    }
    SUBCASE("is another text each time, though it is the same image") {
        auto const first = base::read_file(s.path("/checkpoint.img.enc")).value();
        auto again = s.io.run(s.store->begin(Store::ref("w1", "i2"), 16 << 20)).value();
        again.confidential = true;
        std::ofstream(again.directory + "/checkpoint.img") << secret;
        REQUIRE(s.io.run(s.store->publish(std::move(again), s.facts)));
        auto const second = base::read_file(s.directory.path + "/images/w1/i2/checkpoint.img.enc").value();
        CHECK(first.size() == second.size());
        CHECK(first != second);
    }
    SUBCASE("is refused as damaged wherever a bit was flipped, and under another key") {
        auto const file = s.path("/pages.img.enc");
        for (auto const at : {std::uintmax_t{0}, fs::file_size(file) / 2, fs::file_size(file) - 1}) {
            flip(file, static_cast<std::streamoff>(at));
            CHECK(s.refused(Store::ref(), image_errc::damaged));
            flip(file, static_cast<std::streamoff>(at));
        }
        CHECK(s.get(Store::ref()));
        s.open(1 << 30, 'x');
        CHECK(s.refused(Store::ref(), image_errc::damaged));
    }
}

TEST_CASE("an image store") {
    SUBCASE("refuses what would pass its bound, and counts what is on its way") {
        Store s(40 << 20);
        auto first = s.io.run(s.store->begin(Store::ref(), 30 << 20));
        REQUIRE(first);
        CHECK(s.store->use().bytes == 30u << 20);
        auto second = s.io.run(s.store->begin(Store::ref("w2"), 20 << 20));
        REQUIRE_FALSE(second);
        CHECK(is(second.error(), errc::limit));
        CHECK(second.error().message().find("40 MiB") != std::string::npos);
        s.io.run(s.store->discard(*first));
        CHECK(s.store->use().bytes == 0);
        CHECK(s.io.run(s.store->begin(Store::ref("w2"), 20 << 20)));
    }
    SUBCASE("refuses what the disk cannot hold") {
        Store s(1ull << 60);
        auto draft = s.io.run(s.store->begin(Store::ref(), 1ull << 59));
        REQUIRE_FALSE(draft);
        CHECK(is(draft.error(), errc::limit));
    }
    SUBCASE("knows no image before it is published, and sweeps what a crash left") {
        Store s;
        auto draft = s.io.run(s.store->begin(Store::ref(), 1 << 20));
        REQUIRE(draft);
        std::ofstream(draft->directory + "/pages.img") << "half";
        s.open();
        CHECK(s.io.run(s.store->list("")).value().empty());
        CHECK(s.io.run(s.store->sweep()).value() == 1);
        CHECK_FALSE(fs::exists(draft->directory));
        CHECK(s.io.run(s.store->sweep()).value() == 0);
    }
    SUBCASE("takes no names that are paths") {
        Store s;
        for (auto const& name : {"", "..", "a/b", ".aside", "A"}) {
            auto draft = s.io.run(s.store->begin(Store::ref(name), 1));
            REQUIRE_FALSE(draft);
            CHECK(is(draft.error(), errc::invalid));
        }
    }
    SUBCASE("takes no short key") {
        Store s;
        sandbox::LocalImages local;
        local.directory = s.directory.path + "/other";
        local.key = base::Secret("short");
        CHECK_FALSE(sandbox::open_local_images(s.io.pool, std::move(local)));
    }
}

TEST_CASE("this machine's processor is described and fits itself") {
    auto cpu = sandbox::CpuClass::of_this_machine();
    REQUIRE(cpu);
    CHECK_FALSE(cpu->features.empty());
    CHECK(cpu->lacks(*cpu) == "");
}
