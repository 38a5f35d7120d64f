#!/usr/bin/env bash
# Makes a bare Debian machine fit for the tests and the demo that need a real container engine: packages, an engine
# configuration that this machine can start containers with, the base image (made locally where no container registry
# can be reached), an unprivileged user for rootless podman, and a docker daemon of our own.
#
# `machine.sh help` lists the commands. All are safe to repeat: what is there already is left alone.
# Nothing here is used by coco itself.

set -eu

base_image=${COCO_BASE_IMAGE:-docker.io/library/debian:forky-slim}
suite=${COCO_MACHINE_SUITE:-forky}
root_suite=${COCO_MACHINE_ROOT_SUITE:-bookworm}
test_user=${COCO_MACHINE_USER:-cocotest}
pull_seconds=${COCO_MACHINE_PULL_SECONDS:-20}

# What lasts: the image's tar, and docker's data. The user's part lives in its own home.
cache=${COCO_MACHINE_CACHE:-$(
    if [ "$(id -u)" = 0 ]; then echo /var/cache/coco-machine; else echo "${XDG_CACHE_HOME:-$HOME/.cache}/coco-machine"; fi
)}
# What a reboot ends: sockets, pid files, runtime directories. Short, for a socket's path has 108 bytes at most.
state=${COCO_MACHINE_STATE:-$(
    if [ "$(id -u)" = 0 ]; then echo /run/coco-machine; else echo "${XDG_RUNTIME_DIR:-$cache}/coco-machine"; fi
)}
# Where the tests have their homes, as in tests/support/mod.rs.
test_state=${COCO_TEST_STATE:-/var/tmp/coco-tests-$(id -u)}

# How often a long step says what it is at.
pulse=${COCO_MACHINE_PULSE:-8}

main() {
    local command=${1:-help}
    [ $# -eq 0 ] || shift
    case $command in
        packages) part packages.sh; packages "$@" ;;
        list) part packages.sh; list "${1:?usage: machine.sh list @SET}" ;;
        root) part packages.sh; root ;;
        conf) conf "${1:?usage: machine.sh conf DIR}" ;;
        base) base "$@" ;;
        user) user ;;
        as-user) as_user "$@" ;;
        reach) reach "${1:?usage: machine.sh reach FILE}" ;;
        dockerd) dockerd_command "${1:-}" ;;
        help | -h | --help) usage ;;
        *) usage >&2; die "unknown command: $command" ;;
    esac
}

usage() {
    cat <<'END'
machine.sh packages [NAME...]   install what is missing of these packages and sets of packages, or else of @test (root)
machine.sh list @SET            print the packages of a set: @coco @base @build @demo @unit @test ...
machine.sh root                 make a bare Debian root with the packages of @newcomer, print its tar (root)
machine.sh conf DIR             write DIR/containers.conf and DIR/storage.conf for this machine and user
machine.sh base ENGINE...       make the base image available; ENGINE: podman (as who calls), rootless (the test user), docker
machine.sh user                 create the rootless test user, print its variables (root)
machine.sh as-user COMMAND...   run a command as that user (root)
machine.sh reach FILE           check that that user can run this program from where the tests put it
machine.sh dockerd start|stop   a docker daemon of our own; start prints its DOCKER_HOST (root)
Variables: COCO_MACHINE_CACHE, COCO_MACHINE_STATE, COCO_MACHINE_USER, COCO_MACHINE_SUITE,
           COCO_MACHINE_ROOT_SUITE, COCO_MACHINE_PULL_SECONDS, COCO_MACHINE_PULSE, COCO_BASE_IMAGE
END
}

