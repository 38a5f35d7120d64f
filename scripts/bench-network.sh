#!/usr/bin/env bash
# The proxy's speed beside the engine's default network, as ratios: two network namespaces with a cable between them,
# a server in one, coco and the engine in the other. Root only; podman as root and as the test user.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
machine=$here/tests/support/machine.sh
coco=$here/dist/coco
spaces=coco-bench-$$
server=203.0.113.9
name=bench.example.com

main() {
    [ "$(id -u)" = 0 ] || { echo 'bench-network: needs root, left out'; exit 0; }
    bash "$machine" packages @bench >/dev/null
    bash "$machine" user >/dev/null
    # Readable by the test user, who runs coco too.
    work=$(mktemp -d /var/tmp/coco-bench.XXXXXX)
    chmod 0755 "$work"
    trap cleanup EXIT
    install -m 0755 "$coco" "$work/coco"
    files
    cable
    ip netns exec "$spaces-far" python3 "$work/server.py" "$server" &
    servers=$!
    sleep 0.5
    echo "the network, beside the engine's default network:"
    bash "$machine" conf "$work/conf"
    one 'podman as root' "$work/root" as_root
    one 'podman as a user' "$work/user" as_user
}

cleanup() {
    [ -z "${servers:-}" ] || kill "$servers" || true
    ip netns del "$spaces-near" || true
    ip netns del "$spaces-far" || true
    rm -rf "$work"
}

cable() {
    ip netns add "$spaces-near"
    ip netns add "$spaces-far"
    ip link add near netns "$spaces-near" type veth peer name far netns "$spaces-far"
    ip -n "$spaces-far" addr add "$server/24" dev far
    ip -n "$spaces-near" addr add 203.0.113.2/24 dev near
    local space
    for space in near far; do
        ip -n "$spaces-$space" link set "$space" up
        ip -n "$spaces-$space" link set lo up
    done
    printf '127.0.0.1 localhost\n%s %s\n' "$server" "$name" >"$work/hosts"
}

files() {
    mkdir "$work/bench"
    cat >"$work/server.py" <<'END'
import os, socket, sys, threading
sparse = os.memfd_create("data"); os.ftruncate(sparse, 1 << 26)
def send(stream):
    stream.recv(1); left = 1 << 30
    while left > 0: left -= os.sendfile(stream.fileno(), sparse, 0, min(1 << 26, left))
    stream.close()
def echo(stream):
    try:
        while data := stream.recv(1 << 16): stream.sendall(data)
    except OSError: pass
    stream.close()
def serve(port, work):
    listener = socket.create_server((sys.argv[1], port), backlog=1024)
    while True: threading.Thread(target=work, args=(listener.accept()[0],), daemon=True).start()
threading.Thread(target=serve, args=(9000, send), daemon=True).start()
serve(9001, echo)
END
    cat >"$work/bench/client.py" <<'END'
import socket, sys, time
host, what = sys.argv[1], sys.argv[2]
def transfer():
    started = time.monotonic(); stream = socket.create_connection((host, 9000)); stream.sendall(b"x")
    buffer = bytearray(1 << 20); count = 0
    while read := stream.recv_into(buffer): count += read
    assert count == 1 << 30
    return count / (time.monotonic() - started) / (1 << 20)
def connections(count):
    times = []
    for _ in range(count):
        started = time.monotonic(); stream = socket.create_connection((host, 9001)); stream.sendall(b"x"); stream.recv(1); stream.close()
        times.append(time.monotonic() - started)
    return count / sum(times), sorted(times)[count // 2] * 1000
if what == "transfer": print(sorted(transfer() for _ in range(5))[2])
elif what == "connections": connections(200); print(*connections(2000))
elif what == "hold":
    held = [socket.create_connection((host, 9001)) for _ in range(200)]
    for stream in held: stream.sendall(b"x"); stream.recv(1)
    print("held", flush=True); sys.stdin.readline()
END
}

# In the near namespace, with its own hosts file.
near() {
    # The dollars are the inner shell's.
    # shellcheck disable=SC2016
    nsenter --net="/run/netns/$spaces-near" unshare --mount --propagation slave \
        sh -c 'mount --bind "$1/hosts" /etc/hosts && shift && exec "$@"' sh "$work" "$@"
}

# In a project: elsewhere coco asks, or refuses.
as_root() { near env -C "$home/project" CONTAINERS_CONF="$work/conf/containers.conf" HOME="$home" XDG_RUNTIME_DIR="$home/run" COCO_IMAGE=localhost/coco:python "$@"; }
as_user() { near env COCO_IMAGE=localhost/coco:python COCO_MACHINE_USER="${COCO_MACHINE_USER:-cocotest}" bash "$machine" as-user env -C "$home/project" XDG_DATA_HOME="$home/data" XDG_STATE_HOME="$home/state" XDG_CONFIG_HOME="$home/config" "$@"; }

one() {
    local title=$1 as=$3 tools
    home=$2
    mkdir -p "$home/run" "$home/project"
    chmod 0700 "$home/run"
    # shellcheck disable=SC2249
    case $as in
        as_root) tools=$home/.local/share/coco/tools ;;
        as_user) tools=$home/data/coco/tools ;;
    esac
    mkdir -p "$tools"
    printf '{"tool": "python@system", "command": "python3", "allowed_hosts": ["%s:9000", "%s:9001"], "mounts": [{"src": "%s/bench", "dst": "/bench"}]}\n' \
        "$name" "$name" "$work" >"$tools/bench.json"
    [ "$as" = as_root ] || chown -R "${COCO_MACHINE_USER:-cocotest}" "$home"
    if ! $as podman image exists localhost/coco:python; then
        echo "  $title: no image localhost/coco:python there (make e2e builds it), left out"
        return
    fi
    local limits bare
    limits="--ulimit=nofile=$(ulimit -n):$(ulimit -n) --ulimit=nproc=1024:1024"
    bare="podman run --rm -i --pull=never $limits --mount=type=bind,src=$work/bench,dst=/bench,readonly localhost/coco:python python3"
    # shellcheck disable=SC2086
    {
        ratio "$title: 1 GiB, throughput" "$($as "$work/coco" run bench /bench/client.py $name transfer 2>/dev/null)" \
            "$($as $bare /bench/client.py $server transfer 2>/dev/null)" 'MiB/s' 0.8
        local ours theirs
        ours=$($as "$work/coco" run bench /bench/client.py $name connections 2>/dev/null)
        theirs=$($as $bare /bench/client.py $server connections 2>/dev/null)
        ratio "$title: connections, one after the other" "${ours% *}" "${theirs% *}" '/s' 1.0
        awk -v name="$title: added latency of a connection" -v ours="${ours#* }" -v theirs="${theirs#* }" \
            'BEGIN { printf "%-50s %8.2f ms    (at most 1; %.2f, %.2f ms) %s\n", name, ours - theirs, ours, theirs, ours - theirs <= 1 ? "ok" : "OVER" }'
        start_up "$title" $as "$bare"
        memory "$title" $as
    }
}

