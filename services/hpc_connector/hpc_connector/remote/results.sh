# SHA-256 of every file in what a job made. $1 folder, then paths in it.
set -u
cd "$1" || exit 75
shift
for path in "$@"; do
  [ -e "$path" ] || { echo "it did not make $path" >&2; exit 65; }
done
find "$@" -type f -print0 | sort -z | xargs -0 -r sha256sum --zero --
