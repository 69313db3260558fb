# Shared by the scripts in this folder: messages, the package lists, and where things stand. Sourced, never run.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TEMPLATES=${BERTH_TEMPLATES:-/var/lib/berth/templates}
NODE_TOOLS=${BERTH_NODE_TOOLS:-$ROOT/build/node}   # the npm packages that the suites drive, and bin/node >= 22 for them

# A script that another one started goes on counting from its start.
BERTH_STARTED=${BERTH_STARTED:-$(date +%s)}
export BERTH_STARTED
step() { printf '==> [%4ds] %s\n' "$(( $(date +%s) - BERTH_STARTED ))" "$*"; }
note() { printf '    %s\n' "$*"; }
# What is only worth a line to someone who asked for it, not to a script that looks first.
fact() { [ -n "${BERTH_QUIET:-}" ] || note "$@"; }
die()  { printf 'error: %s\n' "$*" >&2; exit 1; }

# Runs a command quietly; shows its last lines only when it fails.
quietly() {
    local log rc=0
    log=$(mktemp)
    "$@" >"$log" 2>&1 || rc=$?
    [ "$rc" = 0 ] || tail -n 40 "$log" >&2
    rm -f "$log"
    return "$rc"
}

need_root() {
    [ "$(id -u)" = 0 ] || die "$1 needs root (packages, mounts and cgroups). Run it again with sudo."
}

os_field() { sed -n "s/^$1=\"\\{0,1\\}\\([^\"]*\\)\"\\{0,1\\}$/\\1/p" /etc/os-release; }

installed() { dpkg-query -W -f='${Status}\n' "$1" 2>/dev/null | grep -q 'install ok installed'; }

# One compiler per core, but not more than memory holds: one wants up to 1.5 GB.
jobs_that_fit() {
    local cores free
    cores=$(nproc)
    free=$(( $(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo) / 1500000 ))
    [ "$free" -ge 1 ] || free=1
    echo $(( free < cores ? free : cores ))
}

# build PRESET [TARGET...]: configures when that is new, builds the targets (all without any), shows ninja's progress.
build() {
    local preset=$1
    shift
    (
        cd "$ROOT" || exit 1
        [ -f "build/$preset/build.ninja" ] || step "configure: $preset"
        quietly cmake --preset "$preset" || exit 1
        NINJA_STATUS="    [%f/%t, %es] " ninja -C "build/$preset" -j "$(jobs_that_fit)" "$@"
    )
}
