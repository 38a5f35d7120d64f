#!/usr/bin/env bash
# Tries this checkout's HEAD as somebody would who has nothing but Debian 12, make, git, gcc and Rust: each part in a
# bare root of its own, with its own processes, mounts and network. What HEAD lacks a newcomer lacks as well.
#
#   clean-room.sh [PART...]
#     demo      `make demo` as root, with the clone in /root
#     install   README's section "Install" as it is written, as a plain user, and a tool
#     user      README's section "Try it" as a plain user: the packages it names, then `make demo`
#     unit      `make check unit` with the packages that CONTRIBUTING names
#     test      `make test` as root, with the clone in /root
#   With no PART: all of them, which takes an hour or more.
#
# Needs root. Everything that it makes is removed at the end, and the processes in its roots are ended; only the bare
# root's tar stays in machine.sh's cache. COCO_CLEAN_ROOM_LOGS=DIR keeps each step's whole output.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
machine=$here/tests/support/machine.sh
place=${COCO_CLEAN_ROOM_DIR:-/var/tmp}
# The longest time in which the demo may say nothing.
max_silence=${COCO_CLEAN_ROOM_SILENCE:-20}
newcomer=newcomer
# A network of its own for each root: its bridges and firewall rules are no business of this machine's.
network=10.213.7.0/24
name_server=10.213.7.3
parts='demo install user unit test'
passed=0
# shellcheck source=scripts/narrate.sh
. "$here/scripts/narrate.sh"

main() {
    local part
    for part in "$@"; do
        case " $parts " in *" $part "*) ;; *) die "unknown part: $part; the parts are: $parts" ;; esac
    done
    [ "$(id -u)" = 0 ] || die 'needs root: it makes roots, mounts and networks'
    # The parts are words.
    # shellcheck disable=SC2086
    [ $# -gt 0 ] || set -- $parts
    sweep
    work=$(mktemp -d "$place/coco-clean-room.XXXXXX")
    exec {lock}>"$work/lock"
    flock "$lock"
    trap cleanup EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    logs=${COCO_CLEAN_ROOM_LOGS:-$work/logs}
    mkdir -p "$logs"
    prepare
    for part in "$@"; do
        "part_$part"
    done
    say "$passed steps passed in $SECONDS s"
}

say() { printf 'clean-room: %s\n' "$*"; }
die() { printf 'clean-room: error: %s\n' "$*" >&2; exit 1; }

# What a killed run left: nobody holds its lock.
sweep() {
    local old
    find "$place" -maxdepth 1 -name 'coco-clean-room.*' -mmin +1 -print | while IFS= read -r old; do
        (flock -n 9 && rm -rf --one-file-system "$old" && say "removed what an earlier run left: $old") 9>"$old/lock" || true
    done
}

prepare() {
    bash "$machine" packages @clean-room
    tar=$(bash "$machine" root)
    toolchain=$(rustc --print sysroot)
    [ -z "$(git -C "$here" status --porcelain)" ] || say 'note: what is not committed here is not tried'
    say "trying $(git -C "$here" log -1 --format='%h, %s')"
}

# --- the parts -------------------------------------------------------------------------------------------------------

part_demo() {
    open_room demo
    clone root /root
    step 'make demo, as root' heard as root make demo
    close_room
}

part_install() {
    open_room install
    add_newcomer
    step "README's Install: its packages, as root" install_packages Install
    step "README's Install: its commands, as a plain user" as "$newcomer" bash -euxc "$(commands Install | grep -v '^apt-get ')"
    close_room
}

part_user() {
    open_room user
    add_newcomer
    step "README's Try it: its packages, as root" install_packages 'Try it'
    step 'make demo, as a plain user' heard as "$newcomer" make demo
    close_room
}

part_unit() {
    open_room unit
    clone root /root
    step "CONTRIBUTING's packages, as root" as root bash -euc \
        "apt-get update -qq; apt-get install --no-install-recommends $(bash "$machine" list @unit)"
    step 'make check unit' as root make check unit
    close_room
}

part_test() {
    open_room test
    clone root /root
    step 'make test, as root, with the clone in /root' as root make test
    close_room
}

# --- what the parts do -----------------------------------------------------------------------------------------------

