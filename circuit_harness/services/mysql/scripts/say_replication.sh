# Behind say: "say_replication SOURCES REPLICAS" prints how a server shares its data, from the rows of these two. The
# input is the rows of its variables about clusters, and of its processes.
say_replication() {
    [ -z "$1" ] || say replication 'is a replica of another'
    [ -z "$2" ] || say replication 'has replicas'
    awk -F '\t' -v replicas="$2" '
        $1 == "wsrep_on" && $2 == "ON" { print "replication is a member of a Galera cluster" }
        $1 == "group_replication_group_name" && $2 != "" { print "replication is a member of group replication" }
        $5 ~ /^Binlog Dump/ && !replicas { replicas = "some"; print "replication has replicas" }'
}
