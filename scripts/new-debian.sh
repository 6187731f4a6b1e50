# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What the tests share that make a whole new Debian machine: a root of its own, changed by a chroot, then a disk that a
# virtual machine boots. Sourced behind lib.sh, by scripts that set `root` and `log`.

# What makes a test fail when a console says it.
REPORTS='BUG:|WARNING:|Oops|Kernel panic|INFO: task .* blocked'

# The packages of a kernel as README names them, of the flavour that virtual machines boot.
readme_kernel() {
    local kernel
    kernel=$(sed -n "s/^ *apt install \(linux-image-[^#]*[^# ]\) *\(#.*\)\?\$/\1/p" "$top/README.md")
    [ -n "$kernel" ] || die "README.md has no line that starts with 'apt install linux-image'"
    echo "${kernel//-amd64/-${DRBDRS_FLAVOUR:-cloud-amd64}}"
}

# Runs a command in the root; the clone and the caches of this machine are not in it.
inside() {
    # shellcheck disable=SC2016
    unshare --mount bash -ec '
        root=$1
        shift
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        unset XDG_CACHE_HOME CARGO_HOME RUSTUP_HOME DRBDRS_KERNEL DRBDRS_ROOT DRBDRS_FLAVOUR MAKEFLAGS MFLAGS MAKELEVEL
        export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 TMPDIR=/tmp DEBIAN_FRONTEND=noninteractive
        exec chroot "$root" "$@"
    ' inside "$root" "$@" >>"$log" 2>&1
}

# Makes the root: a minimal Debian with the packages of the argument (names with commas), and apt's settings.
new_debian() {
    say "making a Debian $SUITE root"
    rm -rf --one-file-system "$root"
    mkdir -p "$root"
    PATH=$PATH:/usr/sbin:/sbin debootstrap --variant=minbase --include="ca-certificates,$1" "$SUITE" "$root" \
        "$(debian_mirror)" >"$log" 2>&1
    refresh_root_settings
    inside apt-get update -q
}

# Makes a disk of the root, with MEGABYTES to spare.
disk_of_root() { # FILE MEGABYTES
    say "making a disk of the root"
    inside apt-get clean
    truncate -s "$(($(du -sm "$root" | cut -f1) * 5 / 4 + $2))M" "$1"
    PATH=$PATH:/usr/sbin:/sbin mkfs.ext4 -q -F -O ^has_journal -m 0 -d "$root" "$1" >>"$log" 2>&1
}

# The kernel that is installed in the root.
kernel_of_root() { # RELEASE
    local image
    image=$(ls "$root/boot/vmlinuz-$1" "$root/usr/lib/modules/$1/vmlinuz" 2>/dev/null | head -n 1)
    [ -n "$image" ] || die "no vmlinuz came with kernel $1"
    echo "$image"
}
