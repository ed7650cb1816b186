//! Backups and their way back, on directories of this host.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use mysnap::fault::{Kind, kind_of};
use mysnap::restore::{Plan, Request, Restored, execute, plan};
use mysnap::store::{Backup, Catalog, LocalStore, Manifest, ProofLevel, Root, Source, Staging, Transfer, Work};
use mysnap::sys::cancel::Cancel;
use mysnap::sys::cmd::Call;
use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};

const ID: &str = "20261121T092233Z-0001";

struct Bench {
    home: tempfile::TempDir,
    cancel: Cancel,
    store: LocalStore,
}

impl Bench {
    /// A destination, and sources `data` and `log` with what `fill` puts there.
    fn new(fill: impl FnOnce(&Path)) -> Self {
        let home = tempfile::tempdir().unwrap();
        for name in ["data", "log"] {
            std::fs::create_dir(home.path().join(name)).unwrap();
        }
        fill(home.path());
        let cancel = Cancel::new();
        let store = LocalStore::new(&home.path().join("destination"), &cancel);
        let bench = Self { home, cancel, store };
        bench.back_up();
        bench
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().canonicalize().unwrap().join(name)
    }

    fn source(&self, n: usize, name: &str) -> Source {
        let manifest = golden();
        let live_path = self.at(name);
        let is_file = live_path.is_file();
        Source { root: Root { live_path: live_path.clone(), is_file, ..manifest.roots[n].clone() }, path: live_path }
    }

    fn back_up(&self) {
        let sources = [self.source(0, "data"), self.source(1, if self.at("file").exists() { "file" } else { "log" })];
        let transfer = Transfer::default();
        let work = Work { transfer: &transfer, progress: &|_| {}, cancel: &self.cancel };
        let mut manifest = golden();
        manifest.id = ID.parse().unwrap();
        manifest.roots = sources.iter().map(|source| source.root.clone()).collect();
        let staging = Staging::begin(&self.store, &manifest.job, &manifest.id).unwrap();
        let copied = staging.copy(&sources, work).unwrap();
        manifest.proof = staging.prove(ProofLevel::Checksum, &sources, &copied, work).unwrap();
        staging.commit(manifest, &copied.files).unwrap();
    }

    fn backup(&self) -> Backup {
        Catalog::read(&self.store, None).unwrap().find("latest").unwrap().clone()
    }

    fn request(&self) -> Request {
        Request {
            to: self.at("restored"),
            roots: [("binlog-1".parse().unwrap(), self.at("restored-log"))].into(),
            replace: false,
            clone: false,
            any_version: true,
            start: false,
            workshop: None,
            transfer: Transfer::default(),
        }
    }

    fn plan(&self, request: &Request) -> anyhow::Result<Plan> {
        plan(&self.store, &self.backup(), request)
    }

    fn restore(&self, request: &Request) -> anyhow::Result<Restored> {
        execute(&self.plan(request)?, &self.store, &|_| {}, &self.cancel)
    }

    fn stored(&self, name: &str) -> PathBuf {
        self.at("destination").join("nightly").join(ID).join(name)
    }
}

fn golden() -> Manifest {
    Manifest::decode(include_bytes!("data/manifest-1.json")).unwrap()
}

mod files {
    use super::*;

    pub(super) fn write(path: &Path, bytes: &[u8]) {
        use std::io::Write as _;
        std::fs::File::create(path).unwrap().write_all(bytes).unwrap();
    }

    pub(super) fn fill(home: &Path) {
        let data = home.join("data");
        std::fs::create_dir(data.join("shop")).unwrap();
        std::fs::set_permissions(data.join("shop"), std::fs::Permissions::from_mode(0o2750)).unwrap();
        for name in ["ibdata1", "mysql.ibd", "shop/orders.ibd", "auto.cnf", "db1.pid", "mysqld.sock.lock"] {
            write(&data.join(name), name.as_bytes());
        }
        std::fs::set_permissions(data.join("ibdata1"), std::fs::Permissions::from_mode(0o640)).unwrap();
        std::fs::hard_link(data.join("ibdata1"), data.join("hard")).unwrap();
        symlink(home.canonicalize().unwrap().join("log/binlog.000001"), data.join("link")).unwrap();
        std::fs::File::create(data.join("sparse")).unwrap().write_all_at(b"end", 20 << 20).unwrap();
        write(&home.join("log/binlog.000001"), b"events");
    }

