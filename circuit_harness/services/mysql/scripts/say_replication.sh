# Behind say: print how a server shares its data. "sources" and "replicas" are the rows of those, and the input is the
# rows of its variables about clusters, and of its processes.
say_replication() {
    [ -z "$sources" ] || say replication 'is a replica of another'
    [ -z "$replicas" ] || say replication 'has replicas'
    awk -F '\t' -v replicas="$replicas" '
        $1 == "wsrep_on" && $2 == "ON" { print "replication is a member of a Galera cluster" }
        $1 == "group_replication_group_name" && $2 != "" { print "replication is a member of group replication" }
        $5 ~ /^Binlog Dump/ && !replicas { replicas = "some"; print "replication has replicas" }'
}
