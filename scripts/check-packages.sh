#!/usr/bin/env bash
# Fails when a document or a script names other Debian packages than tests/support/packages.sh does.
set -eu

cd "$(dirname "$0")/.."
machine=tests/support/machine.sh
bad=0

main() {
    same README.md Install @coco @base
    same README.md 'Try it' @demo
    same CONTRIBUTING.md Contributing @unit
    # A script that names packages itself is a second list.
    if grep -nE 'machine(\.sh)?"? packages( +[^ @>]|$)|apt-get install +(-[^ ]+ +)*[a-z]' scripts/*.sh .ci/run; then
        complain 'a script names packages: put them into a set of tests/support/packages.sh, and name the set'
    fi
    [ "$bad" = 0 ] || exit 1
    echo 'check-packages: README.md and CONTRIBUTING.md name the packages of tests/support/packages.sh'
}

# same FILE SECTION SET...: whether the section's lines `apt-get install` name the packages of the sets, and no others.
same() {
    local file=$1 section=$2 documented listed
    shift 2
    documented=$(awk -v title="$section" '/^##? / { on = index($0, "# " title) } on' "$file" \
        | sed -n -e 's/  *#.*//' -e 's/^    apt-get install //p' | tr -s ' ' '\n' | sed '/^$/d' | sort -u)
    listed=$(for set in "$@"; do bash "$machine" list "$set"; done | tr ' ' '\n' | sort -u)
    [ "$documented" != "$listed" ] || return 0
    diff <(echo "$listed") <(echo "$documented") | sed -n -e 's/^< /    missing there: /p' -e 's/^> /    not in the sets: /p'
    complain "$file, \"$section\": the packages differ from $* of tests/support/packages.sh"
}

complain() {
    echo "check-packages: $*" >&2
    bad=1
}

main
