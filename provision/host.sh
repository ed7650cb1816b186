#!/usr/bin/env bash
# Makes a database host of a bare Debian: volume, server and account.
#
#   host.sh --device /dev/vdb [--server mariadb|mysql] [--volume thick|thin]
#           [--fs ext4|xfs] [--demo-data [--size MB]]
#
# --demo-data loads the demo database too. Running it again changes nothing.

# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"

main() {
    local device='' server=mariadb volume=thick fs=ext4 demo='' size=''
    while [ $# != 0 ]; do
        case $1 in
            --help) usage && exit 0 ;;
            --demo-data) demo=yes && shift && continue ;;
            --device) device=${2-} ;;
            --server) server=${2-} ;;
            --volume) volume=${2-} ;;
            --fs) fs=${2-} ;;
            --size) size=${2-} ;;
            *) bad_use "unknown argument: $1" ;;
        esac
        [ $# -ge 2 ] || bad_use "$1: needs a value"
        shift 2
    done
    [ -z "$size" ] || [ -n "$demo" ] || bad_use "--size: only with --demo-data"
    local here
    here=$(dirname "$0")
    "$here/volume.sh" --device "$device" --volume "$volume" --fs "$fs"
    "$here/server.sh" --server "$server"
    "$here/accounts.sh"
    [ -z "$demo" ] || "$here/demo-data.sh" ${size:+--size "$size"}
}

main "$@"
