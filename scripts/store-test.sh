#!/usr/bin/env bash
# Installs every tool of the store that a package registry can give (npm, pipx, cargo) for real, asks
# each for its version, and asks again with no network at all; prints a table of what came of it.
# `store-test.sh [NAME...]` limits it to these tools. It takes an hour or more, most of it compiling,
# and is not part of `make test`. What lasts lies in .store-test: coco's own directories, one log for
# each tool, and the table of the last run.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
place=${COCO_STORE_TEST_DIR:-$here/.store-test}
coco=${COCO_TEST_BINARY:-$here/dist/coco}
machine=$here/tests/support/machine.sh
# One tool may take this long, its image and its compilation included.
most_seconds=${COCO_STORE_TEST_SECONDS:-3600}
row='%-28s %-42s %-14s %-32s %8s %8s  %s\n'

# What a tool is asked for: its version, and a language server, as its editor would start it, to initialize.
argument() {
    case $1 in
        bash-language-server) echo start ;;
        isort) echo --version-number ;;
        pylsp) ;;
        pyupgrade) echo --help ;;
        *) if is_language_server "$1"; then echo --stdio; else echo --version; fi ;;
    esac
}

# A language server whose package lacks something still tells its version.
is_language_server() {
    case $1 in
        *-language-server | *-langserver | pylsp | svelteserver) return 0 ;;
        *) return 1 ;;
    esac
}

main() {
    local name specifier passed=0 failed=0 skipped=0
    [ -x "$coco" ] || { echo "store-test: no $coco (make build)" >&2; exit 2; }
    # The names are words.
    # shellcheck disable=SC2046
    [ $# -gt 0 ] || set -- $(names)
    surroundings
    cd "$project"
    table=$place/table.txt
    : >"$table"
    line tool specifier version 'what it said' 'first s' 'again ms' outcome
    for name in "$@"; do
        [ -e "$here/store/$name.json" ] || { echo "store-test: no such tool: $name" >&2; exit 2; }
        specifier=$(jq -r .tool "$here/store/$name.json")
        case $specifier in
            npm:* | pipx:* | cargo:*)
                if try "$name" "$specifier"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
                ;;
            *@system) skip "$name" "$specifier" 'the image has it' ;;
            go:* | gem:*) skip "$name" "$specifier" "not reachable here: ${specifier%%:*}" ;;
            *) skip "$name" "$specifier" 'not reachable here: mise' ;;
        esac
    done
    echo "$passed passed, $failed failed, $skipped skipped" | tee -a "$table"
    [ "$failed" = 0 ]
}

# All of the store, what compiles last: a run that is stopped early has seen the most.
names() {
    local file
    for file in "$here"/store/*.json; do
        [ "${file##*/}" = index.json ] || jq -r '(if .tool | startswith("cargo:") then "2" else "1" end) + " " + input_filename' "$file"
    done | sort -s -n -k 1,1 | sed -e 's|.*/||' -e 's|\.json$||'
}

# Directories of its own for coco; the engine's images are the machine's, so that none is built twice.
surroundings() {
    local ca=${COCO_CA_BUNDLE:-${SSL_CERT_FILE:-}}
    mkdir -p "$place/home" "$place/data/coco/tools" "$place/logs"
    bash "$machine" conf "$place/engine"
    export CONTAINERS_CONF=$place/engine/containers.conf
    bash "$machine" base podman
    if [ "$(id -u)" != 0 ]; then export CONTAINERS_STORAGE_CONF=$place/engine/storage.conf; fi
    # coco refuses directories of its own inside a project, and this checkout is one.
    work=$(mktemp -d /tmp/coco-store-test.XXXXXX)
    trap 'rm -rf "$work"' EXIT
    project=$work/project
    mkdir -p "$project/.git" && mkdir -m 0700 "$work/run"
    if [ -z "${XDG_RUNTIME_DIR:-}" ]; then export XDG_RUNTIME_DIR=$work/run; fi
    export HOME=$place/home XDG_DATA_HOME=$place/data XDG_CONFIG_HOME=$place/config XDG_STATE_HOME=$place/state
    export COCO_BIN_DIR=$place/bin COCO_RUNTIME=podman COCO_CA_BUNDLE=$ca NO_COLOR=1
    unset COCO_IMAGE COCO_STORE_BASE COCO_ALLOW_NETWORK COCO_EXTRA_PORTS COCO_QUIET XDG_CACHE_HOME
}

