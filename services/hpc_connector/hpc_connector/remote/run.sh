#!/bin/bash -l
# Runs one attempt on a compute node and leaves its exit status in a file that is there whole or not at all.
# $1 is the attempt's folder. A second start of the same attempt does nothing: the folder `started` is made only once.
set -u
umask 077
attempt=$1
mount=$(cd "$attempt/../mount" && pwd) || exit 98
mkdir "$attempt/started" || exit 99
date +%s.%N > "$attempt/began"
home=$mount/HOME/private
cd "$home" || exit 98
# The job's variables are the child's alone: whatever they are named, they mean nothing here.
mapfile -d '' -t variables < "$attempt/environment"
# Where files come by SFTP alone, nobody but the job can look whether they arrived whole; what did not is sent again.
arrived() {
  [ -e "$attempt/../inputs" ] || return 0
  sha256sum --check --quiet --strict "$attempt/../inputs" >&2 && return 0
  cut -c 67- "$attempt/../inputs" | xargs -d '\n' rm -f --
  return 1
}
(arrived || exit 97; exec env -- "${variables[@]}" MOUNT_POINT="$mount" HOME="$home" "$attempt/command") &
child=$!
# Slurm's warning before it kills: pass it on, and still say how it ended.
trap 'kill -TERM "$child" 2> /dev/null' TERM
while :; do
  wait "$child"
  code=$?
  kill -0 "$child" 2> /dev/null || break
done
date +%s.%N > "$attempt/ended"
# And nobody but the job can say what it made.
if [ "$code" = 0 ] && [ -s "$attempt/../outputs" ]; then
  # shellcheck disable=SC1091
  . "$attempt/outputs.sh"
  mapfile -d '' -t named < "$attempt/../outputs"
  (made "$home" "${named[@]}" 3> "$attempt/../.missing" > "$attempt/../.sums")
  head -c 4000 "$attempt/../.missing" > "$attempt/../missing"
  sync "$attempt/../missing" "$attempt/../.sums" 2> /dev/null
  mv "$attempt/../.sums" "$attempt/../sums"
fi
echo "$code" > "$attempt/.result"
sync "$attempt/.result" 2> /dev/null
mv "$attempt/.result" "$attempt/result"
exit "$code"
