# made FOLDER PATH...: of what a job was to make in its HOME, prints SHA-256 and path of every file, each ended by NUL, and on
# descriptor 3 a line for each thing that is missing or cannot be taken. Links are followed as long as they stay in FOLDER.
most_files=100000
made() {
  local folder path kind file real number
  local -a found files reals
  cd "$1" 2> /dev/null || { echo "its HOME is gone" >&3; return; }
  folder=$(pwd -P)
  shift
  for path in "$@"; do
    if [ ! -e "$path" ] && [ ! -L "$path" ]; then
      echo "it did not make $path" >&3
      continue
    fi
    mapfile -d '' -t found < <(find -L "./$path" \( -type f -printf 'f%p\0' \) -o \( ! -type d -printf 'x%p\0' \) 2>&3 |
      head -z -n $((most_files + 1)))
    if [ "${#found[@]}" -gt "$most_files" ]; then
      echo "it made more than $most_files files in $path; pack them" >&3
      continue
    fi
    files=()
    for file in "${found[@]}"; do
      kind=${file:0:1} file=${file#?./}
      case $kind in
        f) files+=("$file") ;;
        *) echo "it made $file, which is a link to nothing, a pipe or a device, and no file" >&3 ;;
      esac
    done
    if [ "${#files[@]}" = 0 ]; then
      echo "it made no file in $path" >&3
      continue
    fi
    mapfile -d '' -t reals < <(printf '%s\0' "${files[@]}" | xargs -0 realpath --zero --canonicalize-missing --)
    for number in "${!files[@]}"; do
      file=${files[number]} real=${reals[number]-}
      case $real in
        "$folder"/*) printf '%s\0' "$file" ;;
        *) echo "it made $file a link that leads out of its HOME" >&3 ;;
      esac
    done | xargs -0 -r sha256sum --zero -- 2>&3
  done
}
