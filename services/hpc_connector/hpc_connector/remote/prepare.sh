# Makes the folder that a job's inputs are brought to. $1 root of the working folders, $2 uid.
set -u
umask 077
mkdir -p -- "$1/$2/mount/HOME/private" || exit 75
