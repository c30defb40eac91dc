: "${sql:?}" "${rows:?}" "${user:?}"
# For root, behind say, guard, "client" and say_replication: "look_again" asks the running server everything in one
# session, and prints its address and port as the first line, and facts behind that. Rows of a name separate the rows
# about replication.
#
# The authority that has signed its certificate is read with the server's own rights: the server could name a device
# that only root can read, or a pipe that nobody writes to.
line_end='
'
variable() {
    case $found in *"$line_end$1	"*) ;; *) return ;; esac
    value=${found#*"$line_end$1	"}
    printf '%s\n' "${value%%"$line_end"*}"
}
look_again() {
    found=$(client -e "$sql") || return
    printf '%s\n' "${found%%"$line_end"*}"
    printf '%s\n' "${found#*"$line_end"}" | grep -aE "$rows"
    sources=${found#*"$line_end# sources"} replicas=${found#*"$line_end# replicas"}
    sources=${sources%%"$line_end# replicas"*} replicas=${replicas%%"$line_end# others"*}
    printf '%s\n' "${found#*"$line_end# others"}" | say_replication "$sources" "$replicas"
    # MySQL no longer has have_ssl, and MariaDB may have a certificate that it made for itself.
    case $(variable have_ssl):$(variable Ssl_server_not_after) in
    YES:* | :?*)
        ca=$(variable ssl_ca)
        case $ca in '' | /*) ;; *) ca=$(variable datadir)/$ca ;; esac
        # MySQL 9 writes a NUL behind the certificates that it makes, which a shell would lose.
        [ -z "$ca" ] || ca=$(as_user "$user" timeout 5 base64 -w0 -- "$ca") || return
        say tls "$ca"
        ;;
    esac
}
