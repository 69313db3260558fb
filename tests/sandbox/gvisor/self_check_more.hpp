#pragma once

namespace gvisor_test {

/// As kSelfCheck, in Node: buffers, timers, promises, a server with a connection that stays open, and a file.
inline constexpr char const* kSelfCheckNode = R"js(
const crypto = require('node:crypto'), fs = require('node:fs'), net = require('node:net');
const sum = (b) => crypto.createHash('sha256').update(b).digest('hex');
const pages = Array.from({ length: 16 }, () => crypto.randomBytes(1 << 20)), sums = pages.map(sum);
let ticks = 0;
setInterval(() => { ticks++; }, 10);
const waited = new Map();
fs.writeFileSync('/workspace/node-log', 'line 0\n');
const log = fs.openSync('/workspace/node-log', 'a');
const server = net.createServer((socket) => socket.on('data', (data) => socket.write(`back ${data}`)));
server.listen(8002, '127.0.0.1', () => {
    const near = net.connect(8002, '127.0.0.1', () => console.log(`ready ${process.pid}`));
    near.setEncoding('utf8');
    near.on('data', (text) => { const next = waited.get('near'); waited.delete('near'); next?.(text); });
    let n = 0;
    const check = async () => {
        n++;
        for (const [i, page] of pages.entries()) if (sum(page) !== sums[i]) return `page ${i}`;
        const before = ticks, end = Date.now() + 10_000;
        while (ticks === before && Date.now() < end) await new Promise((done) => setTimeout(done, 5));
        if (ticks === before) return 'timer';
        const heard = new Promise((done) => waited.set('near', done));
        near.write(`round ${n}`);
        const answer = await heard;
        if (answer !== `back round ${n}`) return `connection ${answer}`;
        fs.writeSync(log, `line ${n}\n`);
        if (fs.readFileSync('/workspace/node-log', 'utf8').split('\n').length !== n + 2) return 'file';
        const at = n % pages.length;
        pages[at] = crypto.randomBytes(1 << 20);
        sums[at] = sum(pages[at]);
    };
    require('node:readline').createInterface({ input: process.stdin }).on('line', async () => {
        const wrong = await check();
        console.log(wrong === undefined ? `ok ${n} pid ${process.pid}` : `DIFFERS ${wrong}`);
    });
});
)js";

/// As kSelfCheck, in C: memory, threads that hand each other turns, a pipe, a shared mapping, a timer, and stack and registers
/// of a loop that never ends.
inline constexpr char const* kSelfCheckC = R"c(
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kWords = 1 << 21 };
static uint64_t *words, seed;
static uint64_t next(uint64_t *s) { *s ^= *s << 13; *s ^= *s >> 7; *s ^= *s << 17; return *s; }
static void fill(uint64_t with) { seed = with; for (size_t i = 0; i < kWords; i++) words[i] = next(&with); }
static int whole(void) {
    uint64_t s = seed;
    for (size_t i = 0; i < kWords; i++) if (words[i] != next(&s)) return 0;
    return 1;
}
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn = PTHREAD_COND_INITIALIZER;
static unsigned long turns;
static void *player(void *me) {
    for (;;) {
        pthread_mutex_lock(&lock);
        while (turns % 2 != (unsigned long)me) pthread_cond_wait(&turn, &lock);
        turns++;
        pthread_cond_broadcast(&turn);
        pthread_mutex_unlock(&lock);
        usleep(500);
    }
    return 0;
}
static volatile unsigned long spun, spun_wrong;
static void *spinner(void *unused) {    /* a sum kept in registers */
    (void)unused;
    uint64_t a = 0, b = ~0ull; double x = 0, y = 0;
    for (;;) {
        for (int i = 0; i < 100000; i++) { a += 3; b -= 3; x += 0.5; y -= 0.5; }
        if (a + b != ~0ull || x + y != 0) spun_wrong++;
        if (x > 1e12) x = y = 0;
        spun++;
        usleep(2000);
    }
    return 0;
}
static volatile sig_atomic_t alarms;
static void on_alarm(int n) { (void)n; alarms++; }
static unsigned long turns_now(void) {
    pthread_mutex_lock(&lock);
    unsigned long t = turns;
    pthread_mutex_unlock(&lock);
    return t;
}

int main(void) {
    words = mmap(0, kWords * sizeof *words, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fill(88172645463325252ull);
    unsigned long *shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int pipes[2];
    if (pipe(pipes)) return 1;
    pid_t child = fork();
    if (child == 0) {                   /* counts what it is sent */
        char c;
        while (read(pipes[0], &c, 1) == 1) __atomic_add_fetch(shared, 1, __ATOMIC_SEQ_CST);
        _exit(7);
    }
    pthread_t t;
    pthread_create(&t, 0, player, (void *)0);
    pthread_create(&t, 0, player, (void *)1);
    pthread_create(&t, 0, spinner, 0);
    struct sigaction action = {0};
    action.sa_handler = on_alarm;
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, 0);
    struct itimerval every = {{0, 20000}, {0, 20000}};
    setitimer(ITIMER_REAL, &every, 0);
    printf("ready %d\n", (int)getpid());
    fflush(stdout);
    char line[256];
    for (unsigned long n = 1; fgets(line, sizeof line, stdin); n++) {
        char const *wrong = 0;
        unsigned long before[3] = {turns_now(), spun, (unsigned long)alarms};
        if (!whole()) wrong = "memory";
        if (write(pipes[1], "x", 1) != 1) wrong = "pipe";
        for (int i = 0; i < 2000; i++) {
            if (turns_now() > before[0] + 1 && spun > before[1] && (unsigned long)alarms > before[2] &&
                __atomic_load_n(shared, __ATOMIC_SEQ_CST) == n) break;
            usleep(5000);
        }
        if (turns_now() <= before[0] + 1) wrong = "threads";
        if (spun <= before[1]) wrong = "spinner";
        if (spun_wrong) wrong = "registers";
        if ((unsigned long)alarms <= before[2]) wrong = "timer";
        if (__atomic_load_n(shared, __ATOMIC_SEQ_CST) != n) wrong = "child";
        if (waitpid(child, 0, WNOHANG) != 0) wrong = "child ended";
        if (wrong) printf("DIFFERS %s\n", wrong);
        else printf("ok %lu pid %d\n", n, (int)getpid());
        fflush(stdout);
        fill(seed + n * 2654435761u + 1);
    }
    return 0;
}
)c";

}  // namespace gvisor_test
