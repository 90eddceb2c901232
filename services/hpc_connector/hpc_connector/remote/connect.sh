# Makes the folder that holds all jobs' working folders, and says where it is. $1 scratch, as the backend has it.
set -u
umask 077
root=$(eval echo "$1")/primage
mkdir -p "$root" || exit 75
echo "$root"
