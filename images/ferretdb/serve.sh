#!/bin/sh
# Serves what is in /data by TLS, for one user, whose name and password are in FerretDB's own variables. The password may be another than
# it was. FerretDB makes its user when there is no database `admin`, which has nothing else in it: so it never finds one.
set -eu
umask 077

# Where the folder is on every node, a pod that is thought to be dead may still write.
exec 9> /data/lock
flock --exclusive 9

rm -f /data/admin.sqlite /data/admin.sqlite-wal /data/admin.sqlite-shm
exec ferretdb --handler=sqlite --sqlite-url=file:/data/ --state-dir=- --telemetry=disable --log-level=error --debug-addr=- \
    --test-enable-new-auth --setup-database=admin --listen-addr= --listen-tls="${LISTEN:-:27017}" \
    --listen-tls-cert-file=/tls/tls.crt --listen-tls-key-file=/tls/tls.key
