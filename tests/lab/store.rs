//! The second node, and disks that fail, as destinations.

use std::path::{Path, PathBuf};
use std::time::Instant;

use mysnap::fault::{Kind, hints_of, kind_of};
use mysnap::store::{Source, SshOptions};
use mysnap::sys::units::Bytes;

use crate::disk::Disk;
use crate::host::{node2, on_node2, run};
use crate::live::Undo;
use crate::suite::{Bench, FIRST, Place, SECOND, plain_tree, root};

fn node(directory: &str) -> Bench {
    Bench {
        prefix: format!("root@{}:", node2()),
        directory: directory.into(),
        ssh: SshOptions::default(),
        shell: vec!["ssh".to_owned(), node2()],
    }
}

fn fill(path: &Path, megabytes: usize) {
    run(&["dd", "if=/dev/urandom", &format!("of={}", path.display()), "bs=1M", &format!("count={megabytes}")]);
}

#[test]
fn the_second_node_keeps_the_contract() {
    on_node2("rm -rf /var/tmp/contract; mkdir -p /var/tmp/contract");
    node("/var/tmp/contract").run_all();
    on_node2("rm -rf /var/tmp/contract");
    let sockets = std::fs::read_dir("/run/mysnap")
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with("ssh-"));
    assert_eq!(sockets.count(), 0, "a connection is left");
}

#[test]
fn a_full_destination_fails_the_run_and_nothing_else() {
    on_node2("mkdir -p /srv/full; umount -q /srv/full; mount -t tmpfs -o size=20m,nr_inodes=60 none /srv/full");
    let bench = node("/srv/full");
    let place = Place::at(&bench, "/srv/full/b".into());
    plain_tree(place.source());
    fill(&place.source().join("shop/small.ibd"), 4);
    place.backup(FIRST);

    fill(&place.source().join("shop/big.ibd"), 24);
    let full = place.copy(SECOND, &place.sources()).unwrap_err();
    assert_eq!(kind_of(&full), Some(Kind::Copy));
    assert!(hints_of(&full).join(" ").contains("make room there"), "{full:#}");
    std::fs::remove_file(place.source().join("shop/big.ibd")).unwrap();

    for n in 0..80 {
        std::fs::File::create(place.source().join(format!("shop/t{n}.ibd"))).unwrap();
    }
    let inodes = place.copy("20261121T092235Z-0003", &place.sources()).unwrap_err();
    assert!(hints_of(&inodes).join(" ").contains("make room there"), "{inodes:#}");

    assert!(place.verify(FIRST).is_good(), "the earlier backup is untouched");
    let catalog = place.catalog();
    assert_eq!((catalog.items.len(), catalog.leftovers.len()), (1, 2));
    for slot in &catalog.leftovers {
        place.store().remove(slot).unwrap();
    }
    on_node2("mount -o remount,size=60m,nr_inodes=900 /srv/full");
    place.backup("20261121T092236Z-0004");
    on_node2("umount /srv/full");
}

/// XFS holds root to a project's quota too.
#[test]
fn a_quota_at_the_destination_fails_the_run_and_nothing_else() {
    let mount = crate::host::scratch("/var/tmp");
    let at = mount.path().display().to_string();
    run(&["mkfs.xfs", "-q", "-f", "/dev/vdc"]);
    run(&["mount", "-o", "prjquota", "/dev/vdc", &at]);
    let _gone = Undo::with(&format!("umount {at}"));
    let home = mount.path().join("b");
    run(&["mkdir", "-m", "0700", &home.display().to_string()]);
    let bench = Bench::here(mount.path());
    let place = Place::at(&bench, home.clone());
    run(&["xfs_quota", "-x", "-c", &format!("project -s -p {} 42", home.display()), &at]);
    let limit = |size: &str| run(&["xfs_quota", "-x", "-c", &format!("limit -p bhard={size} 42"), &at]);
    limit("20m");
    plain_tree(place.source());
    place.backup(FIRST);
    fill(&place.source().join("shop/big.ibd"), 24);
    let full = place.copy(SECOND, &place.sources()).unwrap_err();
    assert_eq!(kind_of(&full), Some(Kind::Copy), "{full:#}");
    assert!(hints_of(&full).join(" ").contains("make room there"), "{full:#}");
    assert!(place.verify(FIRST).is_good(), "the earlier backup is untouched");
    limit("80m");
    place.backup("20261121T092236Z-0004");
}

#[test]
fn a_slow_network_costs_time_and_nothing_else() {
    on_node2("rm -rf /var/tmp/slow");
    let bench = node("/var/tmp/slow");
    let place = Place::at(&bench, "/var/tmp/slow".into());
    plain_tree(place.source());
    fill(&place.source().join("big"), 12);
    let address = address_of_node2();
    let route = run(&["ip", "-o", "route", "get", &address]);
    let device = route.split(" dev ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    run(&[
        "tc", "qdisc", "add", "dev", &device, "root", "netem", "delay", "250ms", "50ms", "loss", "1%", "rate", "4mbit",
    ]);
    let quick = Undo::with(&format!("tc qdisc del dev {device} root"));
    let began = Instant::now();
    place.backup(FIRST);
    assert!(began.elapsed().as_secs() > 15, "the network was not slow: {:?}", began.elapsed());
    drop(quick);
    assert!(place.verify(FIRST).is_good());
    on_node2("rm -rf /var/tmp/slow");
}

