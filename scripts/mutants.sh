#!/usr/bin/env bash
# `make mutants`: changes what decides in one place at a time, and asks the tests. See docs/mutants.md.
set -euo pipefail

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$tree"

# The build script checks the store with the program's own names: most changes there fail the build,
# and no test is asked. In this copy it has names of its own, which stay as they are.
cp -r src/names "$tree/build-names"
sed -i 's|"src/names/mod.rs"|"build-names/mod.rs"|' "$tree/build.rs"
grep -q build-names "$tree/build.rs"

# Each job builds in a copy; in one target directory they would overwrite each other's program.
unset CARGO_TARGET_DIR
mkdir -p target
cargo mutants --dir "$tree" --output target --jobs 2 "$@"
