#!/usr/bin/env bash
# Counts the tests of a target that needs engines: passed, failed, and skipped with the reasons, for each engine and in
# all. LOG is what `cargo test` printed, SKIPPED the list that the tests wrote to COCO_TEST_SKIPPED. Exits with 1 where
# a test failed or nothing was tried: no test at all, or all of them skipped on an engine that is here.
set -eu

[ $# = 3 ] || { echo "usage: $0 TARGET LOG SKIPPED" >&2; exit 2; }

awk -F '\t' -v target="$1" -v log_file="$2" -v skipped="$3" '
    BEGIN {
        count_engines = split("podman-rootless podman-rootful docker", engines, " ")
        while ((getline < skipped) > 0) {
            kind[$1, $2] = $3
            why[$1, $2] = $4
        }
        while ((getline line < log_file) > 0) {
            if (line !~ /^test [a-z0-9_:]+ \.\.\. (ok|FAILED|ignored)/) continue
            split(line, words, " ")
            name = target "::" words[2]
            engine = "no engine"
            for (e = 1; e <= count_engines; e++) {
                suffix = "::" engines[e]
                gsub("-", "_", suffix)
                start = length(name) - length(suffix)
                if (substr(name, start + 1) != suffix) continue
                engine = engines[e]
                name = substr(name, 1, start)
            }
            # A skipped test passes as well: it says so in its list.
            if (words[4] == "FAILED") outcome = "failed"
            else outcome = words[4] == "ignored" || (name, engine) in kind ? "skipped" : "passed"
            outcomes[engine, outcome]++
            all[outcome]++
            if (outcome != "skipped") continue
            if (kind[name, engine] == "absent") absent[engine]++
            reason = words[4] == "ignored" ? "ignored" : why[name, engine]
            if (!reasons[engine, reason]++) listed[engine, ++lengths[engine]] = reason
        }
        printf "\n"
        for (e = 1; e <= count_engines; e++) {
            engine = engines[e]
            tried = outcomes[engine, "passed"] + outcomes[engine, "failed"]
            printf "%s on %s: %d passed, %d failed, %d skipped\n", target, engine, outcomes[engine, "passed"],
                outcomes[engine, "failed"], outcomes[engine, "skipped"]
            for (r = 1; r <= lengths[engine]; r++)
                printf "    skipped %d: %s\n", reasons[engine, listed[engine, r]], listed[engine, r]
            if (tried) continue
            if (absent[engine] && absent[engine] == outcomes[engine, "skipped"]) gone++
            else {
                printf "    error: %s is not absent, and nothing was tried on it\n", engine
                bad = 1
            }
        }
        if (gone == count_engines) printf "%s: no engine on this machine, so nothing was tried\n", target
        printf "%s: %d passed, %d failed, %d skipped\n", target, all["passed"], all["failed"], all["skipped"]
        exit (bad || all["failed"] > 0)
    }
'
