#include "client.hpp"

#include <boost/asio/ssl.hpp>
#include <doctest/doctest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <sys/socket.h>
#include <sys/stat.h>

using namespace http_test;

namespace {

/// A self-signed certificate for `name`, written over the two files.
void write_pair(http::TlsFiles const& files, char const* name) {
    std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> const key(EVP_EC_gen("P-256"), EVP_PKEY_free);
    std::unique_ptr<X509, decltype(&X509_free)> const certificate(X509_new(), X509_free);
    X509_set_version(certificate.get(), 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
    X509_set_pubkey(certificate.get(), key.get());
    auto* const subject = X509_get_subject_name(certificate.get());
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, reinterpret_cast<unsigned char const*>(name), -1,
                               -1, 0);
    X509_set_issuer_name(certificate.get(), subject);
    X509_sign(certificate.get(), key.get(), EVP_sha256());
    auto const save = [](std::string const& path, auto write) {
        std::unique_ptr<FILE, decltype(&fclose)> const file(fopen(path.c_str(), "w"), fclose);
        REQUIRE(file);
        REQUIRE(write(file.get()) == 1);
    };
    save(files.key,
         [&](FILE* f) { return PEM_write_PrivateKey(f, key.get(), nullptr, nullptr, 0, nullptr, nullptr); });
    save(files.certificate, [&](FILE* f) { return PEM_write_X509(f, certificate.get()); });
}

struct Secure {
    std::string name;  ///< whose certificate it was
    std::string answer;
};

/// One request over TLS; with `leave_once`, goes away without the answer as soon as that is true.
Task<Secure> ask_tls(testing_support::Io& io, std::uint16_t port, std::string request,
                     bool const* leave_once) {
    asio::ssl::context context(asio::ssl::context::tls_client);
    asio::ssl::stream<asio::ip::tcp::socket> stream(io.context, context);
    asio::ip::tcp::endpoint const endpoint(asio::ip::make_address("127.0.0.1"), port);
    co_await stream.next_layer().async_connect(endpoint, asio::use_awaitable);
    co_await stream.async_handshake(asio::ssl::stream_base::client, asio::use_awaitable);
    Secure result;
    char name[64] = "";
    std::unique_ptr<X509, decltype(&X509_free)> const peer(SSL_get1_peer_certificate(stream.native_handle()),
                                                           X509_free);
    X509_NAME_get_text_by_NID(X509_get_subject_name(peer.get()), NID_commonName, name, sizeof(name));
    result.name = name;
    auto const out = asio::buffer(request);
    co_await asio::async_write(stream, out, asio::use_awaitable);
    if (leave_once) {
        while (!*leave_once) co_await base::sleep_for(base::milliseconds(5));
        co_return result;
    }
    auto in = asio::dynamic_buffer(result.answer);
    co_await asio::async_read(stream, in, base::as_tuple);
    co_return result;
}

}  // namespace

TEST_CASE("listen") {
    Fixture f;

    SUBCASE("on a port in use names the address") {
        auto const again = f.server.listen("127.0.0.1", f.port);
        REQUIRE(again.has_error());
        CHECK(again.error().message() ==
              "listen on 127.0.0.1:" + std::to_string(f.port) + ": Address already in use");
    }
    SUBCASE("on what is no address is invalid") {
        auto const result = f.server.listen("localhost.example", 1);
        REQUIRE(result.has_error());
        CHECK(base::is(result.error(), base::errc::invalid));
    }
    SUBCASE("with a certificate that is not there names the file") {
        auto const result =
            f.server.listen("127.0.0.1", 0, http::TlsFiles{"/nonexistent/c.pem", "/nonexistent/k.pem"});
        REQUIRE(result.has_error());
        CHECK(result.error().message().find("/nonexistent/c.pem") != std::string::npos);
    }
}

