//! What every store must do: one suite, run for a directory here, for a loopback sshd and, in the
//! lab, for a second node.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use mysnap::fault::{Kind, kind_of};
use mysnap::id::{JobName, RunId};
use mysnap::store::{
    Backup, Catalog, Copied, Destination, EntryKind, FileEntry, Item, Manifest, ProofLevel, Readable, Root, Sha256,
    Source, SshOptions, Staging, State, Store, StoredPath, Transfer, Work, open,
};
use mysnap::sys::cancel::Cancel;
use mysnap::sys::cmd::{Call, quote};
use mysnap::verify::{Report, verify};

/// Where the stores under test are.
pub struct Bench {
    /// `user@host:`, or nothing for this host.
    pub prefix: String,
    /// A directory there, which the suite may fill.
    pub directory: PathBuf,
    /// How to get there.
    pub ssh: SshOptions,
    /// What runs a shell's script there.
    pub shell: Vec<String>,
}

/// The first backup of a test.
pub const FIRST: &str = "20261121T092233Z-0001";
/// The second backup of a test.
pub const SECOND: &str = "20261121T092234Z-0002";

fn job() -> JobName {
    "nightly".parse().unwrap()
}

fn id(text: &str) -> RunId {
    text.parse().unwrap()
}

type Test = (&'static str, fn(&Place<'_>));

impl Bench {
    /// Destinations on this host.
    pub fn here(directory: &Path) -> Self {
        let shell = ["sh", "-c"].map(str::to_owned).to_vec();
        Self { prefix: String::new(), directory: directory.to_owned(), ssh: SshOptions::default(), shell }
    }

    /// Runs every test; each has a destination of its own.
    pub fn run_all(&self) {
        let tests: &[Test] = &[
            ("a missing destination", a_missing_destination_is_named_and_has_room),
            ("awkward files", awkward_files_are_stored_and_verified),
            ("generations", unchanged_files_are_linked_and_changed_ones_leave_the_old_alone),
            ("unfinished backups", what_is_unfinished_is_never_listed_as_a_backup),
            ("a continued copy", a_next_run_takes_what_a_dead_one_left),
            ("damage", every_damage_is_named),
            ("damaged manifests", a_damaged_manifest_falls_back_to_its_twin_and_is_never_absent),
            ("foreign things", what_is_not_ours_is_never_touched),
            ("no overwriting", nothing_is_overwritten),
            ("a lying generation", what_differs_from_its_source_is_copied_again),
            ("cancellation", cancellation_ends_what_is_going_on),
            ("a single file", a_root_may_be_a_single_file),
            ("files of our own", what_we_make_ourselves_is_stored_once_and_whole),
        ];
        for (name, test) in tests {
            let began = std::time::Instant::now();
            test(&Place::new(self));
            println!("  {name}: {:.1} s", began.elapsed().as_secs_f64());
        }
    }
}

/// A destination of one test, and a directory here for its sources.
pub struct Place<'a> {
    bench: &'a Bench,
    path: PathBuf,
    store: Box<dyn Store>,
    /// How it copies.
    pub transfer: Transfer,
    cancel: Cancel,
    source: tempfile::TempDir,
}

impl<'a> Place<'a> {
    fn new(bench: &'a Bench) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("b [{}] 'x'", NEXT.fetch_add(1, Ordering::Relaxed));
        Self::at(bench, bench.directory.join(name))
    }

    /// The destination `path`.
    pub fn at(bench: &'a Bench, path: PathBuf) -> Self {
        let destination: Destination = format!("{}{}", bench.prefix, path.display()).parse().unwrap();
        let cancel = Cancel::new();
        let store = open(&destination, &bench.ssh, &cancel).unwrap();
        Self { bench, path, store, transfer: Transfer::default(), cancel, source: tempfile::tempdir().unwrap() }
    }

    /// The store under test.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Where its sources are.
    pub fn source(&self) -> &Path {
        self.source.path()
    }

