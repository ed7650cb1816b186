#!/usr/bin/env bash
# Makes the logical volume that the server's data directory lives on.
#
#   volume.sh --device /dev/vdb [--volume thick|thin] [--fs ext4|xfs] [--size 1536M]
#
# The device becomes a physical volume of the group vg0. `thick` makes the
# volume vg0/data, `thin` makes the pool vg0/pool and vg0/data in it. Room is
# left for snapshots. It is mounted at /var/lib/mysql and listed in fstab.
# Running it again changes nothing.

# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"

main() {
    local device='' volume=thick fs=ext4 size=1536M
    while [ $# != 0 ]; do
        case $1 in
            --help) usage && exit 0 ;;
            --device) device=${2-} ;;
            --volume) volume=${2-} ;;
            --fs) fs=${2-} ;;
            --size) size=${2-} ;;
            *) bad_use "unknown argument: $1" ;;
        esac
        [ $# -ge 2 ] || bad_use "$1: needs a value"
        shift 2
    done
    [ -n "$device" ] || bad_use "--device: is missing"
    one_of --volume "$volume" thick thin
    one_of --fs "$fs" ext4 xfs
    [[ $size =~ ^[1-9][0-9]*[MG]$ ]] || bad_use "--size: '$size' is not like 1536M or 2G"
    need_root
    [ -b "$device" ] || fail "$device: is no block device"

    need_packages lvm2 thin-provisioning-tools e2fsprogs xfsprogs
    [ "$volume" = thick ] || let_thin_check_mend
    make_group "$device"
    make_volume "$volume" "$size"
    make_file_system "$fs"
    mount_data_directory "$fs"
}

# What a power cut leaves in a pool is harmless; LVM would not activate it.
let_thin_check_mend() {
    lvmconfig --type full global/thin_check_options | grep -q clear-needs-check-flag ||
        echo 'global { thin_check_options = [ "-q", "--clear-needs-check-flag" ] }' >>/etc/lvm/lvm.conf
}

make_group() {
    local device=$1 owner
    owner=$(pvs --noheadings -o vg_name "$device" 2>/dev/null | tr -d ' ') || owner=''
    if vgs "$VOLUME_GROUP" >/dev/null 2>&1; then
        [ "$owner" = "$VOLUME_GROUP" ] ||
            fail "$device: is not in the group $VOLUME_GROUP, which exists"
        return
    fi
    [ -z "$owner" ] || fail "$device: belongs to the volume group $owner"
    # wipefs names what is there; an empty device has nothing to name
    [ -z "$(wipefs --noheadings "$device")" ] || pvs "$device" >/dev/null 2>&1 ||
        fail "$device: is not empty" "wipefs --all $device empties it"
    pvcreate -q "$device"
    vgcreate -q "$VOLUME_GROUP" "$device"
}

make_volume() {
    local volume=$1 size=$2 kind
    if lvs "$VOLUME_GROUP/data" >/dev/null 2>&1; then
        kind=thick
        [ -z "$(lvs --noheadings -o pool_lv "$VOLUME_GROUP/data" | tr -d ' ')" ] || kind=thin
        [ "$kind" = "$volume" ] || fail "$VOLUME_GROUP/data: is $kind, not $volume"
        return
    fi
    if [ "$volume" = thick ]; then
        lvcreate -q --yes --wipesignatures y --name data --size "$size" "$VOLUME_GROUP"
        return
    fi
    # the rest of the group is left for a pool, or its metadata, that must grow
    lvs "$VOLUME_GROUP/pool" >/dev/null 2>&1 ||
        lvcreate -q --yes --type thin-pool --name pool --extents 75%FREE --poolmetadatasize 16M \
            "$VOLUME_GROUP"
    lvcreate -q --yes --type thin --name data --virtualsize "$size" --thinpool pool "$VOLUME_GROUP"
}

make_file_system() {
    local fs=$1 path="/dev/$VOLUME_GROUP/data" present
    present=$(blkid --probe --match-tag TYPE --output value "$path" || true)
    case $present in
        "$fs") return ;;
        '') ;;
        *) fail "$path: has the file system $present, not $fs" ;;
    esac
    if [ "$fs" = ext4 ]; then
        mkfs.ext4 -q "$path"
    else
        mkfs.xfs -q "$path"
    fi
}

mount_data_directory() {
    local fs=$1 path="/dev/$VOLUME_GROUP/data"
    if ! mountpoint -q "$DATA_DIRECTORY"; then
        mkdir -p "$DATA_DIRECTORY"
        [ -z "$(ls -A "$DATA_DIRECTORY")" ] ||
            fail "$DATA_DIRECTORY: has data on another file system" "move it away first"
    fi
    # by path: a snapshot carries the UUID of its origin
    grep -q "^$path " /etc/fstab || echo "$path $DATA_DIRECTORY $fs defaults 0 2" >>/etc/fstab
    ! [ -d /run/systemd/system ] || systemctl daemon-reload
    mountpoint -q "$DATA_DIRECTORY" || mount "$DATA_DIRECTORY"
    # a server would take it for a database; fsck makes it again when needed
    ! [ -d "$DATA_DIRECTORY/lost+found" ] || rmdir "$DATA_DIRECTORY/lost+found"
}

main "$@"
