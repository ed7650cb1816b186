# What the provisioning scripts share; sourced, not run.
# shellcheck shell=bash disable=SC2034

set -euo pipefail

PROGRAM=$(basename "$0")
VOLUME_GROUP=vg0
DATA_DIRECTORY=/var/lib/mysql
CREDENTIALS=/etc/mysnap/mysnap.cnf
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

# fail MESSAGE [HINT]
fail() {
    printf '%s: %s\n' "$PROGRAM" "$1" >&2
    [ -z "${2:-}" ] || printf 'hint: %s\n' "$2" >&2
    exit 1
}

# bad_use MESSAGE: the arguments are wrong
bad_use() {
    printf '%s: %s\nhint: %s --help\n' "$PROGRAM" "$1" "$PROGRAM" >&2
    exit 2
}

# one_of NAME VALUE ALLOWED...
one_of() {
    local name=$1 value=$2 allowed
    shift 2
    for allowed in "$@"; do
        [ "$value" != "$allowed" ] || return 0
    done
    bad_use "$name: '$value' is none of: $*"
}

# number NAME VALUE: a whole number above zero
number() {
    [[ $2 =~ ^[1-9][0-9]{0,8}$ ]] || bad_use "$1: '$2' is not a whole number above zero"
}

# usage: the comment at the top of the script that was started
usage() {
    sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0"
}

need_root() {
    [ "$(id -u)" = 0 ] || fail "must run as root"
}

# need_packages PACKAGE...: install those that are missing
need_packages() {
    local package missing=()
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
            missing+=("$package")
    done
    [ ${#missing[@]} != 0 ] || return 0
    apt-get -q -o DPkg::Lock::Timeout=240 update
    apt-get -q -o DPkg::Lock::Timeout=240 install -y --no-install-recommends "${missing[@]}" ||
        fail "can't install: ${missing[*]}" "does this release of Debian have them?"
}

# installed_server: mariadb or mysql, whichever this host has
installed_server() {
    if [ -x /usr/sbin/mariadbd ]; then
        echo mariadb
    elif [ -x /usr/sbin/mysqld ]; then
        echo mysql
    else
        fail "no server is installed" "run server.sh first"
    fi
}

# sql: root's client, reading statements from stdin
sql() {
    "$(flavoured mariadb mysql)" --no-defaults --user=root --default-character-set=utf8mb4 \
        --batch --skip-column-names
}

# flavoured MARIADB_TOOL MYSQL_TOOL: the one that this host's server comes with
flavoured() {
    if command -v "$1" >/dev/null; then echo "$1"; else echo "$2"; fi
}

# replace_file PATH: take the new content from stdin; true if it differs
replace_file() {
    local path=$1 new
    new=$(mktemp "$path.XXXXXX")
    cat >"$new"
    chmod 644 "$new"
    if cmp -s "$new" "$path"; then
        rm "$new"
        return 1
    fi
    mv "$new" "$path"
}
