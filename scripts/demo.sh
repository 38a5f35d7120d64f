#!/usr/bin/env bash
# The whole way on a fresh Debian machine, in directories of its own below .demo: set-up, image, a
# tool, and what its sandbox can't see. Your coco files, links, engine configuration and images
# stay untouched; `rm -rf .demo` (as root: after `podman unmount --all`) removes all traces.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
demo=${COCO_DEMO_DIR:-$here/.demo}
machine=$here/tests/support/machine.sh
started=$SECONDS
# shellcheck source=scripts/surroundings.sh
. "$here/scripts/surroundings.sh"
# shellcheck source=scripts/narrate.sh
. "$here/scripts/narrate.sh"

main() {
    mkdir -p "$demo"
    step 'installing what is missing of podman and its helpers' bash "$machine" packages @demo
    surroundings
    step 'building dist/coco: cargo fetches crates and compiles them' build
    step 'finding or making the base image' bash "$machine" base podman
    mkdir -p "$demo/bin"
    install -m 0755 "$here/dist/coco" "$demo/bin/coco"
    cd "$project"
    [ -d .git ] || git init -q . 2>/dev/null || mkdir -p .git
    printf 'import os\nimport sys\n\nprint(sys.argv)\n' > sample.py

    if [ ! -e "$XDG_DATA_HOME/coco/tools/ruff.json" ]; then run coco get ruff python3; fi
    run coco up ruff python3
    step 'the first run: builds the image, installs ruff' run ruff --version
    step 'ruff on a sample project, by its own name (it finds one mistake and exits 1)' expect 1 run ruff check sample.py
    step 'ruff mends it, in your directory' run ruff check --fix --quiet sample.py
    run cat sample.py

    printf 'the secret of the demo\n' > "$HOME/secret"
    say 'python in its sandbox, asked for your home, a host outside, and its own rights'
    run python3 -c '
import os, socket
def attempt(what, action):
    try:
        print(f"  {what}: {action()}")
    except OSError as error:
        print(f"  {what}: {error.strerror}")
attempt("your secret file", lambda: open("'"$HOME"'/secret").read())
attempt("a host outside", lambda: socket.create_connection(("198.51.100.1", 443), 3))
attempt("its own installation", lambda: open("/usr/bin/x", "w"))
print("  capabilities:", [line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")][0])
'
    say 'what coco says about ruff'
    run coco show ruff | sed -n '1,14p'
    say "done in $((SECONDS - started)) s; what lasts lies in $demo"
}

say() { printf '\n== %s\n' "$*"; }

# step TEXT COMMAND...: tells how long it took.
step() {
    local begun=$SECONDS
    say "$1"
    shift
    "$@"
    printf '   (%s s)\n' "$((SECONDS - begun))"
}

run() {
    local word line='$'
    for word in "$@"; do
        case $word in
            *$'\n'*) line="$line '...'" ;;
            *) line="$line $word" ;;
        esac
    done
    printf '%s\n' "$line"
    "$@"
}

# expect CODE COMMAND...: the exit code is part of what is shown.
expect() {
    local wanted=$1 code=0
    shift
    "$@" || code=$?
    [ "$code" = "$wanted" ] || { echo "demo: exit code $code, expected $wanted" >&2; exit 1; }
    echo "exit code $code"
}

build() {
    local log=$demo/build.log
    narrate_detail=build_state narrate 8 'building' make_build || { tail -n 40 "$log"; exit 1; }
    tail -n 1 "$log"
}

make_build() { make --no-print-directory -C "$here" build >"$log" 2>&1; }

build_state() {
    awk '/^ *Updating / { now = "asking for the list of crates" }
        /^ *Downloaded / { now = "fetched " $2 }
        /^ *Compiling / { now = "compiling, " ++count " crates so far" }
        END { print now }' "$log"
}

main
