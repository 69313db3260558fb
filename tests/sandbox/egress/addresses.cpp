#include <egress/address.hpp>

#include <doctest/doctest.h>

using namespace sandbox::egress;

TEST_CASE("addresses that no sandbox reaches") {
    SUBCASE("are recognised in every disguise") {
        for (auto const* text :
             {"0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255",
              "127.0.0.1", "127.255.255.254", "169.254.169.254", "168.63.129.16", "172.16.0.1", "172.31.255.255", "192.0.0.1",
              "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1",
              "239.255.255.255", "240.0.0.1", "255.255.255.255", "::", "::1", "fc00::1", "fd00:ec2::254", "fe80::1",
              "febf::1", "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
              "::ffff:0:10.0.0.1", "::127.0.0.1", "::10.0.0.1", "2002:7f00:1::", "2002:a00:1::1", "2002:a9fe:a9fe::",
              "64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b:1::808:808", "2001:0:1::1", "2001:db8::1", "100::1",
              "4000::1", "5f00::1"}) {
            INFO(text);
            CHECK(why_private(asio::ip::make_address(text)) != "");
        }
    }
    SUBCASE("leave public ones alone") {
        for (auto const* text :
             {"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.1", "100.63.255.255", "100.128.0.1", "126.255.255.255", "128.0.0.1",
              "169.253.255.255", "169.255.0.1", "172.15.255.255", "172.32.0.1", "192.167.255.255", "192.169.0.1", "198.17.255.255",
              "198.20.0.1", "223.255.255.255", "2001:4860:4860::8888", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8",
              "2002:808:808::1", "2a00::1"}) {
            INFO(text);
            CHECK(why_private(asio::ip::make_address(text)) == "");
        }
    }
    SUBCASE("are exempted by networks, through their disguises too") {
        Networks const networks({"10.0.5.7/24", "fd00:1::/32", "192.168.1.1/32", "no network"});
        auto const in = [&](char const* text) { return networks.contain(asio::ip::make_address(text)); };
        CHECK(in("10.0.5.200"));
        CHECK(in("::ffff:10.0.5.200"));
        CHECK_FALSE(in("10.0.6.1"));
        CHECK(in("192.168.1.1"));
        CHECK_FALSE(in("192.168.1.2"));
        CHECK(in("fd00:1:2::3"));
        CHECK_FALSE(in("fd00:2::1"));
        CHECK_FALSE(Networks({}).contain(asio::ip::make_address("10.0.0.1")));
    }
    SUBCASE("include this machine's own") {
        CHECK(of_this_machine(asio::ip::make_address("127.0.0.1")));
        CHECK(of_this_machine(asio::ip::make_address("::ffff:127.0.0.1")));
        CHECK_FALSE(of_this_machine(asio::ip::make_address("192.0.2.77")));
    }
}
