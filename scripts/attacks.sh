#!/usr/bin/env bash
# Runs the attacks and ends with a table: a line for each id of docs/threats.md, and how its tests went on each engine.
# `make attacks` calls it with the command that runs them; the exit code is that command's, or 1 when a test that
# docs/threats.md names did not run.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
[ $# -gt 0 ] || { echo "usage: $0 COMMAND..." >&2; exit 2; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export COCO_TEST_SKIPPED=$work/skipped
touch "$COCO_TEST_SKIPPED"
code=0
# Its standard output alone: what tests say on the other could stand in the middle of a line.
"$@" | tee "$work/log" || code=${PIPESTATUS[0]}

# An attack is as good as the worst of its tests; one that needs no engine is another target's.
awk -v skipped="$COCO_TEST_SKIPPED" -v log_file="$work/log" '
    BEGIN {
        split("podman-rootless podman-rootful docker", engines, " ")
        while ((getline line < skipped) > 0) {
            split(line, words, /[ :]/)
            skips[words[1] "/" words[2]] = 1
        }
        while ((getline line < log_file) > 0) {
            if (line !~ /^test .* \.\.\. (ok|FAILED|ignored)/) continue
            split(line, words, " ")
            count = split(words[2], path, "::")
            if (count < 3) continue
            engine = path[count]
            gsub("_", "-", engine)
            test = path[count - 2] "::" path[count - 1]
            outcome = words[4] == "ok" ? "ok" : words[4] == "FAILED" ? "FAILED" : "skipped"
            # A skipped test passes as well: it says so in its list.
            if (outcome == "ok" && (path[count - 1] "/" engine) in skips) outcome = "skipped"
            ran[test "/" engine] = outcome
        }
        printf "\n%-4s %-58s %-9s %-9s %-9s\n", "id", "attack", "rootless", "rootful", "docker"
        rank["ok"] = 1; rank["skipped"] = 2; rank["not run"] = 3; rank["FAILED"] = 4
    }
    /^\| [A-Z][0-9]+ \|/ {
        split($0, cell, / *\| */)
        what = substr(cell[3], 1, 58)
        gsub("`", "", what)
        rest = cell[5]
        found = elsewhere = 0
        delete tests
        while (match(rest, /`[a-z0-9_:]+`/)) {
            name = substr(rest, RSTART + 1, RLENGTH - 2)
            rest = substr(rest, RSTART + RLENGTH)
            if (sub(/^attacks::/, "", name)) tests[++found] = name
            else if (name ~ /::/) elsewhere = name ~ /^e2e::/ ? "make e2e" : "make unit"
        }
        if (!found) {
            shown = elsewhere ? elsewhere : cell[5] ~ /by construction/ ? "by construction" : "not yet"
            printf "%-4s %-58s %s\n", cell[2], what, shown
            next
        }
        printf "%-4s %-58s", cell[2], what
        for (e = 1; e <= 3; e++) {
            worst = "ok"
            for (t = 1; t <= found; t++) {
                outcome = (tests[t] "/" engines[e]) in ran ? ran[tests[t] "/" engines[e]] : "not run"
                if (rank[outcome] > rank[worst]) worst = outcome
            }
            if (worst == "not run" || worst == "FAILED") bad = 1
            total[engines[e], worst]++
            printf " %-9s", worst
        }
        printf "\n"
    }
    END {
        printf "\n"
        for (e = 1; e <= 3; e++) {
            printf "%s: %d ok, %d failed, %d skipped, %d not run\n", engines[e], total[engines[e], "ok"],
                total[engines[e], "FAILED"], total[engines[e], "skipped"], total[engines[e], "not run"]
        }
        exit bad
    }
' "$here/docs/threats.md" || [ "$code" != 0 ] || code=1
exit "$code"
