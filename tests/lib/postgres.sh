# postgres.sh - a PostgreSQL cluster of a test's own. Sourced, in the source folder.
#
# In a temporary folder, on a Unix socket alone, never the machine's. PostgreSQL refuses root: then its
# programs run as the user postgres, whom Debian's package makes.

# The newest one installed, 15 or later.
POSTGRES_BIN=$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -V |
    tail -1)

# as_postgres COMMAND...: as the user that the server runs as.
as_postgres() {
    if (( EUID == 0 )); then
        setpriv --reuid=postgres --regid=postgres --clear-groups "$@"
    else
        "$@"
    fi
}

# postgres_start DIR [SETTING...]: a new cluster in the folder DIR (made if it is not there; a socket's
# path has at most 107 bytes, so keep it short), started with SETTINGs like fsync=off. Exports PGHOST
# and PGUSER (a superuser), so that psql and libpq find it.
postgres_start() {
    local dir=$1 setting options=""
    shift
    if [[ -z $POSTGRES_BIN ]]; then
        echo "no PostgreSQL under /usr/lib/postgresql; scripts/packages names it" >&2
        return 1
    fi
    mkdir -p "$dir" || return 1
    chmod 755 "$dir"
    (( EUID != 0 )) || chown postgres "$dir"
    for setting in listen_addresses= "unix_socket_directories=$dir" "$@"; do
        options+=" -c $setting"
    done
    # From a folder that its user may enter.
    (cd / && as_postgres "$POSTGRES_BIN/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 \
        --locale=C.UTF-8 --no-sync >"$dir/initdb.log" 2>&1) || { cat "$dir/initdb.log" >&2; return 1; }
    (cd / && as_postgres "$POSTGRES_BIN/pg_ctl" -D "$dir/data" -l "$dir/log" -w -o "$options" start \
        >"$dir/start.log" 2>&1) || { cat "$dir/log" >&2; return 1; }
    export PGHOST=$dir PGUSER=postgres
}

# postgres_stop DIR [MODE]: fast unless said (smart, immediate).
postgres_stop() {
    (cd / && as_postgres "$POSTGRES_BIN/pg_ctl" -D "$1/data" -m "${2:-fast}" -w stop >/dev/null 2>&1)
}

# postgres_install DATABASE [FILE...]: a new database with the roles of options/roles.sql and the files of
# sql/postgres, or the FILEs instead of these; quiet but for errors. Exports PGDATABASE.
postgres_install() {
    local database=$1 file
    shift
    export PGDATABASE=$database PGOPTIONS='-c client_min_messages=error'
    psql -X -q -d postgres -c "CREATE DATABASE $database" || return 1
    (($# > 0)) || set -- sql/postgres/[0-9]*.sql
    for file in sql/postgres/options/roles.sql "$@"; do
        psql -X -q -1 -v ON_ERROR_STOP=1 -f "$file" || return 1
    done
}

# postgres_standby PRIMARY DIR: a streaming standby of the cluster in PRIMARY, in the folder DIR; it
# names itself "standby". Which commits wait for it, synchronous_standby_names of the primary says.
postgres_standby() {
    local primary=$1 dir=$2
    mkdir -p "$dir" && chmod 755 "$dir" && { (( EUID != 0 )) || chown postgres "$dir"; } || return 1
    (cd / && as_postgres "$POSTGRES_BIN/pg_basebackup" -D "$dir/data" -R -c fast --no-sync \
        -d "host=$primary user=postgres application_name=standby" >"$dir/backup.log" 2>&1 &&
        as_postgres "$POSTGRES_BIN/pg_ctl" -D "$dir/data" -l "$dir/log" -w \
            -o "-c listen_addresses= -c unix_socket_directories=$dir" start >"$dir/start.log" 2>&1) ||
        { cat "$dir/backup.log" "$dir/log" >&2; return 1; }
}

# postgres_promote DIR: the standby there becomes a primary.
postgres_promote() {
    (cd / && as_postgres "$POSTGRES_BIN/pg_ctl" -D "$1/data" -w promote >/dev/null)
}

# postgres_processes DIR: the ids of the server there and of all its processes.
postgres_processes() {
    local main stat parent
    read -r main <"$1/data/postmaster.pid" || return 1
    echo "$main"
    for stat in /proc/[0-9]*/stat; do
        parent=$(sed 's/.*) . \([0-9]*\) .*/\1/' "$stat" 2>/dev/null) || continue
        [[ $parent != "$main" ]] || basename "$(dirname "$stat")"
    done
}

# postgres_crash DIR: kill -9 of all of them at once.
postgres_crash() {
    # shellcheck disable=SC2046 # several ids are several words
    kill -9 $(postgres_processes "$1") 2>/dev/null
    return 0
}

# postgres_hold_back DIR: what streams to standbys stands still from now on.
postgres_hold_back() {
    local id
    for id in $(psql -h "$1" -U postgres -Atc "SELECT pid FROM pg_stat_replication" postgres); do
        kill -STOP "$id"
    done
}
