# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What the scripts of this folder share: where things are cached, how they speak, and how a
# command is run where the kernel's toolchain is (either this very machine, when it is a Debian 13
# that runs a supported kernel, or a Debian 13 root in the cache).
set -euo pipefail

# Kernel series whose Rust interfaces the code is written for, oldest first.
SUPPORTED_SERIES=(7.3)
SUITE=trixie

# shellcheck disable=SC2034 # used by those who source this file
{
    top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    program=$(basename "$0")
    cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/drbdrs
    root=$cache/root-$SUITE
}

say() { echo "$program: $*" >&2; }
die() {
    say "$*"
    exit 1
}

# Holds the named lock until this script ends.
lock() {
    local fd
    mkdir -p "$cache"
    exec {fd}>"$cache/$1.lock"
    flock --nonblock "$fd" || {
        say "waiting for another run that holds $cache/$1.lock"
        flock "$fd"
    }
}

# Refuses to begin what would fill the disk half-way.
need_space() { # MEGABYTES DIRECTORY
    local free
    mkdir -p "$2" || die "cannot write in $2. Remedy: set XDG_CACHE_HOME to a directory of yours"
    free=$(df -Pm "$2" | awk 'NR == 2 { print $4 }')
    [ "$free" -ge "$1" ] || die "this needs $1 MB in $2, where $free are free. Remedy: make room there, or set" \
        "XDG_CACHE_HOME to a directory on another disk"
}

# Succeeds when RELEASE (as in uname -r) belongs to a series that the code supports.
supported() {
    local series
    for series in "${SUPPORTED_SERIES[@]}"; do
        case $1 in "$series".* | "$series"[-+]*) return 0 ;; esac
    done
    return 1
}

refuse() {
    die "kernel $1 is not supported: this module is written against the Rust interfaces of Linux" \
        "${SUPPORTED_SERIES[*]} with CONFIG_RUST=y (Debian $SUITE-backports has it); set DRBDRS_KERNEL to" \
        "such a release"
}

# Succeeds when the module is built by this machine's own toolchain rather than in the root.
native() {
    [ -z "${DRBDRS_ROOT:-}" ] || return 1
    [ -z "${KDIR:-}" ] || return 0
    # shellcheck disable=SC1091
    [ "$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" = "$SUITE" ] &&
        supported "${DRBDRS_KERNEL:-$(uname -r)}" &&
        [ -d "/usr/src/linux-headers-${DRBDRS_KERNEL:-$(uname -r)}" ]
}

# Runs a command in the root. The clone and the cache of kernels appear there under their own
# names, so that paths in messages mean the same inside and outside; the mounts end with the command.
in_root() {
    [ "$(id -u)" = 0 ] || die "the Debian $SUITE root in $root needs root's rights (unshare, chroot);" \
        "run this as root, or on Debian $SUITE with a supported kernel running"
    mkdir -p "$cache/kernel"
    # shellcheck disable=SC2016
    unshare --mount bash -ec '
        root=$1 top=$2 kernels=$3
        shift 3
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        for dir in "$top" "$kernels"; do
            mkdir -p "$root$dir"
            mount --bind "$dir" "$root$dir"
        done
        unset MAKEFLAGS MFLAGS MAKELEVEL
        export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 TMPDIR=/tmp
        exec chroot "$root" bash -c '\''cd "$1" 2>/dev/null || cd /; shift; exec "$@"'\'' in_root "$PWD" "$@"
    ' in_root "$root" "$top" "$cache/kernel" "$@"
}

# Runs a command where the kernel's toolchain is.
with_toolchain() {
    if native; then
        env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL LC_ALL=C.UTF-8 "$@"
    else
        in_root "$@"
    fi
}

# The archive that this machine's own apt uses; DEBIAN_MIRROR overrides.
debian_mirror() {
    local uri
    # shellcheck disable=SC1091
    uri=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Identifier: Packages' \
        2>/dev/null | awk -v suite="$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" \
        '$2 == suite { print $1; exit }')}
    case $uri in
    mirror+file:*) uri=$(grep -m1 -o '^[^#[:space:]]*' "${uri#mirror+file:}" || true) ;;
    esac
    [ -n "$uri" ] || die "this machine's apt names no Debian archive; set DEBIAN_MIRROR=URL of one"
    echo "${uri%/}"
}

# Brings this machine's network and apt settings into the root; they may change between runs.
refresh_root_settings() {
    local mirror
    mirror=$(debian_mirror)
    cp --dereference /etc/resolv.conf /etc/hosts "$root/etc/"
    # Whom this machine trusts: networks with a certificate authority of their own.
    if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
        mkdir -p "$root/etc/ssl/certs"
        cp --dereference /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    fi
    # Proxies and the like; hooks that run programs which the root lacks are left out.
    local conf
    for conf in /etc/apt/apt.conf.d/*; do
        if [ -f "$conf" ] && ! grep -q -e 'Post-Invoke' -e 'Pre-Install-Pkgs' -e 'Pre-Invoke' "$conf"; then
            cp "$conf" "$root/etc/apt/apt.conf.d/"
        fi
    done
    cat >"$root/etc/apt/sources.list" <<LIST
deb $mirror $SUITE main
deb $mirror $SUITE-backports main
LIST
}
