#include <base/hash.hpp>
#include <base/ids.hpp>
#include <base/result.hpp>
#include <base/unique_fd.hpp>

#include <doctest/doctest.h>

#include <fcntl.h>

#include <algorithm>
#include <set>

namespace {

std::string hex(std::string const& bytes) {
    std::string out;
    for (unsigned char const c : bytes) {
        out += "0123456789abcdef"[c >> 4];
        out += "0123456789abcdef"[c & 15];
    }
    return out;
}

bool open_descriptor(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

}  // namespace

TEST_CASE("hashes") {
    SUBCASE("are those of FIPS 180-4 and RFC 4231") {
        CHECK(base::sha256_hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        CHECK(base::sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        CHECK(hex(base::hmac_sha256("Jefe", "what do ya want for nothing?")) ==
              "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        CHECK(hex(base::hmac_sha256(std::string(131, '\xaa'), "Test Using Larger Than Block-Size Key - Hash Key First")) ==
              "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }
}

TEST_CASE("base64") {
    SUBCASE("is that of RFC 4648, both ways") {
        struct {
            char const *bytes, *text, *url;
        } const table[] = {{"", "", ""},          {"f", "Zg==", "Zg"},         {"fo", "Zm8=", "Zm8"},
                           {"foo", "Zm9v", "Zm9v"}, {"foob", "Zm9vYg==", "Zm9vYg"}, {"\xFB\xFF\xFE", "+//+", "-__-"}};
        for (auto const& row : table) {
            INFO(row.text);
            std::string out = "old";
            CHECK(base::base64_encode(row.bytes) == row.text);
            CHECK(base::base64url_encode(row.bytes) == row.url);
            CHECK(base::base64_decode(row.text, out));
            CHECK(out == row.bytes);
            CHECK(base::base64url_decode(row.url, out));
            CHECK(out == row.bytes);
        }
    }
    SUBCASE("survives every length") {
        for (std::size_t n = 0; n < 70; ++n) {
            auto const bytes = base::random_bytes(n);
            std::string a, b;
            CHECK(base::base64_decode(base::base64_encode(bytes), a));
            CHECK(base::base64url_decode(base::base64url_encode(bytes), b));
            CHECK(a == bytes);
            CHECK(b == bytes);
        }
    }
    SUBCASE("refuses what another decoder might read differently, and leaves the result alone") {
        std::string out = "old";
        for (auto const* text : {"Z", "Zg", "Zg=", "Zg===", "=", "==", "====", "Z===", "Zg==Zg==", "Zh==", "Zm9=", "Zm9v\n",
                                 " Zm9v", "Zm 9v", "Zm9-", "Zm9_", "Zm9\x80"}) {
            INFO(text);
            CHECK_FALSE(base::base64_decode(text, out));
        }
        for (auto const* text : {"Z", "Zg==", "Zh", "Zm9+", "Zm9/", "Zm9v=", "Zm9v\n"}) {
            INFO(text);
            CHECK_FALSE(base::base64url_decode(text, out));
        }
        CHECK(out == "old");
    }
}

TEST_CASE("ids and secrets") {
    SUBCASE("have the stated length and alphabet, and never come twice") {
        std::set<std::string> seen;
        for (int i = 0; i < 1000; ++i) {
            auto const id = base::random_id();
            CHECK(id.size() == 26);
            CHECK(std::all_of(id.begin(), id.end(), [](char c) { return (c >= 'a' && c <= 'z') || (c >= '2' && c <= '7'); }));
            CHECK(seen.insert(id).second);
        }
        CHECK(base::random_id(5).size() == 8);
        CHECK(base::random_id(0).empty());
        CHECK(base::random_bytes(1000).size() == 1000);
    }
    SUBCASE("compare by content") {
        CHECK(base::constant_time_equal("", ""));
        CHECK(base::constant_time_equal("token", "token"));
        for (auto const* other : {"", "toke", "tokem", "Token", "tokens"}) CHECK_FALSE(base::constant_time_equal("token", other));
        base::Secret const secret("s3cret");
        CHECK(secret.matches("s3cret"));
        CHECK_FALSE(secret.matches("s3cre"));
        CHECK(secret.reveal() == "s3cret");
    }
}

TEST_CASE("errors") {
    SUBCASE("say what failed while doing what") {
        auto const ours = base::error(base::errc::busy, "no room");
        CHECK(ours.message() == "no room");
        CHECK(is(ours, base::errc::busy));
        CHECK_FALSE(is(ours, base::errc::limit));
        CHECK(base::wrap(ours, "start s-1").message() == "start s-1: no room");
        CHECK(base::errno_error(ENOENT, "open /x").message() == "open /x: No such file or directory");
        CHECK(base::error(base::errc::limit, "").message() == "limit reached");
        base::Result<int> const result = base::errno_error(EACCES, "mount /w");
        CHECK_THROWS_WITH(result.value(), "mount /w: Permission denied [system:13]");
    }
}

TEST_CASE("an owned descriptor") {
    int const raw = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    REQUIRE(raw >= 0);
    SUBCASE("is closed once, by its last owner") {
        {
            base::UniqueFd first(raw), second;
            second = std::move(first);
            CHECK_FALSE(static_cast<bool>(first));
            CHECK(second.get() == raw);
            auto& itself = second;
            second = std::move(itself);
            CHECK(open_descriptor(raw));
        }
        CHECK_FALSE(open_descriptor(raw));
    }
    SUBCASE("can be given away, and zero is one") {
        {
            base::UniqueFd fd(raw);
            CHECK(fd.release() == raw);
        }
        CHECK(open_descriptor(raw));
        ::close(raw);
        base::UniqueFd zero(0);
        CHECK(static_cast<bool>(zero));
        CHECK(zero.release() == 0);
    }
}
