#!/bin/bash -l
# Runs one attempt on a compute node and leaves its exit status in a file that is there whole or not at all.
# $1 is the attempt's folder. A second start of the same attempt does nothing: the folder `started` is made only once.
set -u
umask 077
attempt=$1
mount=$(cd "$attempt/../mount" && pwd) || exit 98
mkdir "$attempt/started" || exit 99
date +%s.%N > "$attempt/began"
set -a
# shellcheck disable=SC1091
. "$attempt/environment"
export MOUNT_POINT="$mount" HOME="$mount/HOME/private"
set +a
cd "$HOME" || exit 98
"$attempt/command" &
child=$!
# Slurm's warning before it kills: pass it on, and still say how it ended.
trap 'kill -TERM "$child" 2> /dev/null' TERM
while :; do
  wait "$child"
  code=$?
  kill -0 "$child" 2> /dev/null || break
done
date +%s.%N > "$attempt/ended"
echo "$code" > "$attempt/.result"
sync "$attempt/.result" 2> /dev/null
mv "$attempt/.result" "$attempt/result"
exit "$code"
