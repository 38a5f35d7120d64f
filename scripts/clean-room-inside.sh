#!/usr/bin/env bash
# The first process of a clean room: makes a directory its root and waits for the end of its input.
# Run by clean-room.sh in new mount, process, host name and network namespaces.
set -eu

room=$1
toolchain=$2

mount --bind "$room" "$room"
mount -t proc proc "$room/proc"
# Of its own: sysfs shows the network namespace in which it was mounted.
mount -t sysfs sysfs "$room/sys"
mount --rbind /sys/fs/cgroup "$room/sys/fs/cgroup"
mount --rbind /dev "$room/dev"
mount -t tmpfs -o mode=0755 tmpfs "$room/run"
mount -t tmpfs -o mode=1777 tmpfs "$room/tmp"
mount --rbind "$toolchain" "$room/opt/rust"
mount -o remount,bind,ro "$room/opt/rust"
# Where every user can read it; HOME may be anybody's.
mount --bind "$room/src" "$room/opt/src"
hostname clean-room
# No user namespace can be made in a chroot.
cd "$room"
mkdir -p mnt
pivot_root . mnt
cd /
umount -l /mnt
ip link set lo up 2>/dev/null || true
echo ready
# Children of processes that ended are this one's; the shell takes their exit codes meanwhile.
read -r _ || true
