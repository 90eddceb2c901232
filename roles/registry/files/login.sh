#!/bin/sh
# Makes a login of the registry, unless there is one for this address: its name and the address with port are the arguments.
# The password is made here and written to two files, the server's and its user's; it is in no argument and is not printed.
set -eu
umask 077
name=$1 address=$2
cd /etc/docker/registry/logins

if [ -s "$name.htpasswd" ] && grep -qF "\"$address\"" "$name.json" 2> /dev/null; then
    exit 0
fi
password=$(head -c 32 /dev/urandom | base64 -w 0 | tr -d '/+=')
# 32 random bytes cannot be guessed however fast one tries; a slow hash would only slow every request down.
printf '%s' "$password" | htpasswd -i -n -B -C 5 "$name" | grep . > "$name.htpasswd.part"
login=$(printf '%s:%s' "$name" "$password" | base64 -w 0)
printf '{"auths": {"%s": {"auth": "%s"}}}\n' "$address" "$login" > "$name.json.part"
chgrp docker-registry "$name.htpasswd.part"
chmod 0640 "$name.htpasswd.part"
mv "$name.htpasswd.part" "$name.htpasswd"
mv "$name.json.part" "$name.json"
echo "made the login $name"
