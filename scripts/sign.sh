#!/bin/sh
# Signs what changed in a store: raises the revision of a changed file, makes the index anew when
# anything in it changed, and leaves everything else untouched. The store is a directory with coco
# files and the public key, coco.pub. COCO_INDEX_RENEW=1 makes the index anew in any case, with a new date
# of expiry. COCO_OLD_PUB=path is the public key that coco.pub replaced, for the first run with a new key.
# Run by `make sign KEY=path [STORE=directory]`.
#
# Whoever proposes a change may write any file of the store, and this script has the key: a number is
# believed where a signature holds, and whatever is made is made beside the store until all of it is there.
set -eu
export LC_ALL=C

key=${1:?usage: scripts/sign.sh KEY [DIRECTORY]}
store=${2:-$(dirname "$0")/../store}
expires_in=${COCO_INDEX_DAYS:-365}
coco=${COCO:-$(dirname "$0")/../dist/coco}
index=$store/index.json
container=$store/Containerfile

refuse() {
    echo "sign: $*" >&2
    exit 1
}

[ -f "$store/coco.pub" ] || refuse "$store/coco.pub, the public key, is missing"
[ -x "$coco" ] || refuse "$coco is missing, and it has to check the files: make build, or COCO=path"

# Where a link leads may change after what it led to was signed.
for file in "$store"/coco.pub "$store"/*.json "$container" "$store"/*.minisig; do
    if [ -L "$file" ] || { [ -e "$file" ] && [ ! -f "$file" ]; }; then
        refuse "$file is not a regular file: put the file itself there, or remove it"
    fi
done

# Nine digits: no shell and no jq takes such a number for another one.
is_revision() {
    case $1 in
        '' | 0* | *[!0-9]* | ??????????*) return 1 ;;
    esac
}

# parse SIGNATURE COMMENT SUBJECT: sets `revision`, if the comment is this subject's to the byte.
parse() {
    revision=${2##*revision=}
    [ "$2" = "$3 revision=$revision" ] || return 1
    is_revision "$revision" ||
        refuse "$1 states revision $revision, not one from 1 to 999999999: restore it from version control"
}

# verified FILE SIGNATURE SUBJECT [OPTION...]: whether it holds for this subject; sets `revision`.
# The program takes no legacy signature; minisign refuses them with -H. Of two -p the last one counts.
verified() {
    verified_file=$1 signature=$2 subject=$3
    shift 3
    comment=$(minisign -VQm "$verified_file" -x "$signature" -p "$store/coco.pub" "$@" 2>/dev/null) || return 1
    parse "$signature" "$comment" "$subject"
}

# sign FILE SUBJECT REVISION: minisign prehashes by default; nothing is typed, for the key has no password.
sign() {
    base=$(basename "$1")
    is_revision "$3" || refuse "$base has had every revision up to 999999999: give it another name, or begin a new store"
    minisign -S -s "$key" -m "$1" -x "$new/$base.minisig" -c "signature of the coco store" \
        -t "$2 revision=$3" </dev/null >/dev/null
    # By another key, every run would sign everything again.
    verified "$1" "$new/$base.minisig" "$2" -H ||
        refuse "$key is not the secret key of $store/coco.pub, and nothing was changed: give KEY=path of that one"
    echo "$base $3" >> "$new/signed"
}

# What is wrong in any file stops before the first signature.
for file in "$store"/*.json; do
    [ "$file" != "$index" ] || continue
    "$coco" lint --store "$file" >/dev/null || exit 1
done

# In the store, for a rename within one file system leaves the old file or the new one, never a half.
new=$(mktemp -d "$store/.sign.XXXXXX")
trap 'rm -rf "$new"' EXIT
trap 'exit 1' HUP INT TERM
: > "$new/signed"
: > "$new/entries"

# The old index says which revisions there were, so it counts only as it was signed.
restore="restore index.json and index.json.minisig from version control"
if [ -e "$index" ]; then
    verified "$index" "$index.minisig" coco-index ||
        { [ -n "${COCO_OLD_PUB:-}" ] && verified "$index" "$index.minisig" coco-index -p "$COCO_OLD_PUB"; } ||
        refuse "$index.minisig is missing or not valid: $restore (with a new coco.pub: COCO_OLD_PUB=path of the old one)"
    [ "$(jq -r .revision "$index")" = "$revision" ] || refuse "$index states another revision than its signature: $restore"
    old_revision=$revision
    jq -S .tools "$index" > "$new/old-tools"
else
    for file in "$store"/*.json.minisig "$container.minisig"; do
        [ ! -e "$file" ] || refuse "$index is missing, and $file is there: $restore, or begin anew without any signature"
    done
    old_revision=0
    echo '{}' > "$new/old-tools"
fi

for file in "$store"/*.json; do
    [ "$file" != "$index" ] || continue
    name=$(basename "$file" .json)
    # A name that the index does not have may have been in an older one: no index has had more revisions than itself.
    floor=$(jq --arg name "$name" --argjson most "$old_revision" '.[$name].revision // $most' "$new/old-tools")
    [ "$floor" = 0 ] || is_revision "$floor" || refuse "$index states revision $floor of $name, not one from 1 to 999999999: $restore"
    # Below the floor is an old file with its old signature. Above it, a run ended before the index was there.
    if ! verified "$file" "$file.minisig" "coco-config name=$name" -H || [ "$revision" -lt "$floor" ]; then
        sign "$file" "coco-config name=$name" $((floor + 1))
    fi
    # What the index says of the tool.
    jq --arg name "$name" --argjson revision "$revision" \
        '{($name): {revision: $revision, tool: .tool, description: .description}}' "$file" >> "$new/entries"
done

# Only the store inside the program has one. The index does not list it, so the revision of a changed one
# is what its old signature says: minisign can't check that without the old bytes.
if [ -e "$container" ] && ! verified "$container" "$container.minisig" coco-containerfile -H; then
    revision=0
    if [ -e "$index" ]; then
        [ -e "$container.minisig" ] || refuse "$container.minisig is missing: restore it from version control"
        parse "$container.minisig" "$(sed -n '3s/^trusted comment: //p' "$container.minisig")" coco-containerfile ||
            refuse "$container.minisig is not the signature of a Containerfile: restore it from version control"
    fi
    sign "$container" coco-containerfile $((revision + 1))
fi

# Sorted by name.
jq -s -S 'add // {}' "$new/entries" > "$new/tools"
if ! cmp -s "$new/tools" "$new/old-tools" || [ "${COCO_INDEX_RENEW:-}" = 1 ] ||
    ! verified "$index" "$index.minisig" coco-index -H; then
    expires=$(date -u -d "+$expires_in days" +%F)
    jq --argjson revision $((old_revision + 1)) --arg expires "$expires" \
        '{revision: $revision, expires: $expires, tools: .}' "$new/tools" > "$new/index.json"
    sign "$new/index.json" coco-index $((old_revision + 1))
else
    soon=$(date -u -d "+90 days" +%F)
    expires=$(jq -r --arg soon "$soon" 'select(.expires <= $soon).expires' "$index")
    [ -z "$expires" ] || echo "sign: the index expires on $expires: COCO_INDEX_RENEW=1 renews it" >&2
fi

# The index comes last; without its own signature it would be refused, so no signal gets between the two.
trap '' HUP INT TERM
while read -r base _; do
    [ "$base" != index.json ] || mv -f "$new/index.json" "$index"
    mv -f "$new/$base.minisig" "$store/$base.minisig"
done < "$new/signed"
sed 's/^\(.*\) \(.*\)$/signed \1, revision \2/' "$new/signed"