    /// Everything below a directory: kind, mode, owner, time, contents.
    pub(super) fn seen(at: &Path) -> BTreeMap<OsString, String> {
        let mut found = BTreeMap::new();
        let mut open = vec![at.to_owned()];
        while let Some(directory) = open.pop() {
            for entry in directory.read_dir().unwrap() {
                let path = entry.unwrap().path();
                let stat = path.symlink_metadata().unwrap();
                let contents = if stat.is_file() {
                    format!("{:?}", mysnap::store::Sha256::of(&std::fs::read(&path).unwrap()))
                } else if stat.is_symlink() {
                    format!("{:?}", path.read_link().unwrap())
                } else {
                    open.push(path.clone());
                    String::new()
                };
                let time = if stat.is_symlink() { (0, 0) } else { (stat.mtime(), stat.mtime_nsec()) };
                let what = format!("{:o} {}:{} {time:?} {contents}", stat.mode(), stat.uid(), stat.gid());
                found.insert(path.strip_prefix(at).unwrap().as_os_str().to_owned(), what);
            }
        }
        found
    }
}

#[test]
fn what_comes_back_is_what_was_there() {
    let bench = Bench::new(files::fill);
    let mut request = bench.request();
    request.clone = true;
    let restored = bench.restore(&request).unwrap();
    let (mut before, mut after) = (files::seen(&bench.at("data")), files::seen(&bench.at("restored")));
    for dropped in ["auto.cnf", "db1.pid", "mysqld.sock.lock"] {
        assert!(before.remove(OsStr::new(dropped)).is_some());
    }
    assert!(
        after.remove(OsStr::new("link")).unwrap().contains("restored-log/binlog.000001"),
        "links follow their root"
    );
    before.remove(OsStr::new("link"));
    assert_eq!(after, before);
    assert_eq!(files::seen(&bench.at("restored-log")), files::seen(&bench.at("log")));
    let (inode, hard) =
        (bench.at("restored/ibdata1").metadata().unwrap(), bench.at("restored/hard").metadata().unwrap());
    assert_eq!(inode.ino(), hard.ino());
    assert!(bench.at("restored/sparse").metadata().unwrap().blocks() < 1000);
    assert_eq!((restored.kept_aside, restored.to), (vec![], bench.at("restored")));
    let names: BTreeSet<_> = bench.at("").read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
    let expected = ["data", "log", "destination", "restored", "restored-log"];
    assert_eq!(names, expected.iter().map(OsString::from).collect(), "nothing else is left");
}

#[test]
fn what_is_there_is_kept_aside_and_only_when_told() {
    let bench = Bench::new(files::fill);
    std::fs::create_dir(bench.at("restored")).unwrap();
    files::write(&bench.at("restored/precious"), b"precious");
    let mut request = bench.request();
    assert_eq!(kind_of(&bench.restore(&request).unwrap_err()), Some(Kind::Refused));
    request.replace = true;
    for name in [format!("restored.before-{ID}"), format!("restored.before-{ID}.2")] {
        let restored = bench.restore(&request).unwrap();
        assert!(restored.kept_aside.contains(&bench.at(&name)), "{restored:?}");
    }
    assert_eq!(std::fs::read(bench.at(&format!("restored.before-{ID}/precious"))).unwrap(), b"precious");
    assert!(!bench.at("restored/precious").exists());
}

#[test]
fn a_directory_in_use_is_refused() {
    let bench = Bench::new(files::fill);
    std::fs::create_dir(bench.at("restored")).unwrap();
    let mut request = bench.request();
    request.replace = true;
    let holder = Call::new("sh").args(["-c", &format!("cd {} && exec sleep 60", bench.at("restored").display())]);
    let cancel = Cancel::new();
    std::thread::scope(|scope| {
        scope.spawn(|| holder.cancel(&cancel).run().unwrap_err());
        let refused = mysnap::sys::retry::until(std::time::Duration::from_secs(10), || {
            bench.plan(&request).err().ok_or("nobody uses it yet")
        });
        cancel.set(15);
        let error = refused.unwrap();
        assert_eq!(kind_of(&error), Some(Kind::Refused));
        assert!(error.to_string().contains("in use by sleep"), "{error:#}");
    });
}

#[test]
fn a_restore_that_was_cut_short_can_be_run_again() {
    let bench = Bench::new(files::fill);
    let staging = bench.at(&format!("restored.restoring-{ID}"));
    std::fs::create_dir(&staging).unwrap();
    files::write(&staging.join("ibdata1"), b"ibd");
    files::write(&staging.join("junk"), b"junk");
    symlink("/etc", staging.join("shop")).unwrap();
    bench.restore(&bench.request()).unwrap();
    assert!(!staging.exists() && !bench.at("restored/junk").exists());
    assert!(bench.at("restored/shop/orders.ibd").exists());
    assert!(!Path::new("/etc/orders.ibd").exists());
}

