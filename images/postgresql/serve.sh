#!/bin/sh
# Makes the database when there is none, and serves it on the loopback. DATABASE names it and its user, PASSWORD_FILE has the password,
# which may be another than it was. So may be the secrets of clients of the Keycloak that keeps its data here: each is a file of CLIENTS,
# which has the client's name. Further databases are files of DATABASES: each has the name of a database and of the one user that gets
# into it, and the password in it.
set -eu
umask 077
data=/data/postgresql-15

# Where the folder is on every node, a pod that is thought to be dead may still write.
exec 9> /data/lock
flock --exclusive 9

said() {
    # An error must not show the statement, which has a secret in it.
    postgres --single -j -D "$data" -c log_min_error_statement=panic "$DATABASE" > /dev/null
}

if [ ! -e "$data/made" ]; then
    # One that was being made when the power went is no database yet.
    rm -rf "$data"
    initdb --pgdata="$data" --username="$DATABASE" --pwfile="$PASSWORD_FILE" --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 \
        --data-checksums > /dev/null
    echo "CREATE DATABASE $DATABASE" | postgres --single -D "$data" postgres > /dev/null
    touch "$data/made"
fi
rm -f "$data/postmaster.pid"
echo "ALTER USER $DATABASE PASSWORD '$(cat "$PASSWORD_FILE")';" | said
for client in ${CLIENTS:+"$CLIENTS"/*}; do
    said << END
DO \$\$ BEGIN IF to_regclass('public.client') IS NOT NULL THEN UPDATE client SET secret = '$(cat "$client")' WHERE client_id = '${client##*/}'; END IF; END \$\$;
END
done
for further in ${DATABASES:+"$DATABASES"/*}; do
    name=${further##*/}
    if [ ! -e "$data/made-$name" ]; then
        # Nobody has used one that was being made when the power went.
        said << END
DROP DATABASE IF EXISTS "$name";

DROP ROLE IF EXISTS "$name";

CREATE ROLE "$name" LOGIN;

CREATE DATABASE "$name" OWNER "$name";

REVOKE CONNECT, TEMPORARY ON DATABASE "$name" FROM PUBLIC;

END
        touch "$data/made-$name"
    fi
    echo "ALTER ROLE \"$name\" PASSWORD '$(cat "$further")';" | said
done
exec postgres -D "$data" -c listen_addresses=127.0.0.1 -c unix_socket_directories=/tmp -c shared_buffers=64MB -c "max_connections=$CONNECTIONS" \
    -c log_min_messages=warning
