#pragma once

namespace gvisor_test {

/// A program that watches itself: each line on its standard input makes it look at all it holds, and answer "ok <n>", n
/// counting from 1, or what differs.
inline constexpr char const* kSelfCheck = R"py(
import hashlib, http.client, http.server, os, random, select, signal, socket, sys, threading, time

MB = int(sys.argv[1])
pages = [os.urandom(1 << 20) for _ in range(MB)]
sums = [hashlib.sha256(p).digest() for p in pages]

ticks = [0, 0]
def thread():
    while True:
        ticks[0] += 1
        time.sleep(0.01)
threading.Thread(target=thread, daemon=True).start()
def alarm(*_):
    ticks[1] += 1
signal.signal(signal.SIGALRM, alarm)
signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)

told = []
signal.signal(signal.SIGUSR1, lambda *_: told.append(1))
os.makedirs("/run/berth/notify", exist_ok=True)
with open("/run/berth/notify/%d" % os.getpid(), "w") as f:
    f.write(str(int(signal.SIGUSR1)))

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"served")
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()

listener = socket.create_server(("127.0.0.1", 8001))
near = socket.create_connection(("127.0.0.1", 8001))
far, _ = listener.accept()
near.sendall(b"on its way")              # read only after the first wake

reader, writer = os.pipe()
os.write(writer, b"in the pipe")

kept = open("/workspace/before", "w+")
kept.write("line 0\n")
kept.flush()
os.rename("/workspace/before", "/workspace/after")
gone = open("/tmp/gone", "w+")           # deleted, but not on the volume
gone.write("still here")
gone.flush()
os.unlink("/tmp/gone")

def check(n):
    for i, p in enumerate(pages):
        if hashlib.sha256(p).digest() != sums[i]:
            return "page %d" % i
    before = list(ticks)
    end = time.monotonic() + 10
    while (ticks[0] == before[0] or ticks[1] == before[1]) and time.monotonic() < end:
        time.sleep(0.01)
    if ticks[0] == before[0]: return "thread"
    if ticks[1] == before[1]: return "timer"
    got = far.recv(100)
    if got != (b"on its way" if n == 1 else b"round %d" % (n - 1)): return "connection %r" % got
    far.sendall(b"back %d" % n)
    if near.recv(100) != b"back %d" % n: return "connection back"
    near.sendall(b"round %d" % n)
    got = os.read(reader, 100)
    if got != (b"in the pipe" if n == 1 else b"pipe %d" % (n - 1)): return "pipe %r" % got
    os.write(writer, b"pipe %d" % n)
    c = http.client.HTTPConnection("127.0.0.1", 8000, timeout=10)
    c.request("GET", "/")
    if c.getresponse().read() != b"served": return "server"
    kept.write("line %d\n" % n)
    kept.flush()
    lines = open("/workspace/after").read().splitlines()
    if lines != ["line %d" % i for i in range(n + 1)]: return "file %r" % lines
    gone.seek(0)
    if gone.read() != "still here": return "deleted file"
    pages[random.randrange(MB)] = fresh = os.urandom(1 << 20)
    for i, p in enumerate(pages):
        if p is fresh: sums[i] = hashlib.sha256(p).digest()
    return None

print("ready %d" % os.getpid(), flush=True)
n = 0
for line in sys.stdin:
    n += 1
    wrong = check(n)
    print("ok %d told %d pid %d" % (n, len(told), os.getpid()) if wrong is None else "DIFFERS " + wrong, flush=True)
)py";

}  // namespace gvisor_test
