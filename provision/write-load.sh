#!/usr/bin/env bash
# Writes to the server until it is stopped, and remembers what was acknowledged.
#
#   write-load.sh start [--clients N] [--pause SECONDS]
#   write-load.sh stop | status
#
# Each client inserts rows 1, 2, 3 ... into shop.ledger, one transaction a row,
# and appends "NUMBER TIME" (UTC) to /var/tmp/mysnap-load/acked.CLIENT once the
# server has acknowledged it. A client whose server goes away waits for it and
# goes on. --pause (default 0.01) is the time between two rows of a client;
# 0 writes as fast as the server answers. `start` begins with an empty ledger.

# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"

UNIT=mysnap-load.service
ACKED=/var/tmp/mysnap-load

main() {
    local verb=${1-} clients=2 pause=0.01
    [ $# = 0 ] || shift
    case $verb in
        start | stop | status) ;;
        client) run_client "$@" ;;
        --help) usage && exit 0 ;;
        *) bad_use "want start, stop or status" ;;
    esac
    while [ $# != 0 ]; do
        case $1 in
            --clients) clients=${2-} && number --clients "$clients" ;;
            --pause) pause=${2-} ;;
            *) bad_use "unknown argument: $1" ;;
        esac
        [ $# -ge 2 ] || bad_use "$1: needs a value"
        shift 2
    done
    [[ $pause =~ ^[0-9]+(\.[0-9]+)?$ ]] || bad_use "--pause: '$pause' is no number of seconds"
    need_root
    "$verb" "$clients" "$pause"
}

running() {
    systemctl is-active --quiet "$UNIT"
}

start() {
    local clients=$1 pause=$2 self client
    ! running || fail "the write load runs already" "$PROGRAM stop"
    self=$(readlink -f "$0")
    rm -rf "$ACKED"
    mkdir -m 700 "$ACKED"
    make_ledger
    for ((client = 1; client <= clients; client++)); do
        : >"$ACKED/acked.$client"
        printf '%q client %s %s &\n' "$self" "$client" "$pause"
    done >"$ACKED/clients"
    echo wait >>"$ACKED/clients"
    # one control group: stopping it leaves no process, whatever state it is in
    systemd-run --quiet --collect --unit="$UNIT" bash "$ACKED/clients"
    wait_for_each_client "$clients"
}

make_ledger() {
    sql <<'END'
CREATE DATABASE IF NOT EXISTS shop CHARACTER SET utf8mb4;
CREATE TABLE IF NOT EXISTS shop.ledger (
    client INT NOT NULL, n BIGINT NOT NULL, at DATETIME(6) NOT NULL, note VARCHAR(100) NOT NULL,
    PRIMARY KEY (client, n)
) ENGINE = InnoDB;
TRUNCATE TABLE shop.ledger;
END
}

wait_for_each_client() {
    local client tries
    for ((client = 1; client <= $1; client++)); do
        for ((tries = 0; tries < 300; tries++)); do
            ! [ -s "$ACKED/acked.$client" ] || continue 2
            running || break
            sleep 0.1
        done
        stop
        fail "client $client had no row acknowledged" "journalctl -u $UNIT"
    done
}

stop() {
    ! running || systemctl stop "$UNIT"
}

status() {
    local file
    for file in "$ACKED"/acked.*; do
        ! [ -e "$file" ] || printf 'client %s: %s\n' "${file##*.}" "$(tail -n 1 "$file")"
    done
    if running; then
        echo running
    else
        echo stopped
        exit 3
    fi
}

# run_client CLIENT PAUSE: for ever
run_client() {
    local client=$1 pause=$2 first
    exec >>"$ACKED/acked.$client"
    while true; do
        if first=$(sql 2>/dev/null <<<"SELECT COALESCE(MAX(n), 0) + 1 FROM shop.ledger
                WHERE client = $client"); then
            rows "$client" "$first" "$pause" | sql_at_once | stamp || true
        fi
        sleep 0.2
    done
}

# rows CLIENT FIRST PAUSE: statements without end. Each SELECT is answered after
# its INSERT was acknowledged: an error ends the session before it. A session
# that ended shows as a failing printf, because services ignore SIGPIPE.
rows() {
    local client=$1 n=$2 pause=$3 idle
    exec {idle}<> <(:)
    while true; do
        printf "INSERT INTO shop.ledger VALUES (%d, %d, UTC_TIMESTAMP(6), 'client %d writes row %d'); SELECT %d;\n" \
            "$client" "$n" "$client" "$n" "$n" 2>/dev/null || return 0
        n=$((n + 1))
        # nothing ever comes: a sleep without a process
        [ "$pause" = 0 ] || read -r -t "$pause" -u "$idle" || true
    done
}

sql_at_once() {
    "$(flavoured mariadb mysql)" --no-defaults --user=root --batch --skip-column-names \
        --unbuffered --skip-reconnect
}

# stamp: "NUMBER TIME" for each acknowledged number
stamp() {
    local n now
    export TZ=UTC
    while read -r n; do
        now=$EPOCHREALTIME
        printf '%s %(%Y-%m-%dT%H:%M:%S)T.%sZ\n' "$n" "${now%.*}" "${now#*.}"
    done
}

main "$@"
