# Cancels every attempt of a job and returns once none of them lives. $1 uid, $2 seconds to wait.
set -u
end=$((SECONDS + $2))
while :; do
  found=$(squeue --me --noheader --format='%A|%k') || exit 75
  alive=$(printf '%s\n' "$found" | while IFS='|' read -r id said; do
    case $said in primage:*:"$1":*) echo "$id" ;; esac
  done)
  [ -n "$alive" ] || exit 0
  # shellcheck disable=SC2086
  scancel $alive || exit 75
  [ "$SECONDS" -lt "$end" ] || { echo "still there: $alive" >&2; exit 75; }
  sleep 0.3
done