TEST_CASE("the private socket") {
    Fixture f;
    testing_support::TemporaryDirectory directory;
    auto const path = directory.path + "/berth.sock";
    f.server.listen_unix(path, "").value();

    SUBCASE("is for its owner and group") {
        struct stat info {};
        REQUIRE(::stat(path.c_str(), &info) == 0);
        CHECK((info.st_mode & 07777) == 0660);
    }
    SUBCASE("makes every request the local principal's, whatever its Host, Origin and credential") {
        f.io.run([](Fixture& x, std::string to) -> Task<void> {
            Client client(x.io.context);
            co_await client.connect(to);
            auto answer = co_await client.ask(
                "POST /echo HTTP/1.1\r\nOrigin: http://evil.example\r\n"
                "Content-Length: 2\r\n\r\nhi");
            CHECK(answer.status == 200);
            CHECK(answer.body == "hi");
            answer = co_await client.ask("POST /private HTTP/1.1\r\n\r\n");
            CHECK(answer.status == 200);
            answer = co_await client.ask("POST /none HTTP/1.1\r\n\r\n");
            CHECK(answer.status == 404);
        }(f, path));
        CHECK(f.seen.last.principal.name == "local");
        CHECK(f.seen.last.peer == "unix");
    }
    SUBCASE("notices a client that goes away") {
        f.io.run([](Fixture& x, std::string to) -> Task<void> {
            Client client(x.io.context);
            co_await client.connect(to);
            co_await client.send(get("/wait"));
            co_await x.until(x.seen.waiting);
            client.close();
            co_await x.until(x.seen.cancelled);
        }(f, path));
    }
    SUBCASE("is not taken from a server that runs, nor from a file that is no socket") {
        auto const again = f.server.listen_unix(path, "");
        REQUIRE(again.has_error());
        CHECK(again.error().message() == "listen on " + path + ": Address already in use");
        auto const file = directory.path + "/file";
        std::unique_ptr<FILE, decltype(&fclose)>(fopen(file.c_str(), "w"), fclose);
        CHECK(f.server.listen_unix(file, "").has_error());
        CHECK(std::filesystem::exists(file));
    }
    SUBCASE("replaces what a dead server left, and goes with the server") {
        auto const stale = directory.path + "/stale";
        { asio::local::stream_protocol::acceptor const dead(f.io.context, stale); }
        REQUIRE(std::filesystem::exists(stale));
        CHECK(f.server.listen_unix(stale, "").has_value());
        f.io.run(f.server.stop(base::milliseconds(10)));
        CHECK(!std::filesystem::exists(stale));
        CHECK(!std::filesystem::exists(path));
    }
    SUBCASE("needs a group that exists and a path that fits") {
        CHECK(f.server.listen_unix(directory.path + "/other", "no-such-group").has_error());
        CHECK(!std::filesystem::exists(directory.path + "/other"));
        CHECK(f.server.listen_unix(directory.path + "/" + std::string(120, 'x'), "").has_error());
    }
}

TEST_CASE("TLS") {
    Fixture f;
    testing_support::TemporaryDirectory directory;
    http::TlsFiles const files{directory.path + "/c.pem", directory.path + "/k.pem"};
    write_pair(files, "first");
    auto const port = f.server.listen("127.0.0.1", 0, files).value().port();
    auto const bye = get("/health", "Connection: close\r\n");

    SUBCASE("serves the same routes") {
        auto const result = f.io.run(ask_tls(f.io, port, bye, nullptr));
        CHECK(result.name == "first");
        CHECK(result.answer.starts_with("HTTP/1.1 200 "));
    }
    SUBCASE("streams") {
        auto const result =
            f.io.run(ask_tls(f.io, port, get("/stream?now", "Connection: close\r\n"), nullptr));
        CHECK(result.answer.ends_with("xxx\r\n0\r\n\r\n"));
    }
    SUBCASE("notices a client that goes away") {
        f.io.run(ask_tls(f.io, port, get("/wait"), &f.seen.waiting));
        f.io.run(f.until_idle());
        CHECK(f.seen.cancelled);
        CHECK(f.seen.write_failure.has_error());
    }
    SUBCASE("takes up a replaced certificate, and keeps the old one while the files do not load") {
        f.io.run(ask_tls(f.io, port, bye, nullptr));
        std::filesystem::resize_file(files.certificate, 10);
        auto result = f.io.run(ask_tls(f.io, port, bye, nullptr));
        CHECK(result.name == "first");
        write_pair(files, "second");
        while (result.name != "second") {
            f.io.run(base::sleep_for(base::milliseconds(100)));
            result = f.io.run(ask_tls(f.io, port, bye, nullptr));
        }
        CHECK(result.answer.starts_with("HTTP/1.1 200 "));
    }
    SUBCASE("closes on a client that speaks plain HTTP") {
        auto const all = f.io.run([](Fixture& x, std::uint16_t to, std::string request) -> Task<std::string> {
            Client client(x.io.context);
            co_await client.connect(to);
            co_await client.send(std::move(request));
            co_return co_await client.rest();
        }(f, port, bye));
        CHECK(all.find("HTTP/1.1 200") == std::string::npos);
    }
}
