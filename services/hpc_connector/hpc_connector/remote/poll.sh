# One look at this account's jobs. $1 root of the working folders, $2 owner, as jobs' comments have it; the attempts whose
# results are wanted are lines uid/attempt/number on standard input. Output, no longer than what is asked: see domain/seen.py,
# read_poll. A job may change its own comment, and nothing else by which it is known: its number counts where there is one.
set -u
wanted=$(cat)
squeue --me --states=all --noheader --format='Q|%A|%T|%r|%k' < /dev/null | awk -F '|' -v owner="$2" '
  NR == FNR { split($0, part, "/"); if (part[3] != "") known[part[3]]; next }
  $2 in known { print $1 "|" $2 "|" $3 "|" $4 "|" substr($5, 1, 200); next }
  NF == 5 && length($5) < 200 && index($5, "primage:" owner ":") == 1 { print }
' <(printf '%s\n' "$wanted") -
[ "${PIPESTATUS[0]}" = 0 ] || exit 75
cd "$1" 2> /dev/null || exit 0
outputs=()
while IFS=/ read -r uid attempt _; do
  at=$uid/$attempt
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
done <<< "$wanted"
[ "${#outputs[@]}" = 0 ] || printf '%s\0' "${outputs[@]}" | xargs -0 stat --format='S/%n/%s' -- |
  sed -E 's:^S/([^/]+)/([^/]+)/output/([0-9]+)$:S|\1|\2|\3:'
exit 0
