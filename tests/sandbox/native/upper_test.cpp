#include <base/unique_fd.hpp>
#include <testing/io.hpp>
#include <upper.hpp>

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

namespace {

constexpr int kDepth = 19;
std::string const kName(200, 'd');      // below another one, 19 of them are longer than a path may be

// The directory `depth` levels below, made on the way when `owner` is given.
base::UniqueFd deep(std::string const& top, int depth, uid_t owner = 0) {
    base::UniqueFd at(::open(top.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (int i = 0; i < depth; ++i) {
        if (owner != 0) {
            REQUIRE(::mkdirat(at.get(), kName.c_str(), 0755) == 0);
            REQUIRE(::fchownat(at.get(), kName.c_str(), owner, owner, AT_SYMLINK_NOFOLLOW) == 0);
        }
        at = base::UniqueFd(::openat(at.get(), kName.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
        REQUIRE(at.get() >= 0);
    }
    return at;
}

uid_t owner_of(int directory, char const* name) {
    struct stat st {};
    REQUIRE(::fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) == 0);
    return st.st_uid;
}

}  // namespace

TEST_CASE("paths that are longer than a system call takes, and links, come back with the ids of the new range") {
    if (::geteuid() != 0) {
        MESSAGE("SKIPPED: owners can be given away by root alone");
        return;
    }
    testing_support::TemporaryDirectory dir;
    auto const from = dir.path + "/from", to = dir.path + "/" + std::string(250, 't'), archive = dir.path + "/upper.tar";
    REQUIRE(::mkdir(from.c_str(), 0755) == 0);
    REQUIRE(::mkdir(to.c_str(), 0755) == 0);
    {
        auto const bottom = deep(from, kDepth, 100'007);
        REQUIRE(::symlinkat("/etc/passwd", bottom.get(), "link") == 0);
        REQUIRE(::fchownat(bottom.get(), "link", 100'007, 100'007, AT_SYMLINK_NOFOLLOW) == 0);
        base::UniqueFd const file(::openat(bottom.get(), "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        REQUIRE(::fchown(file.get(), 100'000, 100'000) == 0);
        REQUIRE(::fchmod(file.get(), 04755) == 0);
    }
    auto const before = owner_of(AT_FDCWD, "/etc/passwd");
    auto const packed = sandbox::native::pack_upper(from, archive);
    REQUIRE_MESSAGE(packed.has_value(), (packed ? "" : packed.error().message()));
    auto const unpacked = sandbox::native::unpack_upper(archive, to, 100'000, 300'000, 65'536);
    REQUIRE_MESSAGE(unpacked.has_value(), (unpacked ? "" : unpacked.error().message()));
    auto const bottom = deep(to, kDepth);
    CHECK(owner_of(bottom.get(), "link") == 300'007);
    CHECK(owner_of(bottom.get(), "file") == 300'000);
    CHECK(owner_of(bottom.get(), ".") == 300'007);
    struct stat st {};
    REQUIRE(::fstatat(bottom.get(), "file", &st, 0) == 0);
    CHECK((st.st_mode & 07777) == 04755);
    CHECK(owner_of(AT_FDCWD, "/etc/passwd") == before);
}

TEST_CASE("a path that would not come back is refused before the sleep") {
    testing_support::TemporaryDirectory dir;
    auto const from = dir.path + "/from";
    REQUIRE(::mkdir(from.c_str(), 0755) == 0);
    (void)deep(from, 30, ::geteuid() == 0 ? 7 : ::geteuid());
    auto const packed = sandbox::native::pack_upper(from, dir.path + "/upper.tar");
    REQUIRE_FALSE(packed.has_value());
    CHECK(base::is(packed.error(), base::errc::invalid));
    CHECK(packed.error().context.find("4000") != std::string::npos);
    CHECK_FALSE(std::filesystem::exists(dir.path + "/upper.tar"));
}
