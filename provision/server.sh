#!/usr/bin/env bash
# Installs a database server and starts it on /var/lib/mysql.
#
#   server.sh --server mariadb|mysql
#
# The binary log lies inside the data directory, every commit is durable, and
# memory use is small. Running it again changes nothing.

# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"

main() {
    local server=''
    while [ $# != 0 ]; do
        case $1 in
            --help) usage && exit 0 ;;
            --server) server=${2-} ;;
            *) bad_use "unknown argument: $1" ;;
        esac
        [ $# -ge 2 ] || bad_use "$1: needs a value"
        shift 2
    done
    one_of --server "$server" mariadb mysql
    need_root

    need_packages "$server-server" "$server-client"
    local changed=''
    write_configuration "$server" && changed=yes
    wait_for_volume "$server" && changed=yes
    make_data_directory "$server"
    start_server "$server" "$changed"
}

write_configuration() {
    if [ "$1" = mariadb ]; then
        mariadb_configuration | replace_file /etc/mysql/mariadb.conf.d/70-mysnap.cnf
    else
        mysql_configuration | replace_file /etc/mysql/mysql.conf.d/zz-mysnap.cnf
    fi
}

common_configuration() {
    cat <<END
datadir = $DATA_DIRECTORY
server_id = 1
log_bin = binlog
max_binlog_size = 100M
innodb_flush_log_at_trx_commit = 1
sync_binlog = 1
innodb_buffer_pool_size = 64M
max_connections = 100
END
}

mariadb_configuration() {
    printf '%s\n' '[mariadbd]'
    common_configuration
    cat <<'END'
# a restart must not depend on what was cached
innodb_buffer_pool_load_at_startup = OFF
innodb_log_file_size = 16M
aria_pagecache_buffer_size = 16M
END
}

mysql_configuration() {
    printf '%s\n' '[mysqld]'
    common_configuration
    cat <<'END'
gtid_mode = ON
enforce_gtid_consistency = ON
innodb_redo_log_capacity = 32M
mysqlx = OFF
# half the memory; performance_schema.log_status answers all the same
performance_schema = OFF
END
}

# wait_for_volume SERVER: no start on the directory below an absent mount
wait_for_volume() {
    local directory="/etc/systemd/system/$1.service.d"
    mkdir -p "$directory"
    if replace_file "$directory/data-directory.conf" <<END; then
[Unit]
RequiresMountsFor=$DATA_DIRECTORY
END
        systemctl daemon-reload
    else
        return 1
    fi
}

make_data_directory() {
    chown mysql:mysql "$DATA_DIRECTORY"
    chmod 700 "$DATA_DIRECTORY"
    [ -z "$(ls -A "$DATA_DIRECTORY")" ] || return 0
    if [ "$1" = mariadb ]; then
        mariadb-install-db --user=mysql --skip-test-db --auth-root-authentication-method=socket \
            >/dev/null || fail "mariadb-install-db failed" "journalctl -u mariadb"
        return
    fi
    initialise_mysql
}

# The same as Debian's package does where it finds an empty directory.
initialise_mysql() {
    local statements
    statements=$(mktemp --tmpdir=/var/lib/mysql-files)
    chown mysql:mysql "$statements"
    cat >"$statements" <<'END'
USE mysql;
INSTALL PLUGIN auth_socket SONAME 'auth_socket.so';
ALTER USER 'root'@'localhost' IDENTIFIED WITH 'auth_socket';
CREATE USER 'debian-sys-maint'@'localhost' IDENTIFIED WITH 'auth_socket' AS 'root';
GRANT ALL ON *.* TO 'debian-sys-maint'@'localhost' WITH GRANT OPTION;
SHUTDOWN;
END
    mysqld --initialize-insecure --user=mysql --init-file="$statements" ||
        fail "mysqld --initialize-insecure failed" "tail /var/log/mysql/error.log"
    rm "$statements"
}

start_server() {
    local server=$1 changed=$2
    systemctl enable --quiet "$server.service"
    if [ -n "$changed" ]; then
        systemctl restart "$server.service"
    else
        systemctl start "$server.service"
    fi
    "$(flavoured mariadb-admin mysqladmin)" --no-defaults --user=root --wait=60 \
        --connect-timeout=5 ping >/dev/null ||
        fail "$server does not answer" "journalctl -u $server"
}

main "$@"
