//! The empty disk, behind a device-mapper target that can be told to fail.

use std::path::{Path, PathBuf};

use crate::host::{self, run, try_run};

const DISK: &str = "/dev/vdc";
const NAME: &str = "mysnap-bad";
/// A block of the file system, in sectors.
const BLOCK: u64 = 8;

/// A file system on the empty disk, behind a device that can be told to fail; unmade on drop.
pub struct Disk {
    mount: tempfile::TempDir,
    sectors: u64,
}

impl Disk {
    /// An empty ext4, mounted.
    pub fn formatted() -> Self {
        unmake();
        let sectors = run(&["blockdev", "--getsz", DISK]).trim().parse().unwrap();
        let disk = Self { mount: host::scratch("/var/tmp"), sectors };
        run(&["dmsetup", "create", NAME, "--table", &disk.good()]);
        run(&["mkfs.ext4", "-q", "-F", &device()]);
        disk.mount_it();
        disk
    }

    /// Where it is mounted.
    pub fn mount(&self) -> &Path {
        self.mount.path()
    }

    /// Reading the middle of a file is an error from now on.
    pub fn break_file(&self, path: &Path) {
        let bad = first_sector(path) + 2048;
        run(&["umount", &self.mount.path().display().to_string()]);
        self.load(&self.all_but(bad, "error"));
        self.mount_it();
    }

    /// Writing to the first block of a file, which is on the disk already, is an error from now on; everything else is
    /// written as ever.
    pub fn fail_writes_to(&self, path: &Path) {
        let bad = first_sector(path);
        self.load(&self.all_but(bad, &format!("flakey {DISK} {bad} 0 3600 1 error_writes")));
    }

    /// Every write is an error from now on.
    pub fn fail_writes_soon(&self) {
        self.load(&format!("0 {} flakey {DISK} 0 0 3600 1 error_writes", self.sectors));
    }

    /// Writes are lost from now on, and seem to succeed.
    pub fn lose_writes(&self) {
        self.load(&format!("0 {} flakey {DISK} 0 0 3600 1 drop_writes", self.sectors));
    }

    /// Each read has a wrong byte from now on, without an error.
    pub fn read_wrong(&self) {
        self.load(&format!("0 {} flakey {DISK} 0 0 3600 5 corrupt_bio_byte 32 r 1 0", self.sectors));
    }

    /// What was not written out is gone; the file system is mounted again.
    pub fn cut_power(&self) {
        self.lose_writes();
        self.remount();
    }

    /// Mounts it again, on a device that works.
    pub fn remount(&self) {
        run(&["umount", &self.mount.path().display().to_string()]);
        self.load(&self.good());
        run(&["blockdev", "--flushbufs", &device()]);
        self.mount_it();
    }

    /// A table of the whole disk, with another `target` for the block at the sector `bad`.
    fn all_but(&self, bad: u64, target: &str) -> String {
        let after = bad + BLOCK;
        let rest = self.sectors - after;
        format!("0 {bad} linear {DISK} 0\n{bad} {BLOCK} {target}\n{after} {rest} linear {DISK} {after}")
    }

    fn good(&self) -> String {
        format!("0 {} linear {DISK} 0", self.sectors)
    }

    fn load(&self, table: &str) {
        // Without flushing: what is in memory must meet the new table.
        run(&["dmsetup", "suspend", "--noflush", "--nolockfs", NAME]);
        run(&["dmsetup", "load", NAME, "--table", table]);
        run(&["dmsetup", "resume", NAME]);
    }

    fn mount_it(&self) {
        run(&["mount", &device(), &self.mount.path().display().to_string()]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmake();
    }
}

/// Where on the disk a file begins.
fn first_sector(path: &Path) -> u64 {
    run(&["sync"]);
    let extents = run(&["filefrag", "-b512", "-e", &path.display().to_string()]);
    let first = extents.lines().find_map(|line| line.trim().strip_prefix("0:")).unwrap().to_owned();
    first.split(':').nth(1).unwrap().split("..").next().unwrap().trim().parse().unwrap()
}

fn device() -> String {
    PathBuf::from("/dev/mapper").join(NAME).display().to_string()
}

fn unmake() {
    drop(try_run(&["umount", "-q", &device()]));
    drop(try_run(&["dmsetup", "remove", "--retry", NAME]));
}
