#pragma once
#include "link.hpp"
#include "loop.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace guest {

/// TCP connections inside, carried over the channel: those that the server asks for, and those that programs open to the
/// proxy port. Each direction has a window; a side sends no more than the other has room for.
class Streams {
  public:
    Streams(Loop&, Link&);

    void connect(std::uint32_t request, Json const&);      ///< the stream has the request's id
    /// A program's socket as the stream of that request. One that is its stdin and stdout has its name, and outlives its stream
    /// where `quiesce` ends that, until `attach`; any other, of "", ends with its stream.
    void take(std::uint32_t request, int fd, std::string program);
    void attach(std::uint32_t request, Json const&);       ///< the stream has the request's id
    /// Listens on 127.0.0.1, or no longer. 0 takes a free port. Returns the port, or -1 with errno.
    int listen(int port);
    void close_listener();
    void frame(protocol::Frame const&);                     ///< data waits for `pump_touched`
    void pump_touched();                                    ///< hands on what the frames since then brought
    void close_all();                                       ///< their server is gone
    /// Closes all but programs' stdin and stdout, whose streams alone end, and those who connect from now on wait in the listener's queue until `accept_again`. Returns how many.
    int quiesce();
    void accept_again();
    void resume();                                          ///< the link has room again

  private:
    struct Stream {
        std::uint32_t id = 0;
        int fd = -1;
        bool connecting = false;
        std::string program;                 // whose stdin and stdout it is
        std::uint32_t inherited = 0;         // of `pending`, what an earlier stream brought: beside our window
        bool second_try = false;             // ::1 after 127.0.0.1
        int port = 0;
        std::uint32_t credit = protocol::kWindow;   // what the server can take
        std::string pending;                 // for the program; within the window we granted
        std::uint32_t to_grant = 0;          // passed on, not yet returned as credit
        bool touched = false;                // among `touched_`
        bool read_ended = false;             // shut was sent
        bool write_ended = false;            // shut came: the program sees end of file after `pending`
        bool write_closed = false;
        bool closing = false;                // close came: only `pending` is left to do
    };
    using Ptr = std::shared_ptr<Stream>;

    bool dial(Ptr const&, bool v6);
    void connected(Ptr const&);
    void accept_some();
    void adopt(Ptr const&);
    void ready(Ptr const&, std::uint32_t events);
    void pump_out(Ptr const&);               // program -> server
    void pump_in(Ptr const&);                // server -> program
    void update(Ptr const&);
    void drop(Ptr const&, bool tell);

    Loop& loop_;
    Link& link_;
    int listener_ = -1, port_ = -1;
    std::uint32_t next_id_ = 0;
    std::map<std::uint32_t, Ptr> streams_;
    std::vector<Ptr> touched_;               // have data of this turn
    std::map<std::string, Ptr> parked_;      // by program, without a stream just now
};

}  // namespace guest
