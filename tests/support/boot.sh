#!/bin/sh
# boot.sh ROOT CGROUP: systemd as PID 1 of namespaces of its own (processes, mounts, network, cgroups), in a root
# that is thrown away. It ends with us.
set -eu
mkdir -p "$2"
echo $$ >"$2/cgroup.procs"
exec unshare --mount --pid --uts --ipc --net --cgroup --fork --kill-child sh -euc '
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs tmpfs sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/net dev/pts dev/shm
for node in null zero full random urandom tty; do
    touch "dev/$node"
    mount --bind "/dev/$node" "dev/$node"
done
mknod -m 666 dev/net/tun c 10 200 # as udev makes it
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mkdir -p .old
pivot_root . .old
umount -l /.old
exec env -i container=tunrouter-test PATH=/usr/sbin:/usr/bin /lib/systemd/systemd --log-target=journal
' sh "$1"