line() {
    # The row is a format.
    # shellcheck disable=SC2059
    printf "$row" "$@" | tee -a "$table"
}

skip() {
    skipped=$((skipped + 1))
    line "$1" "$2" - - - - "$3"
}

# try NAME SPECIFIER: both runs and their line. The second must say nothing of an installation and
# leave the record of the first as it is.
try() {
    local name=$1 specifier=$2 begun first=- again=- outcome=ok said='-' version='-' before record
    record=$XDG_STATE_HOME/coco/installs/podman/$name.json
    output=$place/logs/$name.out
    errors=$place/logs/$name.err
    rm -f "$record"
    cp "$here/store/$name.json" "$XDG_DATA_HOME/coco/tools/$name.json"
    begun=$(milliseconds)
    if ask "$name"; then
        first=$(awk -v ms="$(($(milliseconds) - begun))" 'BEGIN { printf "%.1f", ms / 1000 }')
        said=$(shortened)
        version=$(jq -r .version "$record")
        before=$(stat -c '%i %Y' "$record")
        begun=$(milliseconds)
        if ! COCO_OFFLINE=1 ask "$name" offline; then
            outcome='FAILED again'
        elif grep -q 'installing' "$errors" || [ "$(stat -c '%i %Y' "$record")" != "$before" ]; then
            outcome='FAILED: installed again'
        else
            again=$(($(milliseconds) - begun))
        fi
    else
        outcome=FAILED
        [ ! -e "$record" ] || version=$(jq -r .version "$record")
    fi
    line "$name" "$specifier" "$version" "$said" "$first" "$again" "$outcome"
    [ "$outcome" != ok ] || return 0
    tail -n 5 "$output" "$errors" | sed 's/^/    /'
    return 1
}

# ask NAME [offline]: runs the tool; with no network, in a network namespace that has nothing where
# this user may make one, else behind a proxy that is not there.
ask() {
    local name=$1 network=${2:-online}
    set --
    if [ "$network" = online ]; then
        :
    elif unshare -n true 2>/dev/null; then
        set -- unshare -n
    else
        set -- env HTTPS_PROXY=http://127.0.0.1:9 NO_PROXY=
    fi
    # The argument is words.
    # shellcheck disable=SC2046
    set -- "$@" "$coco" run "$name" $(argument "$name")
    if is_language_server "$name"; then
        : >"$output"
        converse | timeout "$most_seconds" "$@" >"$output" 2>"$errors" || true
        grep -q '"capabilities"' "$output"
    else
        timeout "$most_seconds" "$@" </dev/null >"$output" 2>"$errors"
    fi
}

# What an editor says to a language server: initialize, and once that is answered, goodbye.
converse() {
    local tries=0
    message '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"processId":null,"rootUri":"file://'"$project"'","capabilities":{}}}'
    until grep -q -e '"capabilities"' -e '"error"' "$output" || [ "$tries" -ge $((most_seconds * 20)) ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
    message '{"jsonrpc":"2.0","id":2,"method":"shutdown"}'
    message '{"jsonrpc":"2.0","method":"exit"}'
}

message() { printf 'Content-Length: %s\r\n\r\n%s' "${#1}" "$1"; }

# The first line with a digit that the tool printed, on standard output or else on the other one.
shortened() {
    if is_language_server "$name"; then
        echo 'answers initialize'
    else
        { cat "$output"; grep -v '^coco: ' "$errors" || true; } | grep -m 1 '[0-9]' | tr -d '\r\033' | cut -c 1-32
    fi
}

milliseconds() { date +%s%3N; }

main "$@"
