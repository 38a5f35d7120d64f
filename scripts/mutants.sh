#!/usr/bin/env bash
# `make mutants`: changes what decides in one place at a time, and asks the tests. See docs/mutants.md.
set -euo pipefail

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$tree"

# The build script checks the store with the program's own names and rules: most changes there fail the build, and no
# test is asked. In this copy it has a copy of its own of each, which stays as it is.
for room in names rules; do
    cp -r "src/$room" "$tree/build-$room"
    sed -i "s|\"src/$room/mod.rs\"|\"build-$room/mod.rs\"|" "$tree/build.rs"
    grep -q "build-$room" "$tree/build.rs"
done

# Each job builds in a copy; in one target directory they would overwrite each other's program.
unset CARGO_TARGET_DIR
mkdir -p target
cargo mutants --dir "$tree" --output target --jobs 2 "$@"
