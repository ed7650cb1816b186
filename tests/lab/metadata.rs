//! A thin pool whose metadata fills up (B3): our snapshot is given up in time, and where the pool has failed all the
//! same, the run says so and what to do.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use mysnap::fault::{Kind, hints_of, kind_of};
use mysnap::id::RunId;
use mysnap::lvm;
use mysnap::snapshot::{self, Action, Health, Limits, Loss, Spec, WritersHeld};
use mysnap::sys::cancel::Cancel;
use mysnap::sys::clock;
use mysnap::sys::units::Bytes;
use mysql::prelude::Queryable as _;

use crate::host::{self, run, try_run};
use crate::live::{Live, Undo, expect, forget_stored, local, stored};
use crate::sweep::tell;

const AT: &str = "/srv/tiny";
const POOL: &str = "tiny/pool";
const CHUNK: u64 = 64 << 10;
/// What is mapped of the volume that others have snapshots of: a few of the metadata's blocks for each of them, once
/// these snapshots are written to.
const CHUNKS: u64 = 7000;
/// At most so many mappings lie in a block of a pool's metadata.
const IN_A_BLOCK: u64 = 126;
const SNAPSHOTS: usize = 20;

/// A pool with the least metadata that LVM gives, a volume with a file system in it, and snapshots of another one that
/// take metadata when they are written to; gone when this is dropped.
struct TinyPool {
    places: Vec<(usize, u64)>,
    snapshots: Vec<File>,
    _gone: Undo,
}

impl TinyPool {
    fn new() -> Self {
        let gone = Undo::with(&format!(
            "umount {AT}; vgremove -qyff tiny; wipefs -qa /dev/vdc; rmdir {AT}; rm -f /var/lib/mysql/far"
        ));
        let shell = |line: &str| drop(run(&["sh", "-c", line]));
        shell("wipefs -qa /dev/vdc && vgcreate -qy -s 1m tiny /dev/vdc");
        shell("lvcreate -qy --type thin-pool -L 1g --poolmetadatasize 2m -c 64k -Zn -n pool tiny");
        shell(&format!(
            "lvcreate -qy -V 320m --thinpool pool -n far tiny && mkfs.ext4 -q /dev/tiny/far && mkdir -p {AT} && \
             mount /dev/tiny/far {AT}"
        ));
        shell(&format!("lvcreate -qy -V {}k --thinpool pool -n filler tiny", CHUNKS * CHUNK / 1024));
        let filler = open("filler");
        (0..CHUNKS).for_each(|chunk| filler.write_all_at(&[1; 4096], chunk * CHUNK).unwrap());
        filler.sync_all().unwrap();
        let snapshots = (0..SNAPSHOTS).map(|number| {
            shell(&format!("lvcreate -qy -s -kn -n other{number} tiny/filler"));
            open(&format!("other{number}"))
        });
        let snapshots = snapshots.collect();
        let blocks = (0..CHUNKS).step_by(usize::try_from(IN_A_BLOCK).unwrap());
        let mut places: Vec<_> = (0..SNAPSHOTS).flat_map(|n| blocks.clone().map(move |chunk| (n, chunk))).collect();
        places.reverse();
        Self { places, snapshots, _gone: gone }
    }

    /// Scattered writes to others' volumes until so much of the metadata is used.
    fn fill_to(&mut self, percent: f64) {
        while metadata_used() < percent {
            (0..4).for_each(|_| self.write_somewhere().expect("nobody else pays for it"));
        }
    }

    /// The same until the pool takes no more.
    fn fill_until_it_fails(&mut self) {
        while self.write_somewhere().is_ok() {}
    }

    fn write_somewhere(&mut self) -> std::io::Result<()> {
        let (number, chunk) = self.places.pop().expect("the metadata has filled up");
        let file = &self.snapshots[number];
        // A whole chunk, so that nothing is copied.
        file.write_all_at(&vec![2; usize::try_from(CHUNK).unwrap()], chunk * CHUNK)?;
        file.sync_all()
    }
}

fn open(volume: &str) -> File {
    OpenOptions::new().write(true).open(format!("/dev/tiny/{volume}")).unwrap()
}

/// As the kernel has it, in percent.
fn metadata_used() -> f64 {
    let status = run(&["dmsetup", "status", "tiny-pool-tpool"]);
    let (used, all) = status.split_whitespace().nth(4).unwrap().split_once('/').unwrap();
    100.0 * used.parse::<f64>().unwrap() / all.parse::<f64>().unwrap()
}

fn health() -> String {
    run(&["lvs", "--noheadings", "-o", "lv_health_status", POOL]).trim().to_owned()
}