#[test]
fn a_cut_network_is_noticed_within_a_minute() {
    on_node2("rm -rf /var/tmp/cut");
    let bench = node("/var/tmp/cut");
    let mut place = Place::at(&bench, "/var/tmp/cut".into());
    place.transfer.bandwidth_limit = Some(Bytes(4 << 20));
    plain_tree(place.source());
    fill(&place.source().join("big"), 60);
    let address = address_of_node2();
    let cut = std::thread::scope(|scope| {
        let copying = scope.spawn(|| place.copy(FIRST, &place.sources()).unwrap_err());
        std::thread::sleep(std::time::Duration::from_secs(4));
        drop_packets(&address, true);
        let cut = Instant::now();
        let error = copying.join().unwrap();
        assert_eq!(kind_of(&error), Some(Kind::Copy), "{error:#}");
        assert!(hints_of(&error).join(" ").contains("check the network"), "{error:#}");
        cut
    });
    let took = cut.elapsed();
    drop_packets(&address, false);
    assert!(took.as_secs() < 75, "noticed after {took:?}");
    place.transfer.bandwidth_limit = None;
    place.backup(SECOND);
    on_node2("rm -rf /var/tmp/cut");
}

fn address_of_node2() -> String {
    run(&["getent", "hosts", &node2()]).split_whitespace().next().unwrap().to_owned()
}

/// Everything that the second node sends is lost.
fn drop_packets(address: &str, on: bool) {
    if on {
        run(&["nft", "add", "table", "ip", "cut"]);
        run(&["nft", "add", "chain", "ip", "cut", "in", "{ type filter hook input priority 0 ; }"]);
        run(&["nft", "add", "rule", "ip", "cut", "in", "ip", "saddr", address, "drop"]);
    } else {
        run(&["nft", "delete", "table", "ip", "cut"]);
    }
}

#[test]
fn a_source_that_cannot_be_read_fails_the_run_without_zeros() {
    let disk = Disk::formatted();
    let path: PathBuf = disk.mount().join("data");
    std::fs::create_dir(&path).unwrap();
    plain_tree(&path);
    fill(&path.join("broken.ibd"), 8);
    disk.break_file(&path.join("broken.ibd"));

    let home = tempfile::tempdir().unwrap();
    let bench = Bench::here(home.path());
    let place = Place::at(&bench, home.path().join("b"));
    let sources = [Source { root: root("datadir", false), path }];
    let error = place.copy(FIRST, &sources).unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Copy), "{error:#}");
    assert!(format!("{error:#}").contains("broken.ibd"), "{error:#}");
    assert!(place.catalog().items.is_empty());
}

#[test]
fn a_write_error_seen_only_when_written_out_fails_the_run() {
    let disk = Disk::formatted();
    let bench = Bench::here(disk.mount());
    let place = Place::at(&bench, disk.mount().join("b"));
    plain_tree(place.source());
    fill(&place.source().join("big"), 8);
    place.backup(FIRST);
    fill(&place.source().join("other"), 8);
    disk.fail_writes_soon();
    let made = place
        .copy(SECOND, &place.sources())
        .and_then(|(staging, copied, manifest)| staging.commit(manifest, &copied.files));
    assert!(made.is_err(), "a backup was made on a disk that takes nothing");
    disk.remount();
    assert_eq!(place.catalog().items.len(), 1);
    assert!(place.verify(FIRST).is_good());
}

/// The manifest is written and flushed as ever: only the flush of the whole file system can tell.
#[test]
fn a_write_error_of_one_stored_file_keeps_its_backup_from_being_published() {
    let disk = Disk::formatted();
    let bench = Bench::here(disk.mount());
    let place = Place::at(&bench, disk.mount().join("b"));
    plain_tree(place.source());
    place.backup(FIRST);
    fill(&place.source().join("other"), 8);
    let (staging, copied, manifest) = place.copy(SECOND, &place.sources()).unwrap();
    let below = disk.mount().join("b").display().to_string();
    let found = run(&["find", &below, "-path", "*unfinished*", "-name", "other", "-type", "f"]);
    let staged = found.trim();
    disk.fail_writes_to(Path::new(staged));
    // As if the kernel had not come to it until now.
    run(&["dd", "if=/dev/zero", &format!("of={staged}"), "bs=4096", "count=1", "conv=notrunc"]);
    let error = format!("{:#}", staging.commit(manifest, &copied.files).unwrap_err());
    assert!(error.contains("cannot sync the file system of"), "{error}");
    disk.remount();
    assert_eq!(place.catalog().items.len(), 1);
    assert!(place.verify(FIRST).is_good());
}

#[test]
fn it_is_the_disk_that_is_read_back_here_and_behind_ssh() {
    for prefix in ["", "root@localhost:"] {
        let disk = Disk::formatted();
        let bench = Bench { prefix: prefix.to_owned(), ..Bench::here(disk.mount()) };
        let place = Place::at(&bench, disk.mount().join("b"));
        plain_tree(place.source());
        fill(&place.source().join("big"), 8);
        place.backup(FIRST);
        assert!(place.verify(FIRST).is_good());
        // Whoever asked the memory would find all of it right.
        disk.read_wrong();
        let report = place.verify(FIRST);
        assert!(report.changed.iter().any(|name| name == "datadir/big"), "{prefix}: {report:?}");
    }
}

#[test]
fn a_power_cut_leaves_all_of_a_backup_or_nothing() {
    let disk = Disk::formatted();
    let bench = Bench::here(disk.mount());
    let place = Place::at(&bench, disk.mount().join("b"));
    plain_tree(place.source());
    fill(&place.source().join("big"), 8);

    place.backup(FIRST);
    disk.cut_power();
    assert!(place.verify(FIRST).is_good(), "what was committed lasts");

    fill(&place.source().join("other"), 4);
    let (staging, copied, manifest) = place.copy(SECOND, &place.sources()).unwrap();
    disk.lose_writes();
    staging.commit(manifest, &copied.files).unwrap();
    disk.remount();
    assert_eq!(place.catalog().items.len(), 1, "what was not written out is not listed");
    assert!(place.verify(FIRST).is_good());
}
