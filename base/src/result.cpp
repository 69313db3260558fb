#include <base/result.hpp>

#include <boost/system/system_error.hpp>
#include <cerrno>

namespace base {
namespace {

class Category final : public boost::system::error_category {
  public:
    char const* name() const noexcept override { return "berth"; }
    std::string message(int value) const override {
        switch (static_cast<errc>(value)) {
            case errc::invalid: return "invalid argument";
            case errc::not_found: return "not found";
            case errc::exists: return "already exists";
            case errc::stale: return "changed meanwhile";
            case errc::limit: return "limit reached";
            case errc::busy: return "busy";
            case errc::denied: return "not allowed";
            case errc::unavailable: return "unavailable";
            case errc::cancelled: return "cancelled";
            case errc::timed_out: return "timed out";
            case errc::corrupt: return "damaged or unknown format";
            case errc::internal: return "internal error";
        }
        return "unknown error";
    }
};

}  // namespace

boost::system::error_code make_error_code(errc code) {
    static Category const category;
    return {static_cast<int>(code), category};
}

std::string Error::message() const {
    // A context for one of our own codes is a whole sentence; a system error needs its text beside it.
    bool const ours = std::string_view(code.category().name()) == "berth";
    if (context.empty()) return code.message();
    return ours ? context : context + ": " + code.message();
}

void throw_exception_from_error(Error const& e, boost::source_location const&) {
    throw boost::system::system_error(e.code, e.context);
}

Error error(errc code, std::string context) { return {make_error_code(code), std::move(context)}; }
Error errno_error(std::string context) {
    int const saved = errno;
    return errno_error(saved, std::move(context));
}
Error errno_error(int saved_errno, std::string context) {
    return {{saved_errno, boost::system::system_category()}, std::move(context)};
}
Error wrap(Error inner, std::string_view what) {
    inner.context = inner.context.empty() ? std::string(what) : std::string(what) + ": " + inner.context;
    return inner;
}

}  // namespace base
