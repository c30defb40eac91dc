: "${user:?}"
# Behind say, guard and "sql": print whether the running server has TLS, and the authority that has signed its certificate.
# The server's own rights suffice to read that: it could name a device that only root can read, or a pipe that nobody
# writes to.
variables=$(sql "SHOW GLOBAL VARIABLES WHERE variable_name IN ('have_ssl', 'ssl_ca', 'datadir');
    SHOW GLOBAL STATUS WHERE variable_name = 'Ssl_server_not_after'") || exit
variable() { printf '%s\n' "$variables" | sed -n "s/^$1	//Ip"; }
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
