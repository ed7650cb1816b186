#!/usr/bin/env bash
# Sets up a machine of the Vagrantfile, inside it.
#
#   machine.sh db SERVER VOLUME FS   a database host with the job `nightly`
#   machine.sh node2                 where the copies go
#   machine.sh trust PEER            from stdin: PEER's host key, its root's key
#
# The first two find beside themselves what Vagrant has uploaded; the lines for
# /etc/hosts come in $PEERS.
set -euo pipefail

HOME_DIRECTORY=/usr/lib/mysnap
KNOWN_HOSTS=/etc/ssh/ssh_known_hosts
DATA_DISK_BYTES=$((4 << 30))
UPLOADED=$(dirname "$(readlink -f "$0")")

main() {
    local role=$1
    shift
    "be_$role" "$@"
}

be_db() {
    local server=$1 volume=$2 fs=$3 device
    install_uploaded
    [ "$server" != mysql ] || offer_mysql
    device=$(data_disk)
    "$HOME_DIRECTORY/provision/host.sh" --device "$device" --server "$server" --volume "$volume" --fs "$fs"
    write_job
}

be_node2() {
    install_uploaded
    install -d -m 700 /srv/backup
}

be_trust() {
    local peer=$1 type host_key root_type root_key address
    read -r type host_key _
    read -r root_type root_key _
    address=$(awk -v name="$peer" '$2 == name && $NF == "mysnap" { print $1 }' /etc/hosts)
    replace_line "$KNOWN_HOSTS" "^$peer," "$peer,$address $type $host_key"
    replace_line /root/.ssh/authorized_keys " mysnap-$peer\$" "$root_type $root_key mysnap-$peer"
}

install_uploaded() {
    install -d "$HOME_DIRECTORY"
    cp -r "$UPLOADED/provision" "$HOME_DIRECTORY/"
    install_program
    # shellcheck source-path=SCRIPTDIR/../provision source=common.sh
    (. "$HOME_DIRECTORY/provision/common.sh" && need_packages rsync openssh-client)
    name_peers
    make_root_key
    # last: to Vagrant it is the sign that this machine can be introduced
    cp "$UPLOADED/machine.sh" "$HOME_DIRECTORY/"
}

# A host that is no Debian of this release may have built what can't run here.
install_program() {
    local program=/usr/local/sbin/mysnap
    if ! [ -f "$UPLOADED/mysnap" ]; then
        echo "mysnap is not installed, because it has not been built:" \
            "cargo build --locked --release, then vagrant provision"
        return
    fi
    install "$UPLOADED/mysnap" "$program"
    "$program" --version >/dev/null || {
        rm "$program"
        echo "mysnap is not installed, because what was built on the host does not run here:" \
            "build it for the Debian of this machine, then vagrant provision"
    }
}

name_peers() {
    sed -i '/ # mysnap$/d' /etc/hosts
    printf '%s\n' "$PEERS" >>/etc/hosts
}

make_root_key() {
    install -d -m 700 /root/.ssh
    [ -f /root/.ssh/id_ed25519 ] || ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519
}

# data_disk: by its size, since its name differs from one hypervisor to another
data_disk() {
    local found
    found=$(lsblk --bytes --nodeps --noheadings --paths --output NAME,TYPE,SIZE |
        awk -v size="$DATA_DISK_BYTES" '$2 == "disk" && $3 == size { print $1 }')
    if [ "$(wc -w <<<"$found")" != 1 ]; then
        echo "machine.sh: want one disk of 4 GiB, found: ${found:-none}" >&2
        echo "hint: with VirtualBox, Vagrant 2.4 is needed, or VAGRANT_EXPERIMENTAL=disks before that" >&2
        exit 1
    fi
    echo "$found"
}

# MySQL itself is in Debian's unstable only.
offer_mysql() {
    ! [ -x /usr/sbin/mysqld ] || return 0
    cat >/etc/apt/sources.list.d/unstable.sources <<'END'
Types: deb
URIs: http://deb.debian.org/debian
Suites: unstable
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
}

write_job() {
    local file=/etc/mysnap/mysnap.toml
    install -d -m 755 /etc/mysnap
    [ -f "$file" ] || printf '[job.nightly]\nto = "root@node2:/srv/backup"\n' >"$file"
}

# replace_line FILE PATTERN LINE: both machines may be at it, so one at a time
replace_line() {
    local file=$1 pattern=$2 line=$3
    (
        flock 9
        touch "$file"
        sed -i "/$pattern/d" "$file"
        echo "$line" >>"$file"
    ) 9>/run/lock/mysnap-machine
}

main "$@"
