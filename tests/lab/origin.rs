//! An origin that no good snapshot can be taken of (P10): said before anything is made.

use crate::host::{self, run, try_run};
use crate::live::{Undo, fails, local, until};

const AT: &str = "/srv/origin";

fn shell(line: &str) {
    run(&["sh", "-c", line]);
}

/// A link in the data directory that makes what is mounted at [`AT`] a part of the server's data.
fn linked() -> Undo {
    shell(&format!("ln -s {AT} /var/lib/mysql/linked"));
    Undo::with("rm -f /var/lib/mysql/linked")
}

/// A volume of a group of its own, on a file behind a device that can be exchanged. The group goes
/// with its device: LVM removes none with a merge that has not begun.
struct Volume {
    _gone: Undo,
}

impl Volume {
    fn mounted(options: &str) -> Self {
        run(&["modprobe", "-a", "loop", "dm-snapshot"]);
        shell("truncate -s 192M /var/tmp/origin.img");
        // The kernel lets go of a loop device when the last one that looked at it has closed it.
        until("a free loop device", || try_run(&["losetup", "/dev/loop6", "/var/tmp/origin.img"]).status.success());
        let gone = Undo::with(&format!(
            "umount {AT}; dmsetup suspend --noflush --nolockfs origin-disk; \
             dmsetup load origin-disk --table \"{}\"; dmsetup resume origin-disk; \
             vgchange -qan vg-origin; \
             for layer in 1 2 3; do \
                 udevadm settle; \
                 dmsetup ls | grep -o '^vg--origin[^[:space:]]*' | xargs -r -n 1 dmsetup remove --retry; \
             done; \
             dmsetup remove --retry origin-disk; \
             losetup -d /dev/loop6; rm -f /var/tmp/origin.img; rmdir {AT}",
            Self::good()
        ));
        shell(&format!("dmsetup create origin-disk --table \"{}\"", Self::good()));
        shell("vgcreate -qy vg-origin /dev/mapper/origin-disk && lvcreate -qy -Wn -n data -L 96M vg-origin");
        shell(&format!(
            "mkfs.ext4 -q /dev/vg-origin/data && mkdir -p {AT} && mount -o {options} /dev/vg-origin/data {AT}"
        ));
        Self { _gone: gone }
    }

    /// Beyond the label, so that the disk and the device on it are not taken for twins.
    fn good() -> String {
        "0 $(($(blockdev --getsz /dev/loop6) - 8192)) linear /dev/loop6 8192".to_owned()
    }

    /// Everything beyond LVM's own label and metadata can neither be read nor written any more.
    fn break_disk(&self) {
        shell(
            "dmsetup suspend --noflush --nolockfs origin-disk && \
             printf '0 2048 linear /dev/loop6 8192\\n2048 %d error\\n' $(($(blockdev --getsz /dev/loop6) - 10240)) | \
             dmsetup load origin-disk; dmsetup resume origin-disk",
        );
    }
}

#[test]
fn an_origin_that_is_being_merged_is_refused() {
    let _volume = Volume::mounted("defaults");
    shell("lvcreate -qy -s -n before -L 32M vg-origin/data && lvconvert -qy --merge -b vg-origin/before");
    let _link = linked();
    fails(&local("merging", ""), 3, &["vg-origin/data is being merged with a snapshot"]);
}

#[test]
fn an_origin_whose_file_system_gave_up_after_an_error_is_refused() {
    let volume = Volume::mounted("errors=remount-ro");
    let _link = linked();
    volume.break_disk();
    // The journal can't be written: the file system stops writing.
    drop(try_run(&["sh", "-c", &format!("dd if=/dev/zero of={AT}/file bs=1M count=4 conv=fsync; sync -f {AT}")]));
    let ran = fails(&local("broken", ""), 3, &["refused before anything was touched"]);
    let named = [AT, "vg-origin/data"].iter().any(|name| ran.stderr.contains(name));
    assert!(named, "what is broken must be named: {}", ran.stderr);
    host::assert_nothing_left();
}
