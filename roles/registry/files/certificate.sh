#!/bin/sh
# Makes the registry's authority once, and its certificate when there is none, it ends within 30 days, or it is for another address.
# Says what it made. Its argument is the address.
set -eu
umask 077
address=$1
cd /etc/docker/registry/tls

case "$address" in
    *[!0-9.]*) name="DNS:$address" check="-checkhost" ;;
    *) name="IP:$address" check="-checkip" ;;
esac

if [ ! -s ca.crt ] || [ ! -s ca.key ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=registry at $address" \
        -addext keyUsage=critical,keyCertSign,cRLSign -keyout ca.key -out ca.crt.part 2> /dev/null
    mv ca.crt.part ca.crt
    rm -f server.crt
    echo "made the authority"
fi

if ! openssl x509 -noout -checkend 2592000 -in server.crt > /dev/null 2>&1 \
    || ! openssl x509 -noout "$check" "$address" -in server.crt | grep -q "does match"; then
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$address" -keyout server.key -out server.csr 2> /dev/null
    printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n' "$name" > server.ext
    openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 730 -extfile server.ext -out server.crt.part 2> /dev/null
    mv server.crt.part server.crt
    rm -f server.csr server.ext
    echo "made the certificate"
fi
chgrp docker-registry server.key server.crt
chmod 0640 server.key server.crt
chmod 0644 ca.crt