add_newcomer() {
    as root useradd --create-home --shell /bin/bash "$newcomer"
    # A login makes the one; Debian's installer gives the first user the others.
    as root bash -euc "mkdir -p /run/user
        install -d -m 0700 -o $newcomer -g $newcomer /run/user/\$(id -u $newcomer)
        for file in /etc/subuid /etc/subgid; do
            grep -qs ^$newcomer: \$file || echo $newcomer:100000:65536 >>\$file
        done"
    clone "$newcomer" "/home/$newcomer"
}

# The lines of a section of README that are set as code, without their comments.
commands() {
    awk -v title="## $1" 'index($0, title) == 1 { on = 1; next } /^## / { on = 0 } on' "$room/src/README.md" \
        | sed -n -e 's/  *#.*//' -e 's/^    \([^ ].*\)/\1/p'
}

# Root's lines are those that begin so. Joined by `&&`: bash leaves no function early whose caller looks at its code.
install_packages() {
    as root bash -euxc "$(commands "$1" | grep '^apt-get ')" && machine_needs
}

# This machine's own needs, no newcomer's business: limits, cgroups, the runtime that starts here.
machine_needs() {
    as root bash -euc 'bash /opt/src/tests/support/machine.sh conf /tmp/conf
        mkdir -p /etc/containers
        cp /tmp/conf/containers.conf /etc/containers/'
}

# step TEXT COMMAND...: its output goes to a log, whose end is shown when it fails.
step() {
    local text=$1 begun=$SECONDS code=0
    shift
    log=$logs/$((passed + 1)).log
    say "$text"
    narrate_detail=log_end interruptible narrate 10 "$text" logged "$@" || code=$?
    if [ "$code" != 0 ]; then
        tail -n 40 "$log" | sed 's/^/    /'
        die "$text: failed with exit code $code after $((SECONDS - begun)) s; $passed steps passed before"
    fi
    passed=$((passed + 1))
    say "$text: passed in $((SECONDS - begun)) s$(sed -n '$s/^longest silence/; &/p' "$log")"
}

# A signal's trap waits for a command in the foreground, but it interrupts `wait`.
interruptible() {
    local code=0
    "$@" {life}>&- &
    worker=$!
    wait "$worker" || code=$?
    worker=
    return "$code"
}

logged() { "$@" >"$log" 2>&1; }
log_end() { last_found "$log" 's/^ *\.\.\. [0-9]* s: //; s/^[^a-zA-Z]*\([a-zA-Z].*\)/\1/p'; }

# heard COMMAND...: fails when it says nothing for too long.
heard() { "$@" 2>&1 | listen; }

listen() {
    local line before=$SECONDS last='its start' longest=0 after='' more=true
    while "$more"; do
        IFS= read -r line || more=false
        if [ $((SECONDS - before)) -gt "$longest" ]; then
            longest=$((SECONDS - before))
            after=$last
        fi
        before=$SECONDS last=$line
        [ -z "$line" ] || printf '%s\n' "$line"
    done
    echo "longest silence: $longest s, at most $max_silence; it came after: ${after:0:100}"
    [ "$longest" -le "$max_silence" ]
}

# --- a room ----------------------------------------------------------------------------------------------------------

# Sets $room, a directory, and $first, its first process.
open_room() {
    say "a bare root for: $1"
    room=$work/$1
    mkdir "$room"
    # Whoever holds this open holds the room: it ends with this script, however that ends.
    mkfifo "$work/life-$1"
    exec {life}<>"$work/life-$1"
    interruptible tar -C "$room" --exclude='./dev/*' -xf "$tar"
    furnish
    unshare --mount --propagation private --pid --fork --kill-child --uts --ipc --net \
        bash "$here/scripts/clean-room-inside.sh" "$room" "$toolchain" <"$work/life-$1" >"$work/ready-$1" 2>"$work/errors-$1" {life}>&- &
    holder=$!
    await "$holder" grep -qsx ready "$work/ready-$1"
    first=$(cat "/proc/$holder/task/$holder/children")
    first=${first% }
    slirp4netns --configure --mtu=65520 --disable-host-loopback --cidr="$network" --exit-fd=3 "$first" tap0 \
        3<"$work/life-$1" >"$work/network-$1" 2>&1 {life}>&- &
    slirp=$!
    await "$slirp" as root bash -c '[ -e /sys/class/net/tap0 ] && grep -q ^tap0 /proc/net/route'
}

