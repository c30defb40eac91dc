# Behind say; "sql" runs a statement. The server is known to answer by now: a statement that fails is one of another
# flavor.
look_at_replication() {
    sources=$(sql 'SHOW ALL SLAVES STATUS' || sql 'SHOW REPLICA STATUS' || sql 'SHOW SLAVE STATUS') || sources=unknown
    replicas=$(sql 'SHOW SLAVE HOSTS' || sql 'SHOW REPLICAS') || replicas=unknown
    [ -z "$sources" ] || say replication 'is a replica of another'
    [ -z "$replicas" ] || say replication 'has replicas'
    sql "SHOW GLOBAL VARIABLES WHERE variable_name IN ('wsrep_on', 'group_replication_group_name'); SHOW PROCESSLIST" |
        awk -F '\t' -v replicas="$replicas" '
        $1 == "wsrep_on" && $2 == "ON" { print "replication is a member of a Galera cluster" }
        $1 == "group_replication_group_name" && $2 != "" { print "replication is a member of group replication" }
        $5 ~ /^Binlog Dump/ && !replicas { replicas = "some"; print "replication has replicas" }'
}
