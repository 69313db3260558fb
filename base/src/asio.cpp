// The one translation unit that holds the compiled parts of Asio and Boost.Process.
#include <boost/asio/impl/src.hpp>
#include <boost/process/v2/src.hpp>
