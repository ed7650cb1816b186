#!/usr/bin/env bash
# Makes the account that mysnap uses, with the least privileges that do.
#
#   accounts.sh
#
# Its name and generated password go to /etc/mysnap/mysnap.cnf, readable by
# root alone. Running it again keeps the password and sets the grants again.

# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"

main() {
    case ${1-} in
        --help) usage && exit 0 ;;
        '') ;;
        *) bad_use "unknown argument: $1" ;;
    esac
    need_root
    local password
    password=$(stored_password)
    [ -n "$password" ] || password=$(new_password)
    create_account "$password"
    "grant_on_$(installed_server)"
}

stored_password() {
    ! [ -f "$CREDENTIALS" ] || sed -n 's/^password *= *//p' "$CREDENTIALS"
}

new_password() {
    local password directory new
    password=$(head -c 24 /dev/urandom | base64 | tr '+/' '-_')
    directory=$(dirname "$CREDENTIALS")
    install -d -m 755 "$directory"
    new=$(umask 077 && mktemp "$CREDENTIALS.XXXXXX")
    printf '[client]\nuser = mysnap\npassword = %s\n' "$password" >"$new"
    mv "$new" "$CREDENTIALS"
    echo "$password"
}

create_account() {
    # by stdin: an argument would show the password to every user of the host
    sql <<END
CREATE USER IF NOT EXISTS 'mysnap'@'localhost' IDENTIFIED BY '$1';
ALTER USER 'mysnap'@'localhost' IDENTIFIED BY '$1';
END
}

grant_on_mariadb() {
    # RELOAD: BACKUP STAGE, FLUSH TABLES WITH READ LOCK, FLUSH ENGINE LOGS.
    # BINLOG MONITOR, SLAVE MONITOR: our position, and that of our source.
    # PROCESS: the long queries that would block the lock.
    sql <<'END'
GRANT RELOAD, BINLOG MONITOR, SLAVE MONITOR, PROCESS ON *.* TO 'mysnap'@'localhost';
END
}

grant_on_mysql() {
    # RELOAD: FLUSH ENGINE LOGS asks for it (error 1227 with FLUSH_TABLES alone),
    # and FLUSH TABLES WITH READ LOCK is content with it.
    # REPLICATION CLIENT: our position, and that of our source.
    # PROCESS: the long queries that would block the lock.
    sql <<'END'
GRANT RELOAD, REPLICATION CLIENT, PROCESS ON *.* TO 'mysnap'@'localhost';
END
}

main "$@"
