# One look at all of this account's jobs. $1 root of the working folders. Output: see domain.read_poll.
set -u
squeue --me --states=all --noheader --format='Q|%A|%T|%r|%k' || exit 75
cd "$1" 2> /dev/null || exit 0
for result in */*/result; do
  [ -e "$result" ] || continue
  at=${result%/result}
  read -r code < "$result"
  echo "R|${at%/*}|${at#*/}|$code"
done
for output in */*/output; do
  [ -e "$output" ] || continue
  at=${output%/output}
  echo "$at"
done | sed 's:$:/output:' | xargs -r stat --format='S/%n/%s' | sed -E 's:^S/([^/]+)/([^/]+)/output/([0-9]+)$:S|\1|\2|\3:'
