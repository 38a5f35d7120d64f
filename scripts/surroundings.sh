# Sets up places of their own below $demo: coco's directories, and the engine's storage and
# configuration. Sourced by the demo and the benchmarks, which set $demo and $machine.
# shellcheck shell=bash disable=SC2154

caller_home=$HOME

surroundings() {
    export COCO_MACHINE_CACHE=$demo/cache
    export HOME=$demo/home XDG_DATA_HOME=$demo/data XDG_CONFIG_HOME=$demo/config XDG_STATE_HOME=$demo/state
    export COCO_BIN_DIR=$demo/bin PATH=$demo/bin:$PATH
    # cargo and rustup find their own by these once HOME is another.
    export CARGO_HOME=${CARGO_HOME:-$caller_home/.cargo} RUSTUP_HOME=${RUSTUP_HOME:-$caller_home/.rustup}
    mkdir -p "$HOME"
    # The sample project lies elsewhere: coco refuses directories of its own inside a project, and
    # this checkout is one. Sockets do as well: a socket's path has 108 bytes at most.
    work=$(mktemp -d /tmp/coco-demo.XXXXXX)
    trap 'rm -rf "$work"' EXIT
    project=$work/project
    mkdir "$project" && mkdir -m 0700 "$work/run"
    if [ -z "${XDG_RUNTIME_DIR:-}" ]; then export XDG_RUNTIME_DIR=$work/run; fi
    bash "$machine" conf "$demo/engine"
    sed -i -e "s|^graphroot = .*|graphroot = \"$demo/images\"|" -e "s|^runroot = .*|runroot = \"$XDG_RUNTIME_DIR/coco-demo\"|" "$demo/engine/storage.conf"
    export CONTAINERS_CONF=$demo/engine/containers.conf CONTAINERS_STORAGE_CONF=$demo/engine/storage.conf
    unset COCO_IMAGE COCO_RUNTIME COCO_STORE_BASE COCO_ALLOW_NETWORK COCO_EXTRA_PORTS
    export COCO_RUNTIME=podman
    # Where something re-signs TLS, the machine says so by these; Debian's own bundle is none of them.
    if [ -z "${COCO_CA_BUNDLE:-}" ] && [ -n "${SSL_CERT_FILE:-}" ]; then export COCO_CA_BUNDLE=$SSL_CERT_FILE; fi
}
