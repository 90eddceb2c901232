#!/bin/sh
# Serves what is in /data on the pod's loopback.
set -eu
umask 077

# Where the folder is on every node, a pod that is thought to be dead may still write.
exec 9> /data/lock
flock --exclusive 9

# The one before has left its number there, which is this one's too: both are the first of their container.
rm -f /tmp/pid
# It logs what it was asked for where it does not know a quick way, with the values that were looked for in it.
exec python3 -c "import logging; logging.disable(logging.ERROR); from nx_27017 import main; main()" --host 127.0.0.1 --port 27018 --db /data/records.sqlite --log-file /dev/null --pid-file /tmp/pid
