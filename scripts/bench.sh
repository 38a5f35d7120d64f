#!/usr/bin/env bash
# Speed, measured side by side in one run with hyperfine, as ratios of medians. Uses the demo's
# image and tool, and makes them when they are missing.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
demo=${COCO_DEMO_DIR:-$here/.demo}
machine=$here/tests/support/machine.sh
runs=${COCO_BENCH_RUNS:-40}
# shellcheck source=scripts/surroundings.sh
. "$here/scripts/surroundings.sh"

main() {
    bash "$machine" packages @bench
    [ -e "$demo/data/coco/tools/ruff.json" ] || bash "$here/scripts/demo.sh"
    surroundings
    results=$(mktemp -d)
    # shellcheck disable=SC2154
    trap 'rm -rf "$results" "$work"' EXIT
    install -m 0755 "$here/dist/coco" "$demo/bin/coco"
    cd "$project"
    coco run ruff --version >/dev/null
    printf '%s\n' '{"tool": "python@system", "command": "cat", "description": "cat, for the benchmark"}' >"$XDG_DATA_HOME/coco/tools/cat.json"

    echo "coco $(coco --version | cut -d' ' -f2), $(podman --version), $(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), $(date +%F)"
    own_cost
    against_podman
    pipe
}

# An engine that exits at once: what is left is coco's own.
own_cost() {
    mkdir -p "$results/fake"
    cp "$(type -P true)" "$results/fake/podman"
    local real=$PATH
    export PATH=$results/fake:$PATH COCO_IMAGE=localhost/none
    measure own-run 300 "$demo/bin/coco run python3 -c pass"
    measure own-help 300 "$demo/bin/coco help"
    measure own-list 300 "$demo/bin/coco list"
    limit 'coco run, fake engine' "$(median own-run 0)" 0.003
    limit 'coco help' "$(median own-help 0)" 0.002
    limit 'coco list' "$(median own-list 0)" 0.002
    local memory
    memory=$(command time -f %M "$demo/bin/coco" run python3 -c pass 2>&1 >/dev/null | tail -1)
    printf '%-46s %8s KiB   (at most 8192)\n' 'coco run, fake engine, memory' "$memory"
    unset COCO_IMAGE
    export PATH=$real
}

# The same container typed by hand: same image, options and mounts, the tool as its entry point.
against_podman() {
    local own program image
    own=$XDG_DATA_HOME/coco/volumes/podman/ruff
    image=$(jq -r .image "$XDG_STATE_HOME/coco/installs/podman/ruff.json")
    program=$(jq -r '.path[0]' "$XDG_STATE_HOME/coco/installs/podman/ruff.json")/ruff
    by_hand="podman run --rm -i --pull=never --log-driver=none --network=none --read-only --read-only-tmpfs=false --cap-drop=all --security-opt=no-new-privileges --http-proxy=false --no-hosts --ulimit=nofile=$(ulimit -n):$(ulimit -n) --ulimit=nproc=1024:1024 --pids-limit=4096 --mount=type=tmpfs,dst=/tmp --mount=type=tmpfs,dst=/var/tmp --mount=type=tmpfs,dst=/root --mount=type=bind,src=$project,dst=/workspace --mount=type=bind,src=$own/$(jq -r .data "$XDG_STATE_HOME/coco/installs/podman/ruff.json"),dst=/coco/data,readonly --mount=type=bind,src=$own/cache,dst=/root/.cache --workdir=/workspace"
    measure ruff "$runs" "$demo/bin/ruff --version" "$by_hand --entrypoint=$program $image --version"
    ratio 'ruff --version: coco / podman by hand' "$(median ruff 0)" "$(median ruff 1)" 1.05
    by_hand="$by_hand --entrypoint=cat $image"
}

# One GiB through cat.
pipe() {
    head -c 1073741824 /dev/zero >"$results/data"
    hyperfine --shell=sh -w 1 -r 10 --export-json "$results/pipe.json" \
        "$demo/bin/coco run cat <$results/data >/dev/null" "$by_hand <$results/data >/dev/null" >/dev/null 2>&1
    ratio '1 GiB through cat: coco / podman by hand' "$(median pipe 0)" "$(median pipe 1)" 1.05
}

# measure NAME RUNS COMMAND...: interleaving is hyperfine's lack, so both are measured twice, in turn.
measure() {
    local name=$1 count=$2
    shift 2
    hyperfine -N -i -w 10 -r "$count" --export-json "$results/$name.json" "$@" >/dev/null 2>&1
}

median() { jq ".results[$2].median" "$results/$1.json"; }

limit() {
    awk -v name="$1" -v value="$2" -v most="$3" 'BEGIN { printf "%-46s %8.2f ms    (at most %g) %s\n", name, value * 1000, most * 1000, value <= most ? "ok" : "OVER" }'
}

ratio() {
    awk -v name="$1" -v ours="$2" -v theirs="$3" -v most="$4" 'BEGIN { printf "%-46s %8.3f x     (at most %g; %.0f ms, %.0f ms) %s\n", name, ours / theirs, most, ours * 1000, theirs * 1000, ours <= most * theirs ? "ok" : "OVER" }'
}

main