say() { printf 'machine: %s\n' "$*" >&2; }
die() { printf 'machine: error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
# Other files are read when they are needed: `user_conf` pipes this one alone.
part() {
    # shellcheck source=/dev/null
    . "$(dirname "$0")/$1"
}
narrated() {
    part ../../scripts/narrate.sh
    narrate "$pulse" "$@"
}
need_root() { [ "$(id -u)" = 0 ] || die "$1 needs root"; }

# --- engine configuration --------------------------------------------------------------------------------------------

# Writes containers.conf and storage.conf into $1, for the calling user. Use them by CONTAINERS_CONF and
# CONTAINERS_STORAGE_CONF (the latter only for a user: root keeps the system's storage).
conf() {
    local runtime
    mkdir -p "$1"
    {
        echo '[containers]'
        # No higher than the caller's own: raising a limit takes CAP_SYS_RESOURCE, which a container host may lack.
        # podman lowers its own nproc to 32768 first.
        echo "default_ulimits = [\"nofile=$(limit -n 1048576)\", \"nproc=$(limit -u 32768)\"]"
        echo '[engine]'
        if runtime=$(working_runtime); then echo "runtime = \"$runtime\""; fi
        if [ ! -d /run/systemd/system ]; then
            echo 'cgroup_manager = "cgroupfs"'
            echo 'events_logger = "file"'
        fi
    } >"$1/containers.conf"
    # Set before the first use: podman's fallback driver, vfs, copies the whole image for each container.
    {
        echo '[storage]'
        echo 'driver = "overlay"'
        if [ "$(id -u)" = 0 ]; then
            echo 'graphroot = "/var/lib/containers/storage"'
            echo 'runroot = "/run/containers/storage"'
        else
            # podman goes by the first wherever HOME leads, by the second only for this very HOME.
            echo "rootless_storage_path = \"$HOME/.local/share/containers/storage\""
            echo "graphroot = \"$HOME/.local/share/containers/storage\""
            echo "runroot = \"${XDG_RUNTIME_DIR:?is not set}/containers\""
        fi
    } >"$1/storage.conf"
}

# "soft:hard" for a ulimit option: the hard limit of the caller, at most $2.
limit() {
    local hard
    hard=$(ulimit -H "$1")
    case $hard in
        unlimited) hard=$2 ;;
        *) [ "$hard" -le "$2" ] || hard=$2 ;;
    esac
    echo "$hard:$hard"
}

# The first OCI runtime that starts a container here. crun comes first as podman's default, but it refuses a machine
# whose cgroups are mounted in the hybrid layout.
working_runtime() {
    local candidate
    for candidate in crun runc; do
        if have "$candidate" && runtime_starts "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

runtime_starts() {
    if [ "$(id -u)" = 0 ]; then
        runtime_runs_true "$1"
    else
        # A user's try would need a user namespace with its mappings: go by what is known to fail.
        [ "$1" != crun ] || [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]
    fi
}

# Runs `true` out of the host's own /usr, in a bundle made for it.
runtime_runs_true() {
    local bundle outcome link
    bundle=$(mktemp -d)
    mkdir -p "$bundle/rootfs/usr" "$bundle/rootfs/proc" "$bundle/rootfs/dev"
    for link in bin lib lib64; do
        ln -s "usr/$link" "$bundle/rootfs/$link"
    done
    cat >"$bundle/config.json" <<'END'
{"ociVersion": "1.0.2", "process": {"user": {"uid": 0, "gid": 0}, "args": ["/usr/bin/true"], "cwd": "/", "env": []},
 "root": {"path": "rootfs"}, "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}]},
 "mounts": [{"destination": "/usr", "source": "/usr", "type": "bind", "options": ["rbind", "ro"]},
            {"destination": "/proc", "source": "proc", "type": "proc"}]}
END
    if "$1" --root "$bundle/state" run --bundle "$bundle" "coco-machine-$$" </dev/null >/dev/null 2>&1; then
        outcome=0
    else
        outcome=1
    fi
    rm -rf "$bundle"
    return "$outcome"
}

# --- base image ------------------------------------------------------------------------------------------------------

base() {
    [ $# -gt 0 ] || die 'base: name an engine: podman, rootless, docker'
    local engine
    for engine in "$@"; do
        case $engine in
            podman | rootless | docker) ;;
            *) die "base: unknown engine: $engine" ;;
        esac
        if base_present "$engine"; then
            say "base: $engine has $base_image"
        elif base_pull "$engine"; then
            say "base: $engine pulled $base_image"
        else
            base_import "$engine"
        fi
    done
}

