#!/bin/sh
# What the postgres image's entrypoint does: makes the cluster on first start, runs /docker-entrypoint-initdb.d,
# then becomes the server. Any other command is run as it is.
set -eu

[ "${1#-}" = "$1" ] || set -- postgres "$@"
if [ "$1" != postgres ]; then
    exec "$@"
fi

# NAME, or the contents of the file that NAME_FILE names.
setting() {
    eval "value=\${$1:-} file=\${$1_FILE:-}"
    if [ -n "$file" ]; then value=$(cat "$file"); fi
    printf '%s' "${value:-$2}"
}

user=$(setting POSTGRES_USER postgres)
database=$(setting POSTGRES_DB "$user")
password=$(setting POSTGRES_PASSWORD '')
method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}

mkdir -p "$PGDATA" /var/run/postgresql
chmod 700 "$PGDATA"

# The newest server that the machine has comes first in PATH, but kept data belongs to the server that made it.
if [ -s "$PGDATA/PG_VERSION" ]; then
    PATH=/usr/lib/postgresql/$(cat "$PGDATA/PG_VERSION")/bin:$PATH
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    if [ -z "$password" ] && [ "$method" != trust ]; then
        echo 'Error: Database is uninitialized and superuser password is not specified.' >&2
        echo '       Set POSTGRES_PASSWORD, or POSTGRES_HOST_AUTH_METHOD=trust.' >&2
        exit 1
    fi
    # A first start that was cut short leaves no PG_VERSION but may leave files, which initdb refuses.
    find "$PGDATA" -mindepth 1 -delete
    secret=$(mktemp)
    printf '%s\n' "$password" > "$secret"
    # shellcheck disable=SC2086 # POSTGRES_INITDB_ARGS is a list of words.
    if [ -n "$password" ]; then
        initdb --username="$user" --pwfile="$secret" ${POSTGRES_INITDB_ARGS:-}
    else
        initdb --username="$user" ${POSTGRES_INITDB_ARGS:-}
    fi
    rm -f "$secret"
    printf '\nhost all all all %s\n' "$method" >> "$PGDATA/pg_hba.conf"

    # Nobody outside may connect before the init scripts are through: no TCP yet.
    pg_ctl -D "$PGDATA" -w -o "-c listen_addresses='' -c unix_socket_directories=/var/run/postgresql" start
    run_psql() {
        PGPASSWORD=$password psql -v ON_ERROR_STOP=1 --no-psqlrc --host=/var/run/postgresql --username="$user" "$@"
    }
    if [ "$database" != postgres ]; then
        printf 'CREATE DATABASE :"db";\n' | run_psql --dbname=postgres --set=db="$database"
    fi
    for script in /docker-entrypoint-initdb.d/*; do
        case $script in
            *.sh) echo "running $script"; POSTGRES_USER=$user POSTGRES_DB=$database PGHOST=/var/run/postgresql sh "$script" ;;
            *.sql) echo "running $script"; run_psql --dbname="$database" --file="$script" ;;
            *.sql.gz) echo "running $script"; gunzip -c "$script" | run_psql --dbname="$database" ;;
        esac
    done
    pg_ctl -D "$PGDATA" -m fast -w stop
fi

shift
exec postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/var/run/postgresql "$@"
