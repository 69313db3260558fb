# What a program inside sees, one fact a line. Numbers that change from run to run are left out.
import ctypes, os, re, socket, stat

def lines(path):
    try:
        with open(path) as f:
            return f.read().splitlines()
    except OSError as e:
        return [f"({os.strerror(e.errno)})"]

def section(name, found):
    print(f"[{name}]")
    for line in found:
        print(line)

HOSTS_FILES = ("/berth-guest", "/berth/volume", "/workspace", "/home/agent")

def mounts():
    # What lies over files of /proc depends on which of them the kernel has: see `told()`.
    for line in lines("/proc/self/mountinfo"):
        fields = line.split()
        kind = "host" if fields[4] in HOSTS_FILES else fields[fields.index("-") + 1]
        if not fields[4].startswith("/proc/"):
            yield f"{fields[4]} {kind} {'ro' if 'ro' in fields[5].split(',') else 'rw'}"

TELLTALES = ("acpi asound bus/pci cmdline config.gz crypto devices diskstats driver interrupts iomem ioports kallsyms kcore key-users "
             "keys kmsg kpagecgroup kpagecount kpageflags latency_stats misc modules pagetypeinfo partitions sched_debug scsi "
             "slabinfo softirqs swaps sysrq-trigger timer_list timer_stats vmallocinfo zoneinfo").split()

def told():
    for name in TELLTALES:
        path = "/proc/" + name
        try:
            if os.path.isdir(path):
                found = bool(os.listdir(path))
            else:
                fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
                try:
                    found = bool(os.read(fd, 1))
                finally:
                    os.close(fd)
        except OSError:
            found = False
        if found:
            yield path

def descriptors():
    for fd in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            yield f"{fd} {re.sub('[0-9]+', 'N', os.readlink('/proc/self/fd/' + fd))}"
        except OSError:
            pass                                    # the one of the listing itself

def status():
    for line in lines("/proc/self/status"):
        if re.match("(Cap|NoNewPrivs|Seccomp:|Uid|Gid|Groups)", line):
            yield " ".join(line.split())

def setuid_files():
    for top in ("/usr", "/opt", "/berth", "/workspace", "/tmp"):
        for root, _, files in os.walk(top):
            for name in files:
                try:
                    mode = os.lstat(os.path.join(root, name)).st_mode
                except OSError:
                    continue
                if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID) and top != "/usr":
                    yield os.path.join(root, name)

def environment():
    return sorted(n for n in os.environ)

def tree(top, depth):
    for root, dirs, files in os.walk(top):
        level = root[len(top):].count("/")
        if level >= depth:
            dirs[:] = []
        for name in sorted(dirs + files):
            path = os.path.join(root, name)
            mode = os.lstat(path).st_mode
            kind = "c" if stat.S_ISCHR(mode) else "b" if stat.S_ISBLK(mode) else "s" if stat.S_ISSOCK(mode) else "l" if stat.S_ISLNK(mode) else "d" if stat.S_ISDIR(mode) else "f"
            yield f"{kind} {path}"

def interfaces():
    return [name for _, name in socket.if_nameindex()]

def writable_settings():
    # Of the machine: those of the sandbox's own network are its own.
    for name in ("/proc/sysrq-trigger",):
        if os.access(name, os.W_OK):
            yield name
    for root, _, files in os.walk("/proc/sys"):
        if root.startswith("/proc/sys/net"):
            continue
        for name in files:
            try:
                os.close(os.open(os.path.join(root, name), os.O_WRONLY))
                yield os.path.join(root, name)
            except OSError:
                pass

section("mounts", sorted(mounts()))
section("files of /proc about the machine", told())
section("descriptors", descriptors())
section("status", status())
section("user ids", lines("/proc/self/uid_map") and [" ".join(l.split()[:1] + l.split()[2:]) for l in lines("/proc/self/uid_map")])
section("environment", environment())
section("devices", sorted(tree("/dev", 1)))
section("sys", sorted(tree("/sys", 3)))
section("network", interfaces())
section("unix sockets", sorted({l.split()[-1] for l in lines("/proc/net/unix")[1:] if len(l.split()) > 7}))
section("processes of others", sorted(p for p in os.listdir("/proc") if p.isdigit() and int(p) not in (1, os.getpid(), os.getppid()) and b"berth-ready" not in open(f"/proc/{p}/cmdline", "rb").read() and open(f"/proc/{p}/comm").read().strip() not in ("bash", "python3", "berth-ready")))
section("settings of the machine that can be written", sorted(writable_settings()))
section("setuid files beside the image's", sorted(setuid_files()))
section("host name", [socket.gethostname()])