base_present() {
    case $1 in
        docker) engine_run docker image inspect "$base_image" >/dev/null 2>&1 ;;
        *) base_exists "$1" ;;
    esac
}

# A first call of podman's warns of network plugins that nothing here uses; a failure of it is shown.
base_exists() {
    local code=0 said
    said=$(engine_run "$1" image exists "$base_image" 2>&1) || code=$?
    [ "$code" -le 1 ] || die "base: $1 can't be asked for its images: $said"
    return "$code"
}

# One try for all engines: where a registry didn't answer the first, it isn't asked again.
base_pull() {
    local started
    [ ! -e "$(base_tar)" ] || return 1
    started=$(date +%s)
    if narrated "$1 pulls $base_image (at most $pull_seconds s)" engine_pull "$1"; then return 0; fi
    say "base: no pull for $1 ($(($(date +%s) - started)) s), making it from Debian's packages"
    return 1
}

engine_pull() { engine_run "$1" pull -q "$base_image" >/dev/null 2>&1; }

base_import() {
    local tar started
    tar=$(base_tar)
    mkdir -p "$cache"
    chmod 0755 "$cache"
    # The tests of several engines ask at once: one makes it, the others wait.
    (
        flock 9
        [ -e "$tar" ] || base_make "$tar"
    ) 9>"$cache/base.lock"
    started=$(date +%s)
    work_file=$cache/import.log
    narrated "$1 imports the base image" engine_import "$1" "$tar" \
        || die "base: $1 could not import $tar: $(tail -n 3 "$work_file")"
    say "base: $1 imported $base_image in $(($(date +%s) - started)) s"
}

engine_import() { engine_run "$1" import --change 'CMD ["bash"]' - "$base_image" <"$2" >/dev/null 2>"$work_file"; }

base_tar() { echo "$cache/base-$suite-$(dpkg --print-architecture).tar"; }

