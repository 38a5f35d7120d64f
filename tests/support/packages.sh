# Which Debian packages coco, its demo and its tests need, and their installation. Sourced by machine.sh, whose functions
# it uses.
# shellcheck shell=bash

# The one place where packages are listed. README.md and CONTRIBUTING.md show some of these sets;
# scripts/check-packages.sh compares them.
list() {
    case $1 in
        # What coco needs to run with podman. Found by taking each away on a bare Debian 12: without runc and netavark
        # nobody's podman starts a container with a network, without iptables root's does not (netavark runs it, and
        # depends on nothing that has it), without uidmap and slirp4netns an ordinary user's does not. aardvark-dns is
        # for networks of one's own, fuse-overlayfs for a kernel whose overlay users can't mount.
        @coco) echo podman runc netavark aardvark-dns iptables uidmap slirp4netns fuse-overlayfs ;;
        # What making the base image needs where no container registry answers.
        @base) echo mmdebstrap ;;
        # What building dist/coco needs besides Rust.
        @build) echo make gcc libc6-dev ca-certificates ;;
        @demo) union @coco @base @build ;;
        # What `make check unit` needs besides Rust.
        @unit) union @build minisign jq curl ;;
        @test) union @demo @unit @bench python3 util-linux passt bubblewrap docker.io shellcheck ;;
        @bench) echo hyperfine jq time iproute2 python3 ;;
        @clean-room) echo mmdebstrap slirp4netns git ;;
        # What somebody has who has cloned this and builds Rust programs: the clean room starts from it.
        @newcomer) echo make git gcc libc6-dev ca-certificates ;;
        *) die "list: unknown set: $1 (machine.sh help)" ;;
    esac
}

# Each package of these sets once.
union() {
    local name
    for name in "$@"; do
        case $name in @*) list "$name" ;; *) echo "$name" ;; esac
    done | tr ' ' '\n' | awk '!seen[$0]++' | paste -sd ' '
}

packages() {
    [ $# -gt 0 ] || set -- @test
    local name started wanted='' missing=''
    for name in $(union "$@"); do
        package_installed "$name" || missing="$missing $name"
        # Newer Debian has docker's client in a package of its own, and older Debian no package of that name.
        if [ "$name" = docker.io ] && ! have docker && ! package_installed docker-cli; then
            missing="$missing docker-cli?"
        fi
    done
    if [ -z "$missing" ]; then
        say 'packages: all there'
        return
    fi
    [ "$(id -u)" = 0 ] || die "packages: missing:$missing; as root: apt-get install${missing//docker-cli?/}"
    started=$(date +%s)
    narrated 'asking apt for its lists of packages' apt-get update -qq
    for name in $missing; do
        # A question mark: wanted only if this release has it.
        case $name in *'?') name=${name%'?'}; package_known "$name" || continue ;; esac
        wanted="$wanted $name"
    done
    say "packages: installing$wanted"
    work_file=$(mktemp)
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive narrate_detail=apt_state narrated 'apt installs packages' \
        apt_install $wanted || { rm -f "$work_file"; die "packages: apt-get install failed, see above"; }
    rm -f "$work_file"
    say "packages: done in $(($(date +%s) - started)) s"
}

# apt writes what it is at into the file that apt_state reads.
apt_install() {
    apt-get install -qq -y --no-install-recommends -o APT::Status-Fd=5 "$@" 5>"$work_file" >/dev/null
}

apt_state() { last_found "$work_file" 's/^[a-z]*status:[^:]*:\([0-9]*\)[^:]*:\(.*\)/\1 %, \2/p'; }

package_installed() { dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }
package_known() { apt-cache show "$1" >/dev/null 2>&1; }
