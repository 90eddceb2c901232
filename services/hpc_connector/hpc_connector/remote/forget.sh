# Removes a job's working folder; prints `known` where there was one. $1 root of the working folders, $2 uid.
set -u
[ -e "${1:?}/${2:?}" ] || [ -L "${1:?}/${2:?}" ] || exit 0
if ! rm -rf -- "${1:?}/${2:?}" 2> /dev/null; then
  chmod -R u+rwX -- "${1:?}/${2:?}" 2> /dev/null # a folder that its own job made unwritable
  rm -rf -- "${1:?}/${2:?}" || exit 75
fi
echo known
