# Behind say; "sql" runs a statement. The server is known to answer by now: a statement that fails is one of another
# flavor.
look_at_replication() {
    sources=$(sql 'SHOW ALL SLAVES STATUS' || sql 'SHOW REPLICA STATUS' || sql 'SHOW SLAVE STATUS') || sources=unknown
    replicas=$(sql 'SHOW SLAVE HOSTS' || sql 'SHOW REPLICAS') || replicas=unknown
    sql "SHOW GLOBAL VARIABLES WHERE variable_name IN ('wsrep_on', 'group_replication_group_name'); SHOW PROCESSLIST" |
        say_replication "$sources" "$replicas"
}
