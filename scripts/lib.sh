# Shared by the scripts in this folder: messages, the package lists, and where things stand. Sourced, never run.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TEMPLATES=${BERTH_TEMPLATES:-/var/lib/berth/templates}
NODE_TOOLS=$ROOT/build/node           # Node >= 22 and the npm packages that the suites drive

STARTED=$(date +%s)
step() { printf '==> [%4ds] %s\n' "$(( $(date +%s) - STARTED ))" "$*"; }
note() { printf '    %s\n' "$*"; }
die()  { printf 'error: %s\n' "$*" >&2; exit 1; }

# Runs a command quietly; shows its last lines only when it fails.
quietly() {
    local log
    log=$(mktemp)
    if "$@" >"$log" 2>&1; then rm -f "$log"; return 0; fi
    local rc=$?
    tail -n 40 "$log" >&2
    rm -f "$log"
    return "$rc"
}

need_root() {
    [ "$(id -u)" = 0 ] || die "$1 needs root (packages, mounts and cgroups). Run it again with sudo."
}

os_field() { sed -n "s/^$1=\"\\{0,1\\}\\([^\"]*\\)\"\\{0,1\\}$/\\1/p" /etc/os-release; }

installed() { dpkg-query -W -f='${Status}\n' "$1" 2>/dev/null | grep -q 'install ok installed'; }
