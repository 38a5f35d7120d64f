#!/usr/bin/env bash
# Runs the attacks and ends with a table: a line for each id of docs/threats.md, and how its tests went on each engine.
# `make attacks` calls it with cargo; the exit code is 1 when a test failed, when one that docs/threats.md names did not
# run, or when nothing was tried on an engine that is here (scripts/count-tests.sh, which prints the counts at the end).
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
[ $# -gt 0 ] || { echo "usage: $0 CARGO" >&2; exit 2; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export COCO_TEST_SKIPPED=$work/skipped
touch "$COCO_TEST_SKIPPED"
code=0
# Their standard output alone: what tests say on the other could stand in the middle of a line. Those that need no
# engine come first, each with its target's name before it, as docs/threats.md has it.
for target in lib laws integration; do
    case $target in lib) which=--lib prefix= ;; *) which="--test $target" prefix=$target:: ;; esac
    # shellcheck disable=SC2086
    "$@" test --locked $which >"$work/$target" || { code=$?; cat "$work/$target"; }
    sed -n "s/^test \(.* \.\.\. \)/test $prefix\1/p" "$work/$target" >>"$work/log"
    { grep '^test result' "$work/$target" || true; } | sed "s/^/$target: /"
done
# Signals that a caller in the background ignores (bash ignores SIGINT there) are ignored by all that it starts.
env --default-signal=INT,QUIT,HUP,TERM "$@" test --locked --test attacks | tee "$work/attacks" || code=${PIPESTATUS[0]}
cat "$work/attacks" >>"$work/log"

# An attack is as good as the worst of its tests.
awk -v skipped="$COCO_TEST_SKIPPED" -v log_file="$work/log" '
    BEGIN {
        split("podman-rootless podman-rootful docker", engines, " ")
        while ((getline line < skipped) > 0) {
            split(line, fields, "\t")
            skips[fields[1] "/" fields[2]] = 1
        }
        while ((getline line < log_file) > 0) {
            if (line !~ /^test .* \.\.\. (ok|FAILED|ignored)/) continue
            split(line, words, " ")
            outcome = words[4] == "ok" ? "ok" : words[4] == "FAILED" ? "FAILED" : "skipped"
            ran[words[2]] = outcome
            count = split(words[2], path, "::")
            if (count < 3) continue
            engine = path[count]
            gsub("_", "-", engine)
            name = "attacks::" path[count - 2] "::" path[count - 1] "/" engine
            # A skipped test passes as well: it says so in its list.
            if (outcome == "ok" && name in skips) outcome = "skipped"
            ran[name] = outcome
        }
        printf "\n%-4s %-58s %-9s %-9s %-9s %-9s\n", "id", "attack", "rootless", "rootful", "docker", "no engine"
        rank["-"] = 0; rank["ok"] = 1; rank["skipped"] = 2; rank["not run"] = 3; rank["FAILED"] = 4
    }
    /^\| [A-Z][0-9]+ \|/ {
        split($0, cell, / *\| */)
        what = substr(cell[3], 1, 58)
        gsub("`", "", what)
        rest = cell[5]
        found = bare = 0
        delete tests
        delete bares
        while (match(rest, /`[a-z0-9_]+::[a-z0-9_:]+`/)) {
            name = substr(rest, RSTART + 1, RLENGTH - 2)
            rest = substr(rest, RSTART + RLENGTH)
            # End to end tests are a target of their own.
            if (name ~ /^attacks::/) tests[++found] = name
            else if (name !~ /^e2e::/) bares[++bare] = name
        }
        if (!found && !bare) {
            printf "%-4s %-58s %s\n", cell[2], what, cell[5] ~ /by construction/ ? "by construction" : "not yet"
            next
        }
        printf "%-4s %-58s", cell[2], what
        for (e = 1; e <= 4; e++) {
            worst = "-"
            count = e < 4 ? found : bare
            for (t = 1; t <= count; t++) {
                name = e < 4 ? tests[t] "/" engines[e] : bares[t]
                outcome = name in ran ? ran[name] : "not run"
                if (rank[outcome] > rank[worst]) worst = outcome
            }
            if (worst == "not run" || worst == "FAILED") bad = 1
            total[e, worst]++
            printf " %-9s", worst
        }
        printf "\n"
    }
    END {
        printf "\n"
        engines[4] = "no engine"
        for (e = 1; e <= 4; e++) {
            printf "rows, %s: %d ok, %d failed, %d skipped, %d not run\n", engines[e], total[e, "ok"],
                total[e, "FAILED"], total[e, "skipped"], total[e, "not run"]
        }
        exit bad
    }
' "$here/docs/threats.md" || [ "$code" != 0 ] || code=1
bash "$here/scripts/count-tests.sh" attacks "$work/attacks" "$COCO_TEST_SKIPPED" || [ "$code" != 0 ] || code=1
exit "$code"
