//! A volume group for one test, on the guest's empty disk; gone when the test is over, also when it
//! failed.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mysnap::id::RunId;
use mysnap::lvm::{self, LvRef, VgName, Volume};
use mysnap::snapshot::{self, Snapshot, SnapshotKind, Spec, WritersHeld};
use mysnap::sys::clock;
use mysnap::sys::units::Bytes;

use crate::host::{run, try_run};

/// Hyphens on purpose: device-mapper doubles them.
pub const GROUP: &str = "scratch-vg";
const DISK: &str = "/dev/vdc";
const LINEAR: &str = "scratch_pv";
const MOUNTS: &str = "/run/scratch";
pub const MIB: u64 = 1 << 20;

/// There is no server here: nobody writes unless the test does.
pub struct Nobody;

impl WritersHeld for Nobody {}

/// The group with one origin, mounted.
pub struct Scratch {
    pub kind: SnapshotKind,
    pub fstype: &'static str,
    pub origin: LvRef,
    pub at: PathBuf,
}

impl Scratch {
    /// An origin of `kind` with a file system.
    pub fn new(kind: SnapshotKind, fstype: &'static str) -> Self {
        Self::on(DISK, kind, fstype)
    }

    /// The same on a disk that can be suspended, which is how a dead path looks.
    pub fn on_a_disk_that_hangs(kind: SnapshotKind) -> Self {
        clear();
        // Beyond the label, so that the disk and the device on it are not taken for twins.
        run(&["dmsetup", "create", LINEAR, "--table", &format!("0 4194304 linear {DISK} 8192")]);
        Self::on(&format!("/dev/mapper/{LINEAR}"), kind, "ext4")
    }

    fn on(disk: &str, kind: SnapshotKind, fstype: &'static str) -> Self {
        if disk == DISK {
            clear();
        }
        run(&["vgcreate", "-q", "-y", GROUP, disk]);
        let origin: LvRef = format!("{GROUP}/my-data").parse().unwrap();
        // From here on Drop clears up.
        let scratch = Self { kind, fstype, origin, at: Path::new(MOUNTS).join("origin") };
        scratch.make_origin(if fstype == "xfs" { 304 } else { 96 });
        scratch.mount_origin();
        scratch
    }

    fn make_origin(&self, mib: u64) {
        let size = format!("{mib}m");
        match self.kind {
            SnapshotKind::Thick => drop(run(&["lvcreate", "-q", "-y", "-Wn", "-n", "my-data", "-L", &size, GROUP])),
            SnapshotKind::Thin => {
                let pool = format!("{}m", mib * 5 / 3);
                run(&["lvcreate", "-q", "-y", "--type", "thin-pool", "-L", &pool, "-n", "pool", GROUP]);
                run(&["lvcreate", "-q", "-y", "-V", &size, "--thinpool", "pool", "-n", "my-data", GROUP]);
            }
        }
        let force = if self.fstype == "xfs" { "-f" } else { "-F" };
        run(&[&format!("mkfs.{}", self.fstype), "-q", force, &self.origin.device().to_string_lossy()]);
    }

    pub fn mount_origin(&self) {
        std::fs::create_dir_all(&self.at).unwrap();
        run(&["mount", &self.origin.device().to_string_lossy(), &self.at.to_string_lossy()]);
    }

    pub fn unmount_origin(&self) {
        run(&["umount", &self.at.to_string_lossy()]);
    }

    pub fn volume(&self) -> Volume {
        lvm::volume(&self.origin).unwrap().unwrap()
    }

    pub fn group(&self) -> VgName {
        self.origin.vg.clone()
    }

    /// What would be made for `run`, with a store of `mib` where it has one.
    pub fn spec(&self, run: &RunId, mib: u64) -> Spec {
        Spec::new(self.volume(), lvm::group(&self.group()).unwrap(), run, Bytes(mib * MIB))
    }

    /// Makes a snapshot, from the preparation to the judgement.
    pub fn snapshot(&self, run: &RunId, mib: u64) -> Snapshot {
        take(self.spec(run, mib)).unwrap()
    }

    /// Writes a file on the origin, down to its disk.
    pub fn write(&self, name: &str, contents: &[u8]) {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(self.at.join(name)).unwrap();
        file.write_all(contents).and_then(|()| file.sync_all()).unwrap();
    }

    /// Writes over `mib` of a file that has them already, in place.
    pub fn overwrite(&self, name: &str, mib: u64, byte: u8) {
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(self.at.join(name)).unwrap();
        for _ in 0..mib {
            file.write_all(&vec![byte; usize::try_from(MIB).unwrap()]).unwrap();
        }
        file.sync_all().unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        let mut contents = Vec::new();
        File::open(self.at.join(name)).unwrap().read_to_end(&mut contents).unwrap();
        contents
    }

