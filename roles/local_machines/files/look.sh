#!/bin/sh
# Run inside a machine: says in a line what it has lost of what it stands on and fails, or says nothing.
# Its arguments are the places where something must be mounted.
set -u

lost() {
    echo "$1"
    exit 1
}

# Where a hierarchy of cgroups is mounted: by a version-1 controller or name, or nothing for version 2.
place_of() {
    if [ -z "$1" ]; then
        awk '$3 == "cgroup2" {print $2; exit}' /proc/mounts
    else
        awk -v wanted="$1" '$3 == "cgroup" && ("," $4 ",") ~ ("," wanted ",") {print $2; exit}' /proc/mounts
    fi
}

state=$(timeout 60 systemctl is-system-running --wait 2>&1)
# "degraded" is a machine with one failed unit: up, and the roles that follow say what is wrong.
case "$state" in
    running | degraded) ;;
    *) lost "systemd says: ${state:-nothing}" ;;
esac

for place in /run "$@"; do
    mountpoint -q "$place" || lost "nothing is mounted on $place"
    grep -qE "^[^ ]+ [^ ]+ [^ ]+ [^ ]+//deleted $place " /proc/self/mountinfo && lost "what is mounted on $place was removed from the host"
done

# systemd's own hierarchy comes first: in a shared one the folders below are anybody's.
while IFS=: read -r _ controllers path; do
    case "$controllers:$path" in name=systemd:/..*) lost "its systemd hierarchy is shared with other machines" ;; esac
    place=$(place_of "${controllers%%,*}")
    [ -n "$place" ] || lost "the hierarchy of cgroups ${controllers:-of version 2} is not mounted"
    [ -d "$place$path" ] || lost "the cgroup $path is gone from $place"
done < /proc/1/cgroup

# A service that runs has a folder in systemd's hierarchy.
units=$(place_of name=systemd)
for path in $(systemctl show --property=ControlGroup --value --type=service --state=running '*' | grep .); do
    [ -d "${units:-$(place_of '')}$path" ] || lost "the cgroup $path of a running service is gone"
done
