#pragma once
#include "../command_line.hpp"
#include "../engine.hpp"
#include <config/settings.hpp>

#include <string>

// One file per command. Each returns the exit status, and says in one line on stderr why it is not 0.
namespace host {

int serve(Options const&, config::Settings);
/// What an on-demand server says last on its stdout, before it turns to its log file.
inline constexpr char kServerReady[] = "ready\n", kServerBusy[] = "busy\n";
/// One client on stdin and stdout: a bridge to the server of the data directory. Where none runs, root starts one with the
/// first request, which ends with its last client.
int stdio(Options const&);
/// Lists the tools of the running server, says what one takes (--help), or calls it.
int tool(Options const&);
/// Stops the running server and every sandbox; without a server, what the data directory records of them.
int down(Options const&);
/// servers import FILE | check | catalogue | add NAME | login NAME | logout NAME: the operator's community servers.
int servers(Options const&);
/// The file of --servers, or that of the data directory.
std::string servers_file(Options const&);
int servers_login(Options const&);
int servers_logout(Options const&);
int doctor(Options const&, config::Settings const&);

/// "berth: LINE" on stderr, made plain, and the exit status of a failure.
int fail(std::string const& line);
std::string beside_us(char const* program);
EngineOptions engine_options(Options const&, config::Settings);

}  // namespace host
