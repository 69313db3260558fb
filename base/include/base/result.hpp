#pragma once
#include <boost/system/result.hpp>
#include <string>
#include <string_view>

namespace base {

/// Failures that every folder shares. A folder with causes of its own has its own enum beside this one.
enum class errc {
    invalid = 1,      ///< The caller's argument is wrong. The same call fails again.
    not_found,        ///< The thing named does not exist, or is not the caller's.
    exists,           ///< Something stands where the new thing should go.
    stale,            ///< It changed since the caller looked. Look again, then retry.
    limit,            ///< A stated limit was reached. A smaller request can succeed.
    busy,             ///< All capacity is in use. The same call can succeed later.
    denied,           ///< Policy refuses it.
    unavailable,      ///< A part is not running or not installed. The message says which.
    cancelled,        ///< The caller went away or asked to stop.
    timed_out,        ///< The limit passed first; the work may or may not have happened.
    corrupt,          ///< Stored data is damaged or of a version that this build does not know.
    internal,         ///< A bug of ours.
};
boost::system::error_code make_error_code(errc);

/// What failed and while doing what: "start sandbox s-17: mount /workspace: Permission denied".
struct Error {
    boost::system::error_code code;
    std::string context;

    std::string message() const;   ///< context, and the code's own text unless the context is the whole story
};

template <class T>
using Result = boost::system::result<T, Error>;
using Status = Result<void>;

// Found by name lookup, so that result.value() throws system_error with the context.
[[noreturn]] void throw_exception_from_error(Error const&, boost::source_location const&);

/// `context` is a whole sentence for whoever reads the message: the code's own text is not added.
Error error(errc code, std::string context);
/// The current errno, with what was attempted. Nothing that could change errno may run in between.
Error errno_error(std::string context);
Error errno_error(int saved_errno, std::string context);    ///< the same of an errno that was put by
/// The same failure seen from one level up: "<what>: <context>".
Error wrap(Error inner, std::string_view what);

inline bool is(Error const& e, errc code) { return e.code == make_error_code(code); }

}  // namespace base

template <>
struct boost::system::is_error_code_enum<base::errc> : std::true_type {};
