# Cancels every attempt of a job and returns once none of them lives; prints `known` where there is, or was, something of the job.
# $1 root of the working folders, $2 uid, $3 seconds to wait, $4 Slurm's number of its latest attempt or "": a job may change its own
# comment.
set -u
end=$((SECONDS + $3)) known=''
[ ! -e "$1/$2" ] || known=known
while :; do
  found=$(squeue --me --noheader --format='%A|%k') || exit 75
  alive=$(printf '%s\n' "$found" | while IFS='|' read -r id said; do
    case $said in primage:*:"$2":*) echo "$id" ;; *) [ "$id" != "$4" ] || echo "$id" ;; esac
  done)
  [ -n "$alive" ] || break
  known=known
  # shellcheck disable=SC2086
  scancel $alive || exit 75
  [ "$SECONDS" -lt "$end" ] || { echo "still there: $alive" >&2; exit 75; }
  sleep 0.3
done
echo "$known"