/// As a power cut may leave it: the size and the time are there, and what was in it is not.
#[test]
fn what_an_earlier_try_left_is_compared_byte_for_byte() {
    let bench = Bench::new(files::fill);
    let staging = bench.at(&format!("restored.restoring-{ID}"));
    std::fs::create_dir(&staging).unwrap();
    let stored = bench.stored("datadir/ibdata1").metadata().unwrap();
    files::write(&staging.join("ibdata1"), &vec![0; usize::try_from(stored.len()).unwrap()]);
    let left = std::fs::File::options().write(true).open(staging.join("ibdata1")).unwrap();
    left.set_modified(stored.modified().unwrap()).unwrap();
    bench.restore(&bench.request()).unwrap();
}

#[test]
fn nothing_is_put_in_place_that_is_not_what_was_backed_up() {
    let bench = Bench::new(files::fill);
    // Same size, same time: only the digest tells.
    let path = bench.stored("datadir/ibdata1");
    let time = path.metadata().unwrap().modified().unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"I", 0).unwrap();
    file.set_modified(time).unwrap();
    let error = bench.restore(&bench.request()).unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Verify));
    assert!(error.to_string().contains("changed datadir/hard, changed datadir/ibdata1"), "{error:#}");
    assert!(!bench.at("restored").exists() && !bench.at("restored-log").exists());
}

#[test]
fn a_backup_with_holes_or_additions_is_refused_before_anything_is_copied() {
    let bench = Bench::new(files::fill);
    std::fs::remove_file(bench.stored("datadir/mysql.ibd")).unwrap();
    symlink("/etc", bench.stored("datadir/added")).unwrap();
    let error = bench.plan(&bench.request()).unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Verify));
    let text = error.to_string();
    assert!(text.contains("missing datadir/mysql.ibd") && text.contains("extra datadir/added"), "{text}");
}

#[test]
fn a_single_file_comes_back_to_its_place() {
    let bench = Bench::new(|home| files::write(&home.join("file"), b"tablespace"));
    let mut request = bench.request();
    let place = bench.at("else.ibd");
    request.roots.insert("binlog-1".parse().unwrap(), place.clone());
    files::write(&place, b"former");
    assert_eq!(kind_of(&bench.plan(&request).unwrap_err()), Some(Kind::Refused));
    request.replace = true;
    bench.restore(&request).unwrap();
    assert_eq!(std::fs::read(&place).unwrap(), b"tablespace");
    assert_eq!(std::fs::read(bench.at(&format!("else.ibd.before-{ID}"))).unwrap(), b"former");
}

/// R4: what was wrong with the former directory is not handed down.
#[test]
fn a_directory_that_was_open_to_all_gets_the_mode_of_what_was_backed_up() {
    let set = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let bench = Bench::new(|home| {
        files::fill(home);
        set(&home.join("data"), 0o750);
    });
    let modes = |name: &str| bench.at(name).metadata().unwrap().mode() & 0o7777;
    std::fs::create_dir(bench.at("restored")).unwrap();
    files::write(&bench.at("restored/former"), b"former");
    set(&bench.at("restored"), 0o777);
    let request = Request { replace: true, ..bench.request() };
    bench.restore(&request).unwrap();
    assert_eq!((modes("restored"), modes(&format!("restored.before-{ID}"))), (0o750, 0o777));
}

#[test]
fn a_place_without_a_directory_above_it_is_refused() {
    let bench = Bench::new(files::fill);
    let mut request = bench.request();
    request.to = bench.at("no/such/place");
    assert_eq!(kind_of(&bench.plan(&request).unwrap_err()), Some(Kind::Refused));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_names_come_back(names in proptest::collection::btree_set(proptest::collection::vec(any::<u8>(), 1..30), 1..12)) {
        let bench = Bench::new(|home| {
            let mut at = home.join("data");
            for (n, name) in names.iter().enumerate() {
                let name: Vec<u8> = name.iter().map(|b| if matches!(b, 0 | b'/') { b'_' } else { *b }).collect();
                let path = at.join(OsString::from_vec(name.clone()));
                if name == b"." || name == b".." || path.symlink_metadata().is_ok() {
                    continue;
                }
                match n % 4 {
                    0 => {
                        std::fs::create_dir(&path).unwrap();
                        at = path;
                    }
                    1 => symlink(OsStr::from_bytes(&name), path).unwrap(),
                    _ => files::write(&path, &name),
                }
            }
        });
        bench.restore(&bench.request()).unwrap();
        let lasting = |name: &OsString| ![".pid", ".sock.lock"].iter().any(|end| name.to_string_lossy().ends_with(end));
        let before: BTreeMap<_, _> = files::seen(&bench.at("data")).into_iter().filter(|(name, _)| lasting(name)).collect();
        prop_assert_eq!(files::seen(&bench.at("restored")), before);
    }
}
