# Makes the folder that holds all jobs' working folders, and says where it is. $1 scratch, as the site has it: a path in which
# `~` and variables stand for what they are here. They are looked up, never evaluated.
set -u
umask 077
rest=$1 root=''
case $rest in \~ | \~/*) root=$HOME rest=${rest#\~} ;; esac
while [[ $rest =~ ^([^$]*)[$]([A-Za-z_][A-Za-z0-9_]*|\{[A-Za-z_][A-Za-z0-9_]*\})(.*)$ ]]; do
  variable=${BASH_REMATCH[2]//[\{\}]/}
  [ -n "${!variable-}" ] || { echo "\$$variable stands for nothing on the login node" >&2; exit 75; }
  root+=${BASH_REMATCH[1]}${!variable} rest=${BASH_REMATCH[3]}
done
root+=$rest/primage
case $root in /*) ;; *) echo "$root is not a whole path" >&2; exit 75 ;; esac
mkdir -p -- "$root" || exit 75
printf '%s\n' "$root"