    /// Runs a script in the destination, which it sees as `$1`.
    fn shell(&self, script: &str) -> String {
        let line = format!("set -e; cd {}; {script}", quote(&self.path.to_string_lossy()));
        let (program, args) = self.bench.shell.split_first().unwrap();
        // ssh hands one line to a shell; here a shell is called with it.
        Call::new(program).args(args).arg(&line).stdout().unwrap()
    }

    /// The same as what a backup is made of.
    pub fn sources(&self) -> Vec<Source> {
        vec![Source { root: root("datadir", false), path: self.source().canonicalize().unwrap() }]
    }

    /// What ends its work early.
    #[allow(dead_code, reason = "store_contract.rs uses it")]
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    fn work(&self) -> Work<'_> {
        Work { transfer: &self.transfer, progress: &|_| {}, cancel: &self.cancel }
    }

    /// A backup that only lacks its commit.
    pub fn copy(&self, run: &str, sources: &[Source]) -> anyhow::Result<(Staging<'_>, Copied, Manifest)> {
        let staging = Staging::begin(self.store(), &job(), &id(run))?;
        let copied = staging.copy(sources, self.work())?;
        let proof = staging.prove(ProofLevel::Checksum, sources, &copied, self.work())?;
        let mut manifest = Manifest::decode(include_bytes!("../data/manifest-1.json")).unwrap();
        manifest.id = id(run);
        manifest.proof = proof;
        manifest.roots = sources.iter().map(|source| source.root.clone()).collect();
        Ok((staging, copied, manifest))
    }

    /// A whole backup.
    pub fn backup(&self, run: &str) -> Copied {
        let (staging, copied, manifest) = self.copy(run, &self.sources()).unwrap();
        staging.commit(manifest, &copied.files).unwrap();
        copied
    }

    /// What is listed.
    pub fn catalog(&self) -> Catalog {
        Catalog::read(self.store(), Some(&job())).unwrap()
    }

    fn found(&self, run: &str) -> Backup {
        self.catalog().find(run).unwrap().clone()
    }

    /// Every file against its digest.
    pub fn verify(&self, run: &str) -> Report {
        verify(self.store(), &self.found(run), &|_| {}).unwrap()
    }
}

/// A root of that name.
pub fn root(name: &str, is_file: bool) -> Root {
    let manifest = Manifest::decode(include_bytes!("../data/manifest-1.json")).unwrap();
    Root { name: name.parse().unwrap(), is_file, ..manifest.roots[0].clone() }
}

fn write(path: &Path, bytes: &[u8]) {
    use std::io::Write as _;
    std::fs::File::create(path).unwrap().write_all(bytes).unwrap();
}

/// A few files like those of a server.
pub fn plain_tree(at: &Path) {
    std::fs::create_dir(at.join("shop")).unwrap();
    write(&at.join("ibdata1"), &vec![7; 300_000]);
    write(&at.join("shop/orders.ibd"), b"orders");
    write(&at.join("shop/items.ibd"), b"items");
    symlink("/srv/elsewhere", at.join("linked")).unwrap();
}

/// Names and things that break tools.
fn awkward_tree(at: &Path) {
    plain_tree(at);
    let long = "l".repeat(255);
    for name in
        [&b"new\nline"[..], b"-rf", b"$(touch x)", b"\xff\xfe\x01", b"a  b'\"\\n", b"*", b"%41", long.as_bytes()]
    {
        write(&at.join(OsStr::from_bytes(name)), name);
    }
    let sparse = std::fs::File::create(at.join("sparse")).unwrap();
    sparse.write_all_at(b"end", 8 << 20).unwrap();
    std::fs::hard_link(at.join("ibdata1"), at.join("hard")).unwrap();
    symlink("dangling\n", at.join("dangling")).unwrap();
    std::fs::set_permissions(at.join("shop"), std::fs::Permissions::from_mode(0o2750)).unwrap();
    drop(UnixListener::bind(at.join("mysqld.sock")).unwrap());
    nix::unistd::mkfifo(&at.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
}

fn a_missing_destination_is_named_and_has_room(place: &Place<'_>) {
    let error = Catalog::read(place.store(), None).unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::NotFound), "{error:#}");
    let room = place.store().room().unwrap();
    assert!(room.bytes.0 > 0 && room.files != Some(0));
    let tools = place.store().probe().unwrap();
    assert!(tools["rsync"].contains("version"), "{tools:?}");
    assert_eq!(place.store().device().unwrap().is_none(), place.store().destination().is_remote());
}