# The documentation is left out as in Debian's own slim images. A testing release's index expires within a week, and a
# mirror may be older than that.
base_make() {
    bootstrap "$suite" "$1" 'making the base image of Debian packages' \
        --aptopt='Acquire::Check-Valid-Until "false"' \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-include=/usr/share/doc/*/copyright'
}

# bootstrap SUITE TAR WHAT OPTION...: a root directory of Debian's smallest variant, as a tar. The mirror is the one
# that this machine's own apt uses. As an ordinary user, mmdebstrap works in a user namespace.
bootstrap() {
    local suite=$1 tar=$2 what=$3 mirror started
    shift 3
    have mmdebstrap || die "$what: mmdebstrap is missing (as root: apt-get install mmdebstrap)"
    # The dollars are apt's.
    # shellcheck disable=SC2016
    mirror=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null \
        | sed -n 's/^Debian //p' | head -n 1)
    [ -n "$mirror" ] || die "$what: apt knows no Debian mirror (as root: apt-get update)"
    started=$(date +%s)
    work_file=$tar.log
    narrate_detail=bootstrap_state narrated "$what ($suite)" mmdebstrap_into "$suite" "$tar.part" "$mirror" "$@" \
        || { tail -n 20 "$work_file" >&2; die "$what: mmdebstrap failed"; }
    mv "$tar.part" "$tar"
    rm -f "$work_file"
    say "$what: made $tar in $(($(date +%s) - started)) s"
}

mmdebstrap_into() {
    local suite=$1 tar=$2 mirror=$3
    shift 3
    mmdebstrap --variant=minbase --format=tar "$@" "$suite" "$tar" "$mirror" >"$work_file" 2>&1
}

bootstrap_state() { last_found "$work_file" 's/^I: //p'; }

# A bare root for scripts/clean-room.sh: prints the tar's path.
root() {
    local tar
    need_root root
    tar=$cache/root-$root_suite-$(dpkg --print-architecture).tar
    mkdir -p "$cache"
    (
        flock 9
        [ -e "$tar" ] || bootstrap "$root_suite" "$tar" 'making a bare root' \
            --include="$(list @newcomer | tr ' ' ',')"
    ) 9>"$cache/root.lock"
    echo "$tar"
}

# Runs an engine's client: $1 is podman, rootless or docker.
engine_run() {
    local engine_name=$1 limit_time=
    shift
    [ "${1:-}" != pull ] || limit_time="timeout $pull_seconds"
    # shellcheck disable=SC2086
    case $engine_name in
        podman) with_conf $limit_time podman "$@" ;;
        rootless) as_user $limit_time podman "$@" ;;
        docker) DOCKER_HOST=${DOCKER_HOST:-$(docker_host)} $limit_time docker "$@" ;;
    esac
}

# Gives the calling user's podman this machine's configuration, unless the caller chose one.
with_conf() {
    if [ -z "${CONTAINERS_CONF:-}" ]; then
        conf "$cache/conf"
        CONTAINERS_CONF=$cache/conf/containers.conf
        export CONTAINERS_CONF
    fi
    "$@"
}

# --- the rootless user -----------------------------------------------------------------------------------------------

user() {
    local home runtime
    need_root user
    if ! id "$test_user" >/dev/null 2>&1; then
        useradd --create-home --shell /bin/sh "$test_user"
        say "user: created $test_user"
    fi
    sub_range subuid
    sub_range subgid
    # Debian's udev makes it so; a machine without udev may not have.
    [ ! -e /dev/net/tun ] || chmod 0666 /dev/net/tun
    home=$(user_home)
    runtime=$(user_runtime)
    mkdir -p "$state"
    chmod 0755 "$state"
    install -d -m 0700 -o "$test_user" "$runtime"
    # Anew each time: the limits may be lower than when it was written last.
    user_conf "$home/coco-machine"
    printf '%s\n' "HOME=$home" "XDG_RUNTIME_DIR=$runtime" \
        "CONTAINERS_CONF=$home/coco-machine/containers.conf" \
        "CONTAINERS_STORAGE_CONF=$home/coco-machine/storage.conf"
}

# useradd gives ranges only where /etc/login.defs says so. Above every range there is.
sub_range() {
    touch "/etc/$1"
    if grep -q "^$test_user:" "/etc/$1"; then return; fi
    local start
    start=$(awk -F: 'BEGIN { top = 100000 } $2 + $3 > top { top = $2 + $3 } END { print top }' "/etc/$1")
    echo "$test_user:$start:65536" >>"/etc/$1"
}

user_home() { getent passwd "$test_user" | cut -d: -f6; }
user_runtime() { echo "$state/$test_user"; }

# conf writes for whoever calls it, so this script calls itself as the user; it is piped in because the user may not
# be able to reach the checkout.
user_conf() { as_user bash -s conf "$1" <"$0"; }

# Only what a login would give, plus what says how to reach and trust the network, and coco's own settings.
as_user() {
    need_root as-user
    [ $# -gt 0 ] || die 'as-user: name a command'
    id "$test_user" >/dev/null 2>&1 || die "as-user: no user $test_user (machine.sh user)"
    local home name
    home=$(user_home)
    for name in $(passed_names); do
        set -- "$name=${!name}" "$@"
    done
    # At home, as after a login: podman refuses a directory that its caller can't enter, as this one may be.
    setpriv --reuid "$test_user" --regid "$test_user" --init-groups --inh-caps=-all -- env -i -C "$home" \
        HOME="$home" USER="$test_user" LOGNAME="$test_user" SHELL=/bin/sh \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        XDG_RUNTIME_DIR="$(user_runtime)" \
        CONTAINERS_CONF="$home/coco-machine/containers.conf" \
        CONTAINERS_STORAGE_CONF="$home/coco-machine/storage.conf" \
        "$@"
}

# Whether the test user can run a program from where the tests put it: one error here instead of one in each test. The
# checkout itself may be closed to that user, as one in root's home is.
reach() {
    local copy problem
    [ -x "$1" ] || die "reach: no program $1 (make build)"
    [ "$(id -u)" = 0 ] || return 0
    user >/dev/null
    mkdir -p "$test_state"
    copy=$(mktemp -d "$test_state/reach.XXXXXX")
    chmod 0755 "$copy"
    # By its own name: by another one it would be a tool.
    cp "$1" "$copy/coco"
    problem=$(as_user "$copy/coco" --version 2>&1 >/dev/null) || problem=${problem:-it failed}
    rm -rf "$copy"
    [ -z "$problem" ] || die "reach: the tests' user, $test_user, can't run programs in $test_state: $problem
machine: hint: see \`namei -l $test_state\` and \`ls -l $1\`; COCO_TEST_STATE=DIR takes another directory"
}

passed_names() {
    env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p' | grep -E \
        '^(SSL_CERT_(FILE|DIR)|CURL_CA_BUNDLE|NODE_EXTRA_CA_CERTS|PIP_CERT|REQUESTS_CA_BUNDLE|CARGO_HTTP_CAINFO|GIT_SSL_CAINFO|(https?|no)_proxy|(HTTPS?|NO)_PROXY|LANG|TERM|CI|NO_COLOR|COCO_[A-Z0-9_]+)$' \
        || true
}

# --- docker ----------------------------------------------------------------------------------------------------------

docker_host() { echo "unix://$state/docker/docker.sock"; }

dockerd_command() {
    case $1 in
        start) dockerd_start ;;
        stop) dockerd_stop ;;
        *) die 'usage: machine.sh dockerd start|stop' ;;
    esac
}

dockerd_start() {
    need_root 'dockerd'
    have dockerd || die 'dockerd: not installed (machine.sh packages)'
    if dockerd_answers; then
        docker_host
        return
    fi
    local log nofile child waited=0
    log=$cache/docker/dockerd.log
    mkdir -p "$state/docker" "$cache/docker"
    chmod 0700 "$state/docker"
    # Below the caller's limits, as in conf; nproc is inherited.
    nofile=$(limit -n 1048576)
    # What a killed daemon left behind: it would take its number for a running one. It does not answer.
    rm -f "$state/docker/dockerd.pid" "$state/docker/docker.sock" "$state/docker/exec/containerd/containerd.pid"
    # A session of its own: it must outlive this script's terminal and its process group.
    setsid dockerd --host "$(docker_host)" --data-root "$cache/docker/data" --exec-root "$state/docker/exec" \
        --pidfile "$state/docker/dockerd.pid" --default-ulimit "nofile=$nofile" </dev/null >"$log" 2>&1 &
    child=$!
    until dockerd_answers; do
        if [ "$waited" -ge 30 ] || ! kill -0 "$child" 2>/dev/null; then
            tail -n 5 "$log" >&2
            kill "$child" 2>/dev/null || true
            die "dockerd: did not start, see $log"
        fi
        sleep 1
        waited=$((waited + 1))
    done
    docker_host
}

dockerd_answers() { [ -S "$state/docker/docker.sock" ] && docker -H "$(docker_host)" version >/dev/null 2>&1; }

dockerd_stop() {
    need_root 'dockerd'
    local pid_file pid waited=0
    pid_file=$state/docker/dockerd.pid
    if [ ! -e "$pid_file" ]; then
        say 'dockerd: not running'
        return
    fi
    pid=$(cat "$pid_file")
    # The file may be older than the machine's last boot, and its number another process's by now.
    if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ]; then
        kill "$pid"
        while [ -e "/proc/$pid" ] && [ "$waited" -lt 30 ]; do
            sleep 1
            waited=$((waited + 1))
        done
        [ ! -e "/proc/$pid" ] || die "dockerd: process $pid did not end"
        say 'dockerd: stopped'
    fi
    rm -f "$pid_file"
}

main "$@"
