: "${sql:?}" "${rows:?}" "${user:?}"
# For root, behind say, guard, rest_of_line, "client" and say_replication: "look_again" asks the running server
# everything in one session, and prints its address and port as the first line, and facts behind that. A row that begins
# with "#" stands before each group of rows about replication. Where the server refuses a later statement, the first
# line is printed nevertheless.
#
# The authority that has signed its certificate is read with the server's own rights: the server could name a device
# that only root can read, or a pipe that nobody writes to.
variable() { rest_of_line "$1	" "$found"; }
look_again() {
    found=$(client -e "$sql")
    answered=$?
    printf '%s\n' "${found%%"$line_end"*}"
    [ $answered = 0 ] || return $answered
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
