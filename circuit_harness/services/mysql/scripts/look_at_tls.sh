: "${user:?}"
# Behind say and guard: print whether the running server has TLS, and the authority that has signed its certificate, by
# the variables that it has returned. This is read with the server's own rights: it could name a device that only root
# can read, or a pipe that nobody writes to.
: "${found?}"
variable() { printf '%s\n' "$found" | sed -n "s/^$1	//Ip"; }
# MySQL no longer has have_ssl, and MariaDB may have a certificate that it made for itself.
case $(variable have_ssl):$(variable ssl_server_not_after) in
YES:* | :?*)
    ca=$(variable ssl_ca)
    case $ca in '' | /*) ;; *) ca=$(variable datadir)/$ca ;; esac
    # MySQL 9 writes a NUL behind the certificates that it makes, which a shell would lose.
    [ -z "$ca" ] || ca=$(as_user "$user" timeout 5 base64 -w0 -- "$ca") || exit
    say tls "$ca"
    ;;
esac
