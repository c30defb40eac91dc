: "${others:?}"
# Behind say_replication; "sql" runs a statement. The server is known to answer by now: a statement that fails is one of
# another flavor.
look_at_replication() {
    sources=$(sql 'SHOW ALL SLAVES STATUS' || sql 'SHOW REPLICA STATUS' || sql 'SHOW SLAVE STATUS') || sources=unknown
    replicas=$(sql 'SHOW SLAVE HOSTS' || sql 'SHOW REPLICAS') || replicas=unknown
    sql "$others" | say_replication "$sources" "$replicas"
}
