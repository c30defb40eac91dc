#!/bin/sh
# Make a server certificate for MariaDB, by a new authority: make_certificate.sh FOLDER. The files have the names that
# Debian's option file suggests below /etc/mysql. The authority's key is not kept.
set -eu
cd "$1"
new='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
umask 077
printf '%s\n' 'basicConstraints = critical, CA:FALSE' 'authorityKeyIdentifier = keyid' 'subjectKeyIdentifier = hash' \
    >server.ext
# The options are separate words.
# shellcheck disable=SC2086
{
    openssl req -x509 $new -days 3650 -subj /CN=Authority -addext keyUsage=critical,keyCertSign \
        -keyout cakey.pem -out cacert.pem &&
        openssl req $new -subj /CN=MariaDB -keyout server-key.pem -out server.csr &&
        openssl x509 -req -days 3650 -in server.csr -CA cacert.pem -CAkey cakey.pem -extfile server.ext \
            -out server-cert.pem
} 2>server.log || { cat server.log >&2; exit 1; }
rm cakey.pem server.csr server.ext server.log
chmod 644 cacert.pem server-cert.pem
chown mysql:mysql server-key.pem
