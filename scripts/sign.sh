#!/bin/sh
# Signs what changed in a store: raises the revision of a changed file, makes the index anew when
# anything in it changed, and leaves everything else untouched. The store is a directory with coco
# files and the public key, coco.pub. COCO_INDEX_RENEW=1 makes the index anew in any case, with a new date
# of expiry. Run by `make sign KEY=path [STORE=directory]`.
set -eu

key=${1:?usage: scripts/sign.sh KEY [DIRECTORY]}
store=${2:-$(dirname "$0")/../store}
expires_in=${COCO_INDEX_DAYS:-365}
coco=${COCO:-$(dirname "$0")/../dist/coco}

[ -f "$store/coco.pub" ] || { echo "sign: $store/coco.pub, the public key, is missing" >&2; exit 1; }
[ -x "$coco" ] || { echo "sign: $coco is missing, and it has to check the files: make build, or COCO=path" >&2; exit 1; }

# The revision in a signature's trusted comment; 0 when there is no signature.
revision() {
    sed -n 's/^trusted comment: .*revision=\([0-9][0-9]*\)$/\1/p' "$1.minisig" 2>/dev/null | grep . || echo 0
}

is_signed() {
    [ -f "$1.minisig" ] && minisign -Vqm "$1" -p "$store/coco.pub" -x "$1.minisig" >/dev/null 2>&1
}

# sign FILE COMMENT: minisign prehashes by default; -W because the key has no password.
sign() {
    next=$(($(revision "$1") + 1))
    minisign -S -s "$key" -m "$1" -x "$1.minisig" -c "signature of the coco store" -t "$2 revision=$next" </dev/null >/dev/null
    echo "signed $(basename "$1"), revision $next"
}

# What is wrong in any file stops before the first signature.
for file in "$store"/*.json; do
    [ "$(basename "$file")" != index.json ] || continue
    "$coco" lint --store "$file" >/dev/null || exit 1
done

for file in "$store"/*.json; do
    name=$(basename "$file" .json)
    [ "$name" != index ] || continue
    is_signed "$file" || sign "$file" "coco-config name=$name"
done
# Only the store inside the program has one.
[ ! -f "$store/Containerfile" ] || is_signed "$store/Containerfile" || sign "$store/Containerfile" coco-containerfile

# What the index says of the tools, sorted by name.
tools=$(for file in "$store"/*.json; do
    name=$(basename "$file" .json)
    [ "$name" != index ] || continue
    jq --arg name "$name" --argjson revision "$(revision "$file")" \
        '{($name): {revision: $revision, tool: .tool, description: .description}}' "$file"
done | jq -s -S add)
old=$(jq -S .tools "$store/index.json" 2>/dev/null || true)
if [ "$tools" != "$old" ] || [ "${COCO_INDEX_RENEW:-}" = 1 ] || ! is_signed "$store/index.json"; then
    next=$(($(revision "$store/index.json") + 1))
    expires=$(date -u -d "+$expires_in days" +%F)
    printf '%s' "$tools" | jq --argjson revision "$next" --arg expires "$expires" \
        '{revision: $revision, expires: $expires, tools: .}' > "$store/index.json"
    sign "$store/index.json" coco-index
fi
