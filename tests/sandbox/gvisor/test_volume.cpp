#include "node_fixture.hpp"

#include <filesystem>
#include <fstream>

using namespace gvisor_test;

TEST_CASE("a volume attached after the boot") {
    BERTH_NEEDS_GVISOR();
    TestNode node;
    auto const volume = node.directory.path + "/volume";
    std::filesystem::create_directories(volume + "/workspace");
    std::filesystem::create_directories(volume + "/home");
    std::ofstream(volume + "/workspace/from-host") << "written outside\n";
    auto one = node.take();
    REQUIRE(one->attach_volume(volume));
    REQUIRE(node.configure(*one, true));

    SUBCASE("is visible inside and can be written") {
        CHECK(node.output_of(*one, "cat /workspace/from-host") == "written outside\n");
        CHECK(node.output_of(*one, "echo inside > /workspace/back; echo h > /home/agent/h; cat /workspace/back") == "inside\n");
        auto back = base::read_file(volume + "/workspace/back");
        REQUIRE(back);
        CHECK(*back == "inside\n");
        CHECK(std::filesystem::exists(volume + "/home/h"));
    }
    SUBCASE("shows what the host writes later") {
        CHECK(node.output_of(*one, "ls /workspace") == "from-host\n");
        std::ofstream(volume + "/workspace/later") << "2\n";
        CHECK(node.output_of(*one, "cat /workspace/later") == "2\n");
        std::ofstream(volume + "/workspace/later") << "3\n";
        CHECK(node.output_of(*one, "cat /workspace/later") == "3\n");
    }
    SUBCASE("is attached once") {
        auto again = one->attach_volume(volume);
        REQUIRE_FALSE(again);
        CHECK(base::is(again.error(), base::errc::exists));
    }
    SUBCASE("is released and keeps its files when the sandbox is destroyed") {
        CHECK(node.output_of(*one, "echo kept > /workspace/kept; echo done") == "done\n");
        REQUIRE(node.io.run(one->destroy()));
        CHECK(traces(one->slot_id(), node.options.directory).empty());
        CHECK(std::filesystem::exists(volume + "/workspace/kept"));
    }
}