# What a Debian machine has that a tar can't know: its names, and how the network is reached and trusted.
furnish() {
    local name
    echo clean-room >"$room/etc/hostname"
    printf '127.0.0.1 localhost\n127.0.1.1 clean-room\n' >"$room/etc/hosts"
    rm -f "$room/etc/resolv.conf"
    echo "nameserver $name_server" >"$room/etc/resolv.conf"
    # Whoever is asked whether to install answers yes.
    echo 'APT::Get::Assume-Yes "true";' >"$room/etc/apt/apt.conf.d/99yes"
    mkdir -p "$room/opt/rust" "$room/opt/src"
    for name in cargo rustc rustdoc rustfmt cargo-fmt cargo-clippy clippy-driver; do
        ln -s "/opt/rust/bin/$name" "$room/usr/local/bin/$name"
    done
    git clone --quiet "file://$here" "$room/src"
    bundle=
    if [ -n "${SSL_CERT_FILE:-}" ]; then
        bundle=/opt/machine-ca.crt
        install -m 0644 "$SSL_CERT_FILE" "$room$bundle"
    fi
}

# clone USER HOME: a fresh clone in somebody's home, and the machine's cargo configuration.
clone() {
    local config
    git clone --quiet "file://$here" "$room$2/coco"
    for config in config.toml config; do
        config=${CARGO_HOME:-$HOME/.cargo}/$config
        [ ! -e "$config" ] || install -D -m 0644 "$config" "$room$2/.cargo/${config##*/}"
    done
    as root chown -R "$1:" "$2"
}

# as USER COMMAND...: in the user's clone, with what a login gives and what says how to reach and trust the network.
as() {
    local user=$1 home name
    shift
    home=/root
    [ "$user" = root ] || home=/home/$user
    for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY CI; do
        [ -z "${!name:-}" ] || set -- "$name=${!name}" "$@"
    done
    if [ -n "$bundle" ]; then
        for name in SSL_CERT_FILE CURL_CA_BUNDLE NODE_EXTRA_CA_CERTS PIP_CERT REQUESTS_CA_BUNDLE CARGO_HTTP_CAINFO \
            GIT_SSL_CAINFO COCO_CA_BUNDLE; do
            set -- "$name=$bundle" "$@"
        done
    fi
    # shellcheck disable=SC2016
    nsenter --target "$first" --mount --pid --net --uts --ipc --root --wd="$room" \
        setpriv --reuid "$user" --regid "$user" --init-groups --inh-caps=-all \
        env -i HOME="$home" USER="$user" LOGNAME="$user" SHELL=/bin/bash TERM=dumb LANG=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive \
        bash -lc 'cd 2>/dev/null; [ ! -d coco ] || cd coco
            [ "$(id -u)" = 0 ] || export XDG_RUNTIME_DIR=/run/user/$(id -u)
            exec env "$@"' bash "$@" </dev/null {life}>&-
}

# await PROCESS COMMAND...: until the command succeeds.
await() {
    local process=$1 tries=0
    shift
    until "$@"; do
        [ "$tries" -lt 100 ] || die "no answer in 10 s: $*"
        kill -0 "$process" 2>/dev/null || die "ended early: $*; $(cat "$work/errors-"* "$work/network-"* 2>/dev/null || true)"
        sleep 0.1
        tries=$((tries + 1))
    done
}

# Ends what runs in the room with its first process, and removes its files; its mounts are gone with it.
close_room() {
    [ -n "${room:-}" ] || return 0
    if [ -n "${life:-}" ]; then exec {life}>&-; fi
    life=
    if [ -n "${first:-}" ]; then kill -KILL "$first" 2>/dev/null || true; fi
    if [ -n "${worker:-}" ]; then
        kill "$worker" 2>/dev/null || true
        wait "$worker" 2>/dev/null || true
    fi
    [ -z "${holder:-}" ] || wait "$holder" 2>/dev/null || true
    if [ -n "${slirp:-}" ]; then
        kill "$slirp" 2>/dev/null || true
        wait "$slirp" 2>/dev/null || true
    fi
    first="" worker="" holder="" slirp=""
    rm -rf --one-file-system "$room"
    room=
}

cleanup() {
    local code=$?
    trap '' HUP INT TERM
    close_room
    rm -rf --one-file-system "$work"
    exit "$code"
}

main "$@"
