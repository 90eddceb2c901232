# Makes a job's folders. $1 root of the working folders, $2 uid, $3 where the data lake is mounted, or "".
set -u
umask 077
mkdir -p "$1/$2/mount/HOME/private" || exit 75
[ -z "$3" ] || ln -sfn "$3" "$1/$2/mount/DATALAKE" || exit 75