ratio() {
    awk -v name="$1" -v ours="$2" -v theirs="$3" -v unit="$4" -v least="$5" \
        'BEGIN { printf "%-50s %8.2f x     (at least %g; %.0f, %.0f %s) %s\n", name, ours / theirs, least, ours, theirs, unit, (ours >= least * theirs ? "ok" : "UNDER") }'
}

# Start to end of a tool that does nothing, by turns.
start_up() {
    local round ours=0 theirs=0 started
    for round in 1 2 3 4 5 6 7 8 9 10 11; do
        started=$(date +%s%N)
        $2 "$work/coco" run bench -c pass 2>/dev/null
        [ "$round" = 1 ] || ours=$((ours + $(date +%s%N) - started))
        started=$(date +%s%N)
        # shellcheck disable=SC2086
        $2 $3 -c pass 2>/dev/null
        [ "$round" = 1 ] || theirs=$((theirs + $(date +%s%N) - started))
    done
    awk -v name="$1: start to end of a run" -v ours="$ours" -v theirs="$theirs" \
        'BEGIN { printf "%-50s %8.2f x     (below 1; %.0f, %.0f ms) %s\n", name, ours / theirs, ours / 1e7, theirs / 1e7, ours < theirs ? "ok" : "OVER" }'
}

# The proxy is the coco process.
memory() {
    mkfifo "$work/go"
    $2 "$work/coco" run bench /bench/client.py $name hold <"$work/go" >"$work/held" 2>/dev/null &
    local tool=$! process tries=0
    exec 7>"$work/go"
    until grep -q held "$work/held" || [ "$tries" -gt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
    process=$(pgrep -f "^$work/coco run bench" | head -1)
    awk -v name="$1: proxy with 200 connections open" '/^VmRSS/ { printf "%-50s %8.1f MiB   (at most 12) %s\n", name, $2 / 1024, $2 <= 12288 ? "ok" : "OVER" }' "/proc/$process/status"
    echo >&7
    exec 7>&-
    wait "$tool" || true
    rm "$work/go"
}

main
