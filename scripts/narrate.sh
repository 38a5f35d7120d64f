# Says what a long step is at while it runs, for a person and for a log alike. Sourced.
# shellcheck shell=bash

# narrate SECONDS WHAT COMMAND...: runs the command and writes a line to standard error every so many
# seconds until it ends. A caller that knows more sets $narrate_detail to the name of a function
# that prints a few words about the step's present state.
narrate() {
    local every=$1 what=$2 code=0 pulse speaker
    shift 2
    # The speaker ends when this pipe does: also when this shell is killed.
    exec {pulse}> >(speak "$every" "$what")
    speaker=$!
    "$@" {pulse}>&- || code=$?
    exec {pulse}>&-
    wait "$speaker" || true
    return "$code"
}

speak() {
    local begun=$SECONDS code detail
    while true; do
        code=0
        # No `sleep`: one that outlives a killed script would hold its output open.
        read -rt "$1" _ || code=$?
        # Above 128 the time is up. Otherwise the other end of the pipe is closed.
        [ "$code" -gt 128 ] || return 0
        detail=
        if [ -n "${narrate_detail:-}" ]; then detail=$("$narrate_detail" 2>/dev/null) || detail=; fi
        printf '   ... %s s: %s%s\n' "$((SECONDS - begun))" "$2" "${detail:+: $detail}" >&2
    done
}

# The last line that a sed expression finds in a growing file.
last_found() { sed -n "$2" "$1" | tail -n 1 | cut -c 1-90; }
