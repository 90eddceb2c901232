#!/bin/bash
# Takes away the packet filter's rules of a set of machines that lead where nothing is to lead any more, and says which.
# Its arguments are the set's name and the interface that it is on, and as ADDRESS:PORT what is to stay; without any, all go.
set -euo pipefail

instance=$1
interface=$2
shift 2

# Whether a rule is one of those that tasks/loopback.yml makes for what is to stay.
stays() {
    local rule=$1 way
    shift
    for way in "$@"; do
        case "$rule" in
            *" --dport ${way#*:} "*" --to-destination $way") return 0 ;;
            *" -d ${way%:*}/32 "*" --dport ${way#*:} "*" -j MASQUERADE") return 0 ;;
            *" -i $interface "*" -j DROP") return 0 ;;
        esac
    done
    return 1
}

command -v iptables > /dev/null || exit 0
for table in nat filter; do
    rules=$(iptables --wait --table "$table" --list-rules | grep --fixed-strings -- "--comment $instance " || true)
    while read -r _ rule; do
        if [ -n "$rule" ] && ! stays "$rule" "$@"; then
            echo "$rule" | xargs iptables --wait --table "$table" --delete
            echo "$rule"
        fi
    done <<< "$rules"
done