fn awkward_files_are_stored_and_verified(place: &Place<'_>) {
    awkward_tree(place.source());
    let copied = place.backup(FIRST);
    let skipped: BTreeSet<_> = copied.skipped.iter().map(|s| (s.path.as_str(), s.kind.as_str())).collect();
    assert_eq!(skipped, [("datadir/fifo", "fifo"), ("datadir/mysqld.sock", "socket")].into());
    assert_eq!(copied.totals.files, 13);
    let backup = place.found("latest");
    assert_eq!(backup.files(place.store()).unwrap(), copied.files);
    assert_eq!(backup.manifest.proof.files, 13);
    assert!(backup.manifest.proof.repaired.is_empty());
    let report = place.verify(FIRST);
    assert!(report.is_good(), "{report:?}");
    assert_eq!((report.files, report.bytes), (copied.totals.files, copied.totals.bytes));
    let stored = place
        .shell(&format!("cd nightly/{FIRST}; stat -c '%h' datadir/hard; du -k datadir/sparse | cut -f1; stat -c %a ."));
    let stored: Vec<&str> = stored.lines().collect();
    assert_eq!(stored[0], "2", "hard links stay links");
    assert!(stored[1].parse::<u32>().unwrap() < 1024, "holes stay holes: {stored:?}");
    assert_eq!(stored[2], "700");
}

fn unchanged_files_are_linked_and_changed_ones_leave_the_old_alone(place: &Place<'_>) {
    plain_tree(place.source());
    place.backup(FIRST);
    write(&place.source().join("shop/orders.ibd"), b"ORDERS");
    std::fs::remove_file(place.source().join("shop/items.ibd")).unwrap();
    place.backup(SECOND);
    let inodes = place.shell(&format!(
        "cd nightly; stat -c %i {FIRST}/datadir/ibdata1 {SECOND}/datadir/ibdata1; cat {FIRST}/datadir/shop/orders.ibd"
    ));
    let inodes: Vec<&str> = inodes.lines().collect();
    assert_eq!(inodes[0], inodes[1], "an unchanged file is linked");
    assert_eq!(inodes[2], "orders", "the first generation is as it was");
    for run in [FIRST, SECOND] {
        assert!(place.verify(run).is_good());
    }
    let catalog = place.catalog();
    let listed: Vec<_> = catalog.good().map(|backup| backup.slot.id.as_str()).collect();
    assert_eq!(listed, [SECOND, FIRST], "newest first");
}

fn what_is_unfinished_is_never_listed_as_a_backup(place: &Place<'_>) {
    plain_tree(place.source());
    let (staging, _, _) = place.copy(FIRST, &place.sources()).unwrap();
    let slot = staging.slot().clone();
    let catalog = place.catalog();
    assert!(catalog.items.is_empty());
    assert_eq!(catalog.leftovers, std::slice::from_ref(&slot));
    assert!(catalog.find("latest").is_err());
    // A removal that was cut short, then done again.
    place.shell(&format!("mv nightly/.unfinished-{FIRST} nightly/.removing-{FIRST}"));
    assert_eq!(place.catalog().leftovers, [slot.with(State::Removing)]);
    place.store().remove(&slot.with(State::Removing)).unwrap();
    assert!(place.catalog().leftovers.is_empty());
    place.store().remove(&slot).unwrap();
    place.backup(SECOND);
    place.store().remove(&place.found(SECOND).slot).unwrap();
    assert_eq!(place.shell("ls -A nightly"), "");
}

