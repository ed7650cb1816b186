//! A file system that is damaged, by accident or on purpose (M3): mounting its snapshot may fail, or
//! not, but nothing is repaired, nothing is left, and the origin does not notice.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use mysnap::snapshot::{self, SnapshotKind};
use sha2::{Digest as _, Sha256};

use super::both_kinds;
use super::scratch::{MIB, Scratch, new_run};
use crate::host::run;

both_kinds!(a_damaged_file_system_is_mounted_as_it_is_or_not_at_all);

const ROUNDS: u64 = 3;
/// How many bytes are overwritten each time: superblock, group descriptors, inodes, directories.
const HITS: u64 = 400;

fn a_damaged_file_system_is_mounted_as_it_is_or_not_at_all(kind: SnapshotKind) {
    let scratch = Scratch::new(kind, "ext4");
    for name in ["a", "b", "c"] {
        scratch.write(name, &vec![7; 200_000]);
    }
    scratch.unmount_origin();
    let good = head_of(&scratch.origin.device());
    let mut mounted = 0;
    for round in 1..=ROUNDS {
        damage(&scratch.origin.device(), &good, round);
        let id = new_run();
        let snapshot = scratch.snapshot(&id, 16);
        let before = digest(&snapshot.spec.name.device());
        let at = tempfile::tempdir_in("/run").unwrap();
        match snapshot::mount(&snapshot, "ext4", at.path()) {
            Ok(mount) => {
                mounted += 1;
                read_all(mount.path());
                mount.release().unwrap();
            }
            Err(error) => assert!(format!("{error:#}").contains("cannot mount"), "{error:#}"),
        }
        assert_eq!(digest(&snapshot.spec.name.device()), before, "round {round}: something was written");
        snapshot::remove(&snapshot.uuid, &id).unwrap();
    }
    println!("{kind:?}: {mounted} of {ROUNDS} damaged file systems could be mounted");
    write_head(&scratch.origin.device(), &good);
    scratch.mount_origin();
    scratch.assert_only_a_live_origin();
}

/// Overwrites bytes of the file system's head, the same for each `seed`.
fn damage(device: &Path, good: &[u8], seed: u64) {
    let mut bad = good.to_vec();
    let mut number = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for _ in 0..HITS {
        // xorshift64
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        let at = usize::try_from(number >> 8).unwrap() % bad.len();
        bad[at] = u8::try_from(number & 0xff).unwrap();
    }
    write_head(device, &bad);
}

fn head_of(device: &Path) -> Vec<u8> {
    let mut head = vec![0; usize::try_from(8 * MIB).unwrap()];
    File::open(device).unwrap().read_exact(&mut head).unwrap();
    head
}

fn write_head(device: &Path, head: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(device).unwrap();
    file.write_all(head).and_then(|()| file.sync_all()).unwrap();
    run(&["blockdev", "--flushbufs", &device.to_string_lossy()]);
}

fn digest(device: &Path) -> Vec<u8> {
    let file = File::open(device).unwrap();
    let (mut sha, mut at, mut block) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        match file.read_at(&mut block, at).unwrap() {
            0 => return sha.finalize().to_vec(),
            count => {
                sha.update(&block[..count]);
                at += u64::try_from(count).unwrap();
            }
        }
    }
}

/// Whatever can be read, is; any error is an answer, a hang is not.
fn read_all(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => read_all(&entry.path()),
            Ok(kind) if kind.is_file() => drop(std::fs::read(entry.path())),
            _ => {}
        }
    }
}