/// A database of the server on that volume.
fn database_in(at: &str) -> Undo {
    let dropped = Undo::with(&format!("{} -e 'DROP DATABASE IF EXISTS far'", host::client()));
    host::root().query_drop("CREATE DATABASE far").unwrap();
    let moved = format!(
        "mv /var/lib/mysql/far {at}/far && ln -s {at}/far /var/lib/mysql/far && chown -h mysql: /var/lib/mysql/far && chown mysql: {at}"
    );
    run(&["sh", "-c", &moved]);
    host::root().query_drop("CREATE TABLE far.t (n INT PRIMARY KEY) ENGINE=InnoDB").unwrap();
    dropped
}

/// Set when this is dropped, also by a test that failed.
struct Stopped<'a>(&'a AtomicBool);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Writes until it is stopped, and fails with the first write that does; how many there were.
fn write_far(stop: &AtomicBool) -> u32 {
    let mut conn = host::root();
    for n in 1.. {
        if stop.load(Ordering::SeqCst) {
            return n - 1;
        }
        conn.query_drop(format!("INSERT INTO far.t VALUES ({n})")).expect("no writer pays for our snapshot");
    }
    unreachable!()
}

#[test]
fn a_pool_whose_metadata_fills_up_costs_the_backup_and_no_write() {
    let mut pool = TinyPool::new();
    let _dropped = database_in(AT);
    forget_stored();
    let config = local("metadata", "bandwidth_limit = \"256KiB\"\n");
    pool.fill_to(66.0);
    let stop = AtomicBool::new(false);
    let ran = std::thread::scope(|scope| {
        let stopped = Stopped(&stop);
        let writer = scope.spawn(|| write_far(&stop));
        let mut live = Live::backup(&config);
        live.wait_for("copy");
        // Beyond where our snapshot is given up, and not to the end.
        pool.fill_to(91.0);
        let ran = live.finish();
        drop(stopped);
        assert!(writer.join().unwrap() > 0);
        ran
    });
    tell(&format!("metadata of the pool at the end: {:.1}%", metadata_used()));
    expect(&ran, 6, &["was given up: its pool is nearly full", "the server is unharmed"]);
    assert_eq!(health(), "");
    assert!(stored().is_empty());
    host::assert_nothing_left();
}

struct Nobody;

impl WritersHeld for Nobody {}

fn snapshot_of_far(run: &RunId) -> snapshot::Snapshot {
    let volume = lvm::volume(&"tiny/far".parse().unwrap()).unwrap().unwrap();
    let spec = Spec::new(volume, lvm::group(&"tiny".parse().unwrap()).unwrap(), run, Bytes(0));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let pending = snapshot::freeze(vec![spec.prepare().unwrap()], &Nobody, deadline).unwrap();
    snapshot::complete(pending).unwrap().remove(0)
}

#[test]
fn a_pool_that_has_failed_is_told_with_its_repair_and_what_is_left_goes_after_it() {
    let mut pool = TinyPool::new();
    run(&["sh", "-c", &format!("echo kept >{AT}/row && sync {AT}/row")]);
    let id = RunId::new(clock::now());
    let snapshot = snapshot_of_far(&id);
    pool.fill_until_it_fails();
    assert_eq!(health(), "metadata_read_only");

    let sample = snapshot::sample(&snapshot).unwrap();
    assert_eq!(sample.health, Health::PoolFailed);
    assert_eq!(snapshot::decide(&sample, &Limits::default()), Action::GiveUp(Loss::PoolFailed));
    let given_up =
        snapshot::watched(std::slice::from_ref(&snapshot), Limits::default(), &Cancel::new(), || Ok(())).unwrap_err();
    assert_eq!(kind_of(&given_up), Some(Kind::Snapshot));
    assert!(hints_of(&given_up).concat().contains("`lvconvert --repair tiny/pool`"), "{given_up:#}");
    // Removed now it would keep the pool from being repaired: "Transaction id … does not match".
    let left = snapshot::remove(&snapshot.uuid, &id).unwrap_err();
    assert_eq!(kind_of(&left), Some(Kind::CleanupPending), "{left:#}");
    assert!(hints_of(&left).concat().contains("`lvconvert --repair tiny/pool`"), "{left:#}");

    // As the hint says.
    pool.snapshots.clear();
    drop(try_run(&["umount", AT]));
    run(&["vgchange", "-qan", "tiny"]);
    run(&["lvconvert", "-qy", "--repair", POOL]);
    run(&["lvextend", "-qy", "--poolmetadatasize", "+2m", POOL]);
    run(&["vgchange", "-qay", "tiny"]);
    snapshot::remove(&snapshot.uuid, &id).unwrap();
    assert_eq!(lvm::volumes_of_ours().unwrap(), []);
    run(&["mount", "/dev/tiny/far", AT]);
    assert_eq!(run(&["cat", &format!("{AT}/row")]).trim(), "kept");
    assert_eq!(health(), "");
    tell(&format!("metadata of the pool after its repair: {:.1}%", metadata_used()));
}