fn a_next_run_takes_what_a_dead_one_left(place: &Place<'_>) {
    plain_tree(place.source());
    drop(place.copy(FIRST, &place.sources()).unwrap());
    place.backup(SECOND);
    let inodes =
        place.shell(&format!("cd nightly; stat -c %i .unfinished-{FIRST}/datadir/ibdata1 {SECOND}/datadir/ibdata1"));
    let inodes: Vec<&str> = inodes.lines().collect();
    assert_eq!(inodes[0], inodes[1]);
}

fn every_damage_is_named(place: &Place<'_>) {
    let names = |list: &[String]| list.join(" ");
    plain_tree(place.source());
    place.backup(FIRST);
    place.shell(&format!(
        "cd nightly/{FIRST}/datadir; rm shop/items.ibd; printf ORDERS > shop/orders.ibd; printf x > extra; \
         printf x >> ibdata1; ln -sfn /srv/other linked; printf x > ../stray"
    ));
    let report = place.verify(FIRST);
    assert_eq!(names(&report.missing), "datadir/shop/items.ibd");
    assert_eq!(names(&report.changed), "datadir/ibdata1 datadir/linked datadir/shop/orders.ibd");
    assert_eq!(names(&report.extra), "datadir/extra stray");
    assert!(!report.is_good());
    // A directory exchanged for a symlink: not followed, named.
    place.shell(&format!(
        "cd nightly/{FIRST}/datadir; mv shop /tmp/shop-$$; ln -s /tmp/shop-$$ shop; rm -r /tmp/shop-$$"
    ));
    let report = place.verify(FIRST);
    assert!(names(&report.changed).contains("datadir/shop"), "{report:?}");
    assert_eq!(names(&report.missing), "datadir/shop/items.ibd datadir/shop/orders.ibd");
    // The list of files falls back to its twin; without both there is nothing to compare with.
    place.shell(&format!("printf x >> nightly/{FIRST}/files.jsonl"));
    let report = place.verify(FIRST);
    assert!(names(&report.twins_damaged).starts_with("files.jsonl"), "{report:?}");
    place.shell(&format!("printf x >> nightly/{FIRST}/files.copy.jsonl"));
    let error = verify(place.store(), &place.found(FIRST), &|_| {}).unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Verify));
}

fn a_damaged_manifest_falls_back_to_its_twin_and_is_never_absent(place: &Place<'_>) {
    plain_tree(place.source());
    place.backup(FIRST);
    place.shell(&format!("cd nightly/{FIRST}; sed -i s/9.7.4/9.7.5/ manifest.json"));
    let backup = place.found(FIRST);
    assert!(backup.twin_damaged.as_ref().unwrap().starts_with("manifest.json: "), "{:?}", backup.twin_damaged);
    assert_eq!(backup.manifest.server.version.to_string(), "9.7.4");
    place.shell(&format!("cd nightly/{FIRST}; truncate -s 500 manifest.copy.json"));
    let unreadable =
        |catalog: &Catalog| matches!(catalog.items.as_slice(), [Item::Unreadable(slot, _)] if slot.id == id(FIRST));
    assert!(unreadable(&place.catalog()));
    place.shell(&format!("cd nightly/{FIRST}; rm manifest*"));
    assert!(unreadable(&place.catalog()));
    assert_eq!(kind_of(&place.catalog().find(FIRST).unwrap_err()), Some(Kind::Verify));
    assert_eq!(kind_of(&place.catalog().find("latest").unwrap_err()), Some(Kind::NotFound));
}

fn what_is_not_ours_is_never_touched(place: &Place<'_>) {
    plain_tree(place.source());
    place.backup(FIRST);
    place.shell(&format!(
        "mkdir nightly/lost+found other-host; printf x > README; printf x > nightly/notes; \
         ln -s {FIRST} nightly/20261121T092235Z-0003; ln -s nightly weekly"
    ));
    let before = place.shell("find . -not -path './nightly/2*' | sort");
    let catalog = Catalog::read(place.store(), None).unwrap();
    assert_eq!(catalog.items.len(), 1, "{catalog:?}");
    place.store().remove(&place.found(FIRST).slot).unwrap();
    let after = place.shell("find . -not -path './nightly/2*' | sort");
    assert_eq!(after, before);
}