    /// The visible volumes of the group, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = run(&["lvs", "--noheadings", "-o", "lv_name", GROUP])
            .lines()
            .map(|line| line.trim().to_owned())
            .filter(|name| name != "pool")
            .collect();
        names.sort();
        names
    }

    /// I4 and I5 for this group: only the origin, live, and writable at once.
    pub fn assert_only_a_live_origin(&self) {
        assert_eq!(self.names(), ["my-data"]);
        assert_eq!(self.devices_of_snapshots(), Vec::<String>::new());
        self.assert_unharmed();
    }

    /// Devices of the group that are there only with a snapshot.
    fn devices_of_snapshots(&self) -> Vec<String> {
        let all = run(&["dmsetup", "info", "-c", "--noheadings", "-o", "name"]);
        let group = self.group().to_string().replace('-', "--");
        let is_one = |name: &&str| name.starts_with(&group) && (name.contains("_mysnap_") || name.ends_with("-real"));
        all.lines().map(str::trim).filter(is_one).map(str::to_owned).collect()
    }

    pub fn assert_unharmed(&self) {
        let volume = self.volume();
        assert!(volume.device.is_some_and(|device| !lvm::is_suspended(device)), "{volume:?}");
        let began = Instant::now();
        self.write("probe", b"still writable");
        assert!(began.elapsed() < Duration::from_secs(2), "a write took {:?}", began.elapsed());
        assert_eq!(self.read("probe"), b"still writable");
    }

    /// What the kernel has used for the snapshot: of a thick one its store, of a thin one the data
    /// of the pool.
    pub fn room_taken_by(&self, snapshot: &Snapshot) -> String {
        let device = match self.kind {
            SnapshotKind::Thick => snapshot.spec.name.device(),
            SnapshotKind::Thin => "/dev/mapper/scratch--vg-pool-tpool".into(),
        };
        let status = run(&["dmsetup", "status", &device.to_string_lossy()]);
        let used = status.split_whitespace().rfind(|word| word.contains('/'));
        used.unwrap_or_else(|| panic!("{status}")).to_owned()
    }

    /// Mounts a snapshot the way a backup does; the closure looks into it.
    pub fn looking_into<T>(&self, snapshot: &Snapshot, look: impl FnOnce(&Path) -> T) -> T {
        let at = Path::new(MOUNTS).join("snapshot");
        std::fs::create_dir_all(&at).unwrap();
        let mounted = snapshot::mount(snapshot, self.fstype, &at).unwrap();
        let seen = look(mounted.path());
        mounted.release().unwrap();
        seen
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        clear();
    }
}

/// Everything from preparation to judgement.
pub fn take(spec: Spec) -> anyhow::Result<Snapshot> {
    let pending = snapshot::freeze(vec![spec.prepare()?], &Nobody, in_seconds(20))?;
    Ok(snapshot::complete(pending)?.remove(0))
}

pub fn in_seconds(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

pub fn new_run() -> RunId {
    RunId::new(clock::now())
}

/// Makes a logical volume that only looks like ours, or is meant to be in the way.
pub fn make_foreign(name: &str, tags: &[&str]) -> Volume {
    let mut argv = vec!["lvcreate", "-q", "-y", "-Wn", "-L", "4m", "-n", name];
    argv.extend(tags.iter().flat_map(|tag| ["--addtag", tag]));
    argv.push(GROUP);
    run(&argv);
    lvm::volume(&format!("{GROUP}/{name}").parse().unwrap()).unwrap().unwrap()
}

/// As a line of a shell.
pub const SUSPEND_THE_DISK: &str = "dmsetup suspend --noflush --nolockfs scratch_pv";

pub fn suspend_the_disk() {
    run(&["sh", "-c", SUSPEND_THE_DISK]);
}

pub fn resume_the_disk() {
    run(&["dmsetup", "resume", LINEAR]);
}

/// Takes everything apart, whatever state it is in; what is not there is no error.
fn clear() {
    for line in run(&["dmsetup", "info", "-c", "--noheadings", "--separator", " ", "-o", "name,suspended"]).lines() {
        if line.starts_with("scratch") && line.contains("Suspended") {
            let _ended = try_run(&["dmsetup", "resume", line.split(' ').next().unwrap()]);
        }
    }
    for mount in ["snapshot", "origin"] {
        let _ended = try_run(&["umount", "-l", &format!("{MOUNTS}/{mount}")]);
    }
    let removed = try_run(&["vgremove", "-q", "-ff", "-y", GROUP]);
    if !removed.status.success() && !String::from_utf8_lossy(&removed.stderr).contains("not found") {
        eprintln!("{}", String::from_utf8_lossy(&removed.stderr));
    }
    let _ended = try_run(&["dmsetup", "remove", LINEAR]);
    let _ended = try_run(&["wipefs", "-q", "-a", DISK]);
}
