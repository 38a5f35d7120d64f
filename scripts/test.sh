#!/usr/bin/env bash
# All tests, from nothing: installs what they need, then format, lints, unit, golden, property,
# integration, end to end and attacks. `make test` and CI call it.
set -eu
umask 022

cd "$(dirname "$0")/.."
machine=tests/support/machine.sh
started=$SECONDS

main() {
    if [ "$(id -u)" = 0 ]; then
        step packages bash "$machine" packages @test
        step 'the rootless user' bash "$machine" user
    else
        echo 'test: not root: rootful podman and docker are skipped'
    fi
    step 'format, lints and lists of packages' make check
    step 'scripts' scripts
    step build make build
    step 'the rootless user can run it' bash "$machine" reach dist/coco
    step 'unit, golden, property, integration' make unit
    if [ -n "${SSL_CERT_FILE:-}" ]; then export COCO_CA_BUNDLE=${COCO_CA_BUNDLE:-$SSL_CERT_FILE}; fi
    step 'end to end' make e2e
    step attacks make attacks
    echo "test: all passed in $((SECONDS - started)) s"
}

scripts() {
    if command -v shellcheck >/dev/null; then
        shellcheck scripts/*.sh tests/support/*.sh .ci/run
    else
        echo 'test: no shellcheck here, scripts not checked'
    fi
}

step() {
    local begun=$SECONDS
    printf '\n== %s\n' "$1"
    shift
    "$@"
    printf '   (%s s)\n' "$((SECONDS - begun))"
}

main