fn nothing_is_overwritten(place: &Place<'_>) {
    plain_tree(place.source());
    place.backup(FIRST);
    let (staging, copied, mut manifest) = place.copy(SECOND, &place.sources()).unwrap();
    assert!(Staging::begin(place.store(), &job(), &id(SECOND)).is_err());
    place.shell(&format!("cp -a nightly/{FIRST} nightly/{SECOND}"));
    manifest.id = id(SECOND);
    assert!(staging.commit(manifest, &copied.files).is_err());
    assert!(place.verify(FIRST).is_good());
}

fn what_differs_from_its_source_is_copied_again(place: &Place<'_>) {
    plain_tree(place.source());
    place.backup(FIRST);
    // Bit rot: size and time are those of the source, so that rsync links it into the next backup.
    place.shell(&format!("cd nightly/{FIRST}/datadir; touch -r ibdata1 t; printf X | dd of=ibdata1 conv=notrunc; touch -r t ibdata1; rm t"));
    place.backup(SECOND);
    let backup = place.found(SECOND);
    assert_eq!(backup.manifest.proof.repaired, ["changed datadir/ibdata1"]);
    assert!(place.verify(SECOND).is_good());
    assert_eq!(place.verify(FIRST).changed, ["datadir/ibdata1"], "the old one is not mended behind one's back");
}

fn cancellation_ends_what_is_going_on(place: &Place<'_>) {
    plain_tree(place.source());
    let staging = Staging::begin(place.store(), &job(), &id(FIRST)).unwrap();
    place.cancel.set(15);
    let error = staging.copy(&place.sources(), place.work()).unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Cancelled), "{error:#}");
}

fn a_root_may_be_a_single_file(place: &Place<'_>) {
    write(&place.source().join("ibdata9"), b"tablespace");
    write(&place.source().join("other"), b"not ours");
    let path = place.source().canonicalize().unwrap().join("ibdata9");
    std::fs::create_dir(place.source().join("data")).unwrap();
    let data = Source { root: root("datadir", false), path: place.source().canonicalize().unwrap().join("data") };
    let mut tablespace = root("tablespace-1", true);
    tablespace.kinds = Vec::new();
    let sources = [data, Source { root: tablespace, path }];
    let (staging, copied, manifest) = place.copy(FIRST, &sources).unwrap();
    staging.commit(manifest, &copied.files).unwrap();
    let files: Vec<_> =
        copied.files.iter().filter(|f| matches!(f.kind, EntryKind::File { .. })).map(FileEntry::name).collect();
    assert_eq!(files, ["tablespace-1/ibdata9"]);
    assert!(place.verify(FIRST).is_good());
}

fn what_we_make_ourselves_is_stored_once_and_whole(place: &Place<'_>) {
    let staging = Staging::begin(place.store(), &job(), &id(FIRST)).unwrap();
    let name = "dump".parse().unwrap();
    let path = |text: &str| StoredPath::new(text).unwrap();
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_be_bytes).collect();
    let files = [
        (path("shop/-rf '$(x)' \n.tsv"), b"one".to_vec()),
        (path("index.json"), Vec::new()),
        (path("shop/large"), large),
    ];
    staging.put(&name, &files).unwrap();
    let stored: Vec<Readable> = files
        .iter()
        .map(|(path, bytes)| Readable {
            path: StoredPath::root().join("dump".as_ref()).below(path),
            size: bytes.len() as u64,
        })
        .collect();
    let digests = place.store().digests(staging.slot(), &stored, &|_| {}).unwrap();
    for ((_, bytes), (_, digest)) in files.iter().zip(digests) {
        assert_eq!(digest, mysnap::store::Digest::Is(Sha256::of(bytes)));
    }
    let modes = place.shell("find */.*/dump -printf '%m\\n' | sort | uniq -c | tr -s ' '");
    assert_eq!(modes, " 3 600\n 2 700\n");
    staging.put(&name, &files[..1]).unwrap_err();
    assert!(place.catalog().items.is_empty());
    staging.discard().unwrap();
}
