#!/bin/bash
# Ends what a job left running on this node: Slurm's epilog, where no control groups exist to find it by.
#
# A process is the job's when it has the job's number in its environment. One that has wiped its environment, too, when it is
# the job's user's and belongs to nothing else: not to an SSH login, not to a job that still runs here. Slurm waits for this
# script before it calls the job over, and drains the node if it fails: so it never does, and ends soon.
set -u
job=${SLURM_JOB_ID:?} user=${SLURM_JOB_UID:?}
[ "$user" != 0 ] || exit 0

# The number of the job that a process says it is of, if it does.
job_of() {
  tr '\0' '\n' < "/proc/$1/environ" 2> /dev/null | sed -n 's/^SLURM_JOB_ID=\([0-9]*\)$/\1/p' | head -n 1
}

# Whether a process descends from an SSH login, or from a job that still runs here: from root's own, since anybody may take a name.
belongs() {
  local process=$1 name
  while [ "${process:-0}" -gt 1 ]; do
    name=$(cat "/proc/$process/comm" 2> /dev/null) || return 0 # gone meanwhile
    case $name in sshd* | slurmstepd*) [ "$(stat -c %u "/proc/$process" 2> /dev/null)" != 0 ] || return 0 ;; esac
    process=$(sed 's/.*) . \([0-9]*\) .*/\1/' "/proc/$process/stat" 2> /dev/null)
  done
  return 1
}

for _ in 1 2 3 4 5 6 7 8 9 10; do
  running=$(ps -o args= -u root | sed -n 's/^slurmstepd: \[\([0-9]*\)\..*/\1/p')
  left=()
  for process in $(ps -o pid= -U "$user" -u "$user"); do
    its=$(job_of "$process")
    if [ "$its" = "$job" ]; then
      left+=("$process")
    elif [ -n "$its" ] && grep -qx "$its" <<< "$running"; then
      continue
    elif ! belongs "$process"; then
      left+=("$process")
    fi
  done
  [ "${#left[@]}" != 0 ] || break
  kill -KILL "${left[@]}" 2> /dev/null
  sleep 0.1
done
exit 0
