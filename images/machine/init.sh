#!/bin/sh
# The first process of a machine: gives it a systemd hierarchy of its own, then becomes systemd.
#
# With cgroups of version 1 podman shows each container the host's whole hierarchy name=systemd. The systemd of every
# machine would take its root for its own, and with one machine the folders of all the others would go. A mount made in here shows
# the machine's own part only, because podman gives each container a cgroup namespace. With version 2 that namespace is enough.
#
# It also lifts podman's limit of 2048 processes, which is one for a program and not for a machine that runs pods: one pod's
# would take kubelet's. What pods may have is bounded by kubelet (playbooks/inventories/local.yml), and fits into this.
set -u
processes=32768
hierarchy=/sys/fs/cgroup/systemd

refuse() {
    echo "machine: not started, because its cgroups would be shared with other machines: $1" >&2
    exit 1
}

# The path of this process in a hierarchy, as seen from the machine: "/" where the machine has a namespace of its own.
own_path() {
    sed -n "s|^[0-9]*:$1:||p" /proc/self/cgroup
}

if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    [ "$(own_path '')" = / ] || refuse "it has no cgroup namespace of its own (podman run --cgroupns=private)"
    echo "$processes" > /sys/fs/cgroup/pids.max
    exec /lib/systemd/systemd "$@"
fi

[ "$(own_path 'name=systemd')" = / ] || refuse "it has no cgroup namespace of its own (podman run --cgroupns=private)"
for place in "$hierarchy/release_agent" "$hierarchy"; do
    while mountpoint -q "$place"; do
        umount "$place" || refuse "the host's hierarchy cannot be unmounted from $place"
    done
done
mount -t cgroup -o none,name=systemd cgroup "$hierarchy" || refuse "no hierarchy name=systemd can be mounted on $hierarchy"
# The fourth field is the part of the hierarchy that is mounted; from inside the machine its own part is "/".
shown=$(awk -v place="$hierarchy" '$5 == place {print $4}' /proc/self/mountinfo)
[ "$shown" = / ] || refuse "the hierarchy mounted on $hierarchy shows ${shown:-nothing} and not the machine's own part"
echo "$processes" > /sys/fs/cgroup/pids/pids.max
exec /lib/systemd/systemd "$@"
