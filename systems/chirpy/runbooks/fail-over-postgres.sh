#!/bin/sh
# Makes the PostgreSQL replica the primary. Takes kubectl with the rights of an operator of namespace chirpy.
#
#   fail-over-postgres.sh            the primary is well (or can be asked): nothing acknowledged is lost
#   fail-over-postgres.sh --force    the primary does not answer: what the replica has not received is lost, unless
#                                    SYNCHRONOUS_STANDBY_NAMES is set, when nothing can be missing
#
# The order matters: first the old primary can be written to no more, then the new one is made, then clients are led to it.
set -eu
ns=chirpy
force=${1:-}
sql() { kubectl -n $ns exec "$1" -c postgres -- psql -XAtq -h /var/run/postgresql -U chirpy -d chirpy -c "$2"; }

old=$(kubectl -n $ns get configmap postgres-topology -o 'jsonpath={.data.PRIMARY}')
case $old in
    postgres-0) new=postgres-1 ;;
    postgres-1) new=postgres-0 ;;
    *) echo "postgres-topology names no server of ours as the primary: '$old'" >&2; exit 1 ;;
esac
if [ "$(sql "$new" 'SELECT pg_is_in_recovery()')" != t ]; then
    echo "$new is no replica; nothing was changed. Is $old right in postgres-topology?" >&2
    exit 1
fi

if [ "$force" != --force ]; then
    # Sessions that are open write no more from their next transaction on; what was acknowledged before is waited for.
    sql "$old" "ALTER SYSTEM SET default_transaction_read_only = on" >/dev/null
    sql "$old" "SELECT pg_reload_conf()" >/dev/null
    until [ -z "$(sql "$old" "SELECT pid FROM pg_stat_activity WHERE backend_xid IS NOT NULL LIMIT 1")" ]; do sleep 0.2; done
    end=$(sql "$old" 'SELECT pg_current_wal_flush_lsn()')
    tries=0
    until [ "$(sql "$new" "SELECT pg_last_wal_replay_lsn() >= '$end'::pg_lsn")" = t ]; do
        tries=$((tries + 1))
        if [ $tries -gt 150 ]; then
            sql "$old" "ALTER SYSTEM RESET default_transaction_read_only" >/dev/null
            sql "$old" "SELECT pg_reload_conf()" >/dev/null
            echo "$new does not catch up with $old; $old takes writes again. With --force what $new lacks is lost." >&2
            exit 1
        fi
        sleep 0.2
    done
fi

kubectl -n $ns patch configmap postgres-topology --type=merge -p "{\"data\":{\"PRIMARY\":\"$new\"}}"
# It comes back as a replica, whatever it was: start.sh asks postgres-topology.
if [ "$force" = --force ]; then
    kubectl -n $ns delete pod "$old" --force --grace-period=0 --wait=false
else
    kubectl -n $ns delete pod "$old" --wait=false
fi
sql "$new" "SELECT pg_promote()" >/dev/null
sql "$new" "ALTER SYSTEM RESET default_transaction_read_only" >/dev/null
sql "$new" "SELECT pg_reload_conf()" >/dev/null
lead() {
    kubectl -n $ns patch service "$1" --type=merge -p "{\"spec\":{\"selector\":{\"statefulset.kubernetes.io/pod-name\":\"$2\"}}}"
}
lead postgres "$new"
lead postgres-replica "$old"
# PgBouncer's connections that nobody uses at the moment, and the others as soon as they are given back.
for address in $(kubectl -n $ns get pods -l app=pgbouncer -o 'jsonpath={.items[*].status.podIP}'); do
    kubectl -n $ns exec "$new" -c postgres -- sh -c \
        "PGPASSWORD=\$POSTGRES_PASSWORD psql -XAtq -h $address -p 6432 -U chirpy -d pgbouncer -c RECONNECT" ||
        echo "PgBouncer at $address was not told; kubectl -n $ns rollout restart deployment/pgbouncer does as much" >&2
done
echo "$new is the primary; $old becomes its replica"
