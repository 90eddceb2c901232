# One look at this account's jobs. $1 root of the working folders, $2 owner, as jobs' comments have it; the attempts whose
# results are wanted are lines uid/attempt on standard input. Output, no longer than what is asked: see domain/seen.py, read_poll.
set -u
squeue --me --states=all --noheader --format='Q|%A|%T|%r|%k' < /dev/null | grep -E "[|]primage:$2:[0-9a-f-]{36}:[0-9]{1,4}\$"
[ "${PIPESTATUS[0]}" = 0 ] || exit 75
cd "$1" 2> /dev/null || exit 0
outputs=()
while read -r at; do
  [ -d "$at" ] || continue
  if [ -e "$at/result" ] || [ -L "$at/result" ]; then
    # Whatever is in its place: a pipe must not keep this command waiting, nor a long file make it say much.
    code='?'
    if [ -f "$at/result" ] && [ ! -L "$at/result" ]; then
      code=$(dd if="$at/result" iflag=nonblock,nofollow bs=64 count=1 status=none 2> /dev/null | tr -d '\0')
      case $code in *[!0-9]*) code='?' ;; esac
    fi
    [ -z "$code" ] || echo "R|${at%/*}|${at#*/}|$code"
  fi
  if [ -f "$at/output" ] && [ ! -L "$at/output" ]; then
    outputs+=("$at/output")
  fi
done
[ "${#outputs[@]}" = 0 ] || printf '%s\0' "${outputs[@]}" | xargs -0 stat --format='S/%n/%s' -- |
  sed -E 's:^S/([^/]+)/([^/]+)/output/([0-9]+)$:S|\1|\2|\3:'
exit 0
