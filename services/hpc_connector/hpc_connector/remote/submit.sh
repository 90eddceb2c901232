# Submits one attempt, or says that it was submitted: prints Slurm's number. Reads the attempt's files as a tar archive.
# $1 root of the working folders, $2 uid, $3 attempt, $4 comment, $5 image or "", $6 where the data lake is mounted, or "",
# then sbatch's options.
set -u
umask 077
root=$1 uid=$2 attempt=$3 comment=$4 image=$5 lake=$6
shift 6
work=$root/$uid
at=$work/$attempt
mkdir -p -- "$at" "$work/mount/HOME/private" || { echo "no working folder in $root" >&2; exit 75; }
[ -z "$lake" ] || ln -sfn -- "$lake" "$work/mount/DATALAKE" || exit 75
# The job before may have put anything in their place: opening a pipe would wait for ever.
for file in "$work/lock" "$at/number"; do
  if [ -L "$file" ] || { [ -e "$file" ] && [ ! -f "$file" ]; }; then
    echo "$file is not a file any more" >&2
    exit 65
  fi
done
exec 9> "$work/lock"
flock -w 30 9 || { echo "something else holds $work/lock" >&2; exit 75; }
if [ -s "$at/number" ]; then
  cat > /dev/null
  head -c 64 "$at/number"
  exit 0
fi
tar -x -C "$at" || { echo "the attempt's files cannot be written to $at" >&2; exit 75; }
# The connection may have gone, or the machine, after sbatch and before its number was kept.
found=$(squeue --me --states=all --noheader --format='%A|%k' | grep -F "|$comment"; exit "${PIPESTATUS[0]}") ||
  { echo "squeue does not answer" >&2; exit 75; }
number=$(printf '%s\n' "$found" | while IFS='|' read -r id said; do [ "$said" != "$comment" ] || echo "$id"; done | head -n 1)
if [ -z "$number" ] && [ ! -e "$at/started" ]; then
  if [ -n "$image" ] && ! bash -lc 'command -v apptainer' > /dev/null; then
    echo "Apptainer is not installed there, so no image can be run" >&2
    exit 65
  fi
  case $image in
    */*.sif) [ -e "$image" ] || { echo "there is no image $image there" >&2; exit 65; } ;;
  esac
  said=$(sbatch "$@" --chdir="$work" --output="$at/output" "$at/run.sh" "$at" 2>&1 < /dev/null 9>&-)
  code=$?
  number=$(printf '%s\n' "$said" | tail -n 1 | cut -d ';' -f 1)
  case $number in
    '' | *[!0-9]*) code=1 ;;
  esac
  if [ "$code" != 0 ]; then
    printf '%s\n' "$said" >&2
    exit 66 # whether it may say something else the next time is for domain/passing.py to know
  fi
fi
echo "${number:-started}" > "$at/.number"
sync "$at/.number" 2> /dev/null
mv "$at/.number" "$at/number"
cat "$at/number"
