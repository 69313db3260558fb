#include "tls.hpp"

#include <http/tls_check.hpp>

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>

namespace http {
namespace {

int select_protocol(SSL*, unsigned char const** out, unsigned char* out_size, unsigned char const* in,
                    unsigned int in_size, void*) {
    static constexpr unsigned char ours[] = "\x08http/1.1";
    unsigned char* chosen = nullptr;
    if (SSL_select_next_proto(&chosen, out_size, ours, sizeof(ours) - 1, in, in_size) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

std::shared_ptr<asio::ssl::context> empty_context() {
    auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_server);
    SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
    SSL_CTX_set_options(context->native_handle(), SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_alpn_select_cb(context->native_handle(), select_protocol, nullptr);
    return context;
}

base::Result<std::shared_ptr<asio::ssl::context>> make_context(TlsFiles const& files) {
    auto context = empty_context();
    boost::system::error_code ec;
    context->use_certificate_chain_file(files.certificate, ec);
    if (ec) return base::Error{ec, "load certificate " + files.certificate};
    context->use_private_key_file(files.key, asio::ssl::context::pem, ec);
    if (ec) return base::Error{ec, "load key " + files.key};
    if (SSL_CTX_check_private_key(context->native_handle()) != 1)
        return base::error(base::errc::invalid,
                           "key " + files.key + " does not belong to " + files.certificate);
    return context;
}

}  // namespace

base::Status check_tls(TlsFiles const& files) {
    auto context = make_context(files);
    return context ? base::Status() : base::Status(context.error());
}

bool Certificate::Stamp::operator==(Stamp const& other) const {
    for (int i = 0; i < 2; ++i) {
        if (inode[i] != other.inode[i] || modified[i].tv_sec != other.modified[i].tv_sec ||
            modified[i].tv_nsec != other.modified[i].tv_nsec)
            return false;
    }
    return true;
}

Certificate::Stamp Certificate::stamp() const {
    Stamp result;
    int i = 0;
    for (auto const* path : {&files_.certificate, &files_.key}) {
        struct stat info {};
        if (::stat(path->c_str(), &info) == 0) {
            result.modified[i] = info.st_mtim;
            result.inode[i] = info.st_ino;
        }
        ++i;
    }
    return result;
}

base::Result<Certificate> Certificate::load(TlsFiles files) {
    Certificate certificate(std::move(files));
    certificate.loaded_ = certificate.stamp();
    auto context = make_context(certificate.files_);
    if (!context) return std::move(context).error();
    certificate.context_ = std::move(*context);
    return certificate;
}

base::Result<Certificate> Certificate::make() {
    using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
    using Document = std::unique_ptr<X509, decltype(&X509_free)>;
    constexpr long kDay = 86'400;
    Key const key(EVP_EC_gen("P-256"), EVP_PKEY_free);
    Document const document(X509_new(), X509_free);
    auto* const of = document.get();
    auto* const name = of ? X509_get_subject_name(of) : nullptr;
    auto const* const text = reinterpret_cast<unsigned char const*>("berth");
    bool const signed_ = key && name && X509_set_version(of, 2) == 1 && ASN1_INTEGER_set(X509_get_serialNumber(of), 1) == 1 &&
                         X509_gmtime_adj(X509_getm_notBefore(of), -kDay) && X509_gmtime_adj(X509_getm_notAfter(of), kDay) &&
                         X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, text, -1, -1, 0) == 1 &&
                         X509_set_issuer_name(of, name) == 1 && X509_set_pubkey(of, key.get()) == 1 &&
                         X509_sign(of, key.get(), EVP_sha256()) > 0;
    auto context = empty_context();
    auto* const ours = context->native_handle();
    if (!signed_ || SSL_CTX_use_certificate(ours, of) != 1 || SSL_CTX_use_PrivateKey(ours, key.get()) != 1)
        return base::error(base::errc::internal, "make a certificate");
    Certificate certificate;  // of no files, which never change
    certificate.context_ = std::move(context);
    return certificate;
}

std::shared_ptr<asio::ssl::context> Certificate::current() {
    auto const now = base::Clock::now();
    if (now < next_look_) return context_;
    next_look_ = now + std::chrono::seconds(1);
    auto const seen = stamp();
    if (seen == loaded_) return context_;
    if (auto fresh = make_context(files_)) {
        context_ = std::move(*fresh);
        loaded_ = seen;
    }
    return context_;
}

}  // namespace http
