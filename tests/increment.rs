//! Increments of a dump of a real server: what was logged between two backups, proved, listed, and nothing else.

#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "binlog.rs uses the rest")]
#[path = "binlog/bench.rs"]
mod bench;
#[path = "binlog/purge.rs"]
mod purge;
#[path = "pitr/room.rs"]
mod room;
#[allow(dead_code, reason = "dump.rs uses the rest")]
#[path = "dump/server.rs"]
mod server;

use std::io::Read as _;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use bench::{Bench, Writers};
use mysnap::binlog::{Home, Index, Start};
use mysnap::dump::Compression;
use mysnap::server::BinlogPosition;
use mysnap::store::Manifest;
use mysnap::sys::durable;
use purge::purge;
use room::Room;
use server::{Server, numbers, program, reset};

const TABLE: &str = "CREATE DATABASE shop; \
    CREATE TABLE shop.t (id INT AUTO_INCREMENT PRIMARY KEY, a VARCHAR(300), b DOUBLE)";
/// Some of these are logged as rows by a server that logs statements where they are safe.
static CHANGES: LazyLock<String> = LazyLock::new(|| {
    format!(
        "USE shop; INSERT INTO t (a, b) SELECT REPEAT('x', 1 + seq % 50), seq / 3 FROM {}; \
         UPDATE t SET a = UUID() WHERE id % 3 = 0; SET @x = 7.25, @y = 'späß'; \
         INSERT INTO t (a, b) VALUES (@y, @x), (NOW(), RAND()); DELETE FROM t WHERE id % 7 = 0",
        numbers(200)
    )
});

/// A job whose backups are dumps of the live server, with increments between them.
struct Job {
    bench: Bench,
    to: tempfile::TempDir,
    name: String,
}

impl Job {
    fn of(server: &Server) -> Self {
        Self::called("often", server)
    }

    fn called(name: &str, server: &Server) -> Self {
        let (bench, to) = (Bench::new(server, Compression::Zstd), tempfile::tempdir().unwrap());
        bench.configure(&format!(
            "[job.{name}]\nto = {:?}\nmethod = \"dump\"\nsource = \"live\"\nincremental = \"binlog\"\n",
            to.path()
        ));
        Self { bench, to, name: name.to_owned() }
    }

    /// A backup that ends well; what it is, and what was said.
    fn backup(&self, arguments: &[&str]) -> (Manifest, String) {
        let (status, said) = self.bench.command(&[&["backup", self.name.as_str()], arguments].concat());
        assert!(status.success(), "{said}");
        (self.manifests().remove(0), said)
    }

    /// One that must be an increment of `base` and go on from `previous`.
    fn increment(&self, base: &Manifest, previous: &Manifest) -> Manifest {
        let (manifest, said) = self.backup(&[]);
        let increment = manifest.increment.as_ref().unwrap_or_else(|| panic!("{said}"));
        assert_eq!((&increment.base, &increment.previous), (&base.id, &previous.id), "{said}");
        assert_eq!(Some(&increment.from), previous.position.binlog.as_ref());
        assert!(increment.events > 0 && manifest.proof.files > 0, "{manifest:?}");
        manifest
    }

    /// One that must be a full backup, for a reason with these words.
    fn full(&self, words: &str) -> Manifest {
        let (manifest, said) = self.backup(&[]);
        assert!(
            manifest.increment.is_none() && said.contains(words) && said.contains("a full backup is made"),
            "{said}"
        );
        manifest
    }

    /// All that are good, newest first.
    fn manifests(&self) -> Vec<Manifest> {
        let (status, listed) = self.bench.command(&["list", "--json"]);
        assert!(status.success(), "{listed}");
        let rows: Vec<serde_json::Value> = serde_json::from_str(&listed).unwrap();
        rows.into_iter()
            .map(|row| {
                assert_eq!(row["state"], "good", "{row:#}");
                serde_json::from_value(row["manifest"].clone()).unwrap()
            })
            .collect()
    }

    fn refused(&self, arguments: &[&str], status: i32, words: &str) {
        let (ended, said) = self.bench.command(arguments);
        assert!(ended.code() == Some(status) && said.contains(words), "{arguments:?}: {ended}: {said}");
    }
}

/// Everything from one place to another, replayed into `into` by the server's own tools.
fn replay(archive: &Path, timeline: &str, from: &BinlogPosition, to: &BinlogPosition, into: &Server) {
    let home = Home::new(archive);
    let index: Index = home.read_index().unwrap().unwrap();
    let pieces = index.path(Some(timeline), &Start::Position(from), Some(to)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let tool = program("mariadb-binlog", "mysqlbinlog");
    let mut tool = tool.arg("--no-defaults").arg(format!("--start-position={}", from.offset));
    tool = tool.arg(format!("--stop-position={}", to.offset));
    for piece in &pieces {
        let mut bytes = Vec::new();
        home.read(timeline, piece.file).unwrap().read_to_end(&mut bytes).unwrap();
        let plain = directory.path().join(&piece.file.name);
        durable::write(&plain, &bytes).unwrap();
        tool = tool.arg(&plain);
    }
    into.sql(&tool.stdout().unwrap());
}

#[test]
fn a_chain_has_everything_that_was_logged_in_any_format_over_any_number_of_files() {
    let server = Server::start();
    server.sql(TABLE);
    let job = Job::of(&server);
    let base = job.full("there is no full backup to go on from");
    let mut chain = vec![base.clone()];
    for format in ["ROW", "STATEMENT", "MIXED"] {
        let changes =
            format!("SET SESSION binlog_format = {format}; {0}; FLUSH BINARY LOGS; {0}; FLUSH BINARY LOGS", *CHANGES);
        server.sql(&changes);
        let increment = job.increment(&base, chain.last().unwrap());
        assert!(increment.increment.as_ref().unwrap().bytes > 1000, "{increment:?}");
        chain.push(increment);
    }
    let last = chain.last().unwrap();
    assert_eq!(last.proof.files, 9, "all that a restore replays is read: {last:?}");

    // With the base and the archive alone another server is where this one was.
    let other = Server::start();
    let socket = other.socket();
    let restore = ["restore", base.id.as_str(), "--into", socket.to_str().unwrap(), "--no-binary-log"];
    // The other server is reached as this one is: by root without a password.
    let (status, said) = job.bench.command(&[&restore[..], &["--database", "shop"]].concat());
    assert!(status.success(), "{said}");
    let increment = last.increment.as_ref().unwrap();
    let place = base.position.binlog.as_ref().unwrap();
    replay(&job.bench.archive(), &increment.timeline, place, &increment.to, &other);
    assert_eq!(other.tool_dump("shop"), server.tool_dump("shop"));

    let (_, listed) = job.bench.command(&["list"]);
    let ids: Vec<&str> = listed.lines().skip(1).map(|line| line.split("  ").next().unwrap().trim()).collect();
    let below = |manifest: &Manifest| format!("+ {}", manifest.id);
    assert_eq!(ids, [base.id.to_string(), below(&chain[3]), below(&chain[2]), below(&chain[1])], "{listed}");
    assert!(listed.contains("Z to 20"), "{listed}");
    let (_, shown) = job.bench.command(&["show", last.id.as_str()]);
    assert!(
        shown.contains(&format!("increment of {}", base.id)) && shown.contains("archive      shop, timeline"),
        "{shown}"
    );
    let (_, status) = job.bench.command(&["status", "often"]);
    assert!(status.contains(&format!("newest good backup {} (an increment of {})", last.id, base.id)), "{status}");
    let (status, said) = job.bench.command(&["verify", last.id.as_str()]);
    assert!(status.success() && said.contains("9 archived files match"), "{said}");

    // Whoever needs files gets the full one, or is told where they are.
    assert!(job.bench.command(&["show", "latest"]).1.starts_with(&format!("backup       {}", base.id)));
    job.refused(&["drill", "often", "--id", last.id.as_str()], 2, "it has no files of its own");
    job.refused(&["clone", last.id.as_str(), "--name", "x", "--job", "often"], 2, "it has no files of its own");
    job.refused(&["verify", last.id.as_str(), "--level", "start"], 2, "it has no files of its own");
    let (status, planned) = job.bench.command(&["backup", "often", "--dry-run"]);
    assert!(status.success() && planned.contains(&format!("an increment of {}", base.id)), "{planned}");
    assert_eq!(job.manifests().len(), 4);

    // A stream that is at work holds the archive.
    let stream = job.bench.stream();
    std::thread::sleep(Duration::from_millis(500));
    server.sql(&CHANGES);
    let streamed = job.increment(&base, last);
    stream.end();
    let (full, _) = job.backup(&["--full"]);
    assert!(full.increment.is_none());
    server.sql(&CHANGES);
    job.increment(&full, &full);

    // What earlier increments have is damaged: they are bad, and so would be a later one.
    let closed = job.bench.stored(&format!("{}.zst", increment.to.file));
    let good = std::fs::read(&closed).unwrap();
    let mut bytes = good.clone();
    bytes[good.len() / 2] ^= 1;
    durable::write(&closed, &bytes).unwrap();
    job.refused(&["verify", streamed.id.as_str()], 8, &increment.to.file);
    assert!(job.bench.command(&["verify", chain[2].id.as_str()]).0.success());
}

#[test]
fn an_increment_is_restored_as_its_base_brought_to_where_it_ends() {
    let server = Server::start();
    server.sql(TABLE);
    let job = Job::of(&server);
    let base = job.full("there is no full backup to go on from");
    server.sql(&CHANGES);
    let increment = job.increment(&base, &base);
    let then = server.tool_dump("shop");
    server.sql(&CHANGES);
    job.increment(&base, &increment);

    let id = increment.id.as_str();
    job.refused(&["restore", id], 2, "where does it go?");
    let place = tempfile::tempdir().unwrap();
    let _room = Room::over(place.path());
    let to = place.path().join("then").display().to_string();
    let wanted = ["restore", id, "--to", &to];
    let (status, planned) = job.bench.command(&[&wanted[..], &["--dry-run"]].concat());
    let end = &increment.increment.as_ref().unwrap().to;
    let told = [format!("base:     backup {}", base.id), format!("up to {}:{}:", end.file, end.offset)];
    assert!(status.success() && told.iter().all(|words| planned.contains(words)), "{planned}");
    let (status, said) = job.bench.command(&wanted);
    assert!(status.success(), "{said}");
    assert_eq!(Server::on_data(Path::new(&to), &[]).tool_dump("shop"), then);
    // Beside what is there.
    let scratch = place.path().display().to_string();
    let beside = ["restore", id, "--database", "shop", "--as", "shop_then", "--scratch", &scratch];
    let (status, said) = job.bench.command(&beside);
    assert!(status.success(), "{said}");
    assert_eq!(server.tool_dump("shop_then"), then);
    // A reset gives the same names to something else.
    server.sql(reset());
    server.sql(&CHANGES);
    job.full("a new timeline begins");
    assert!(job.bench.command(&[&["restore", id, "--to", &format!("{to}2"), "--dry-run"][..]].concat()).0.success());
    std::fs::remove_dir_all(job.to.path().join("often").join(base.id.as_str())).unwrap();
    job.refused(&wanted, 8, "the base of increment");
}

#[test]
fn where_nothing_leads_on_a_full_backup_is_made_and_it_is_said_why() {
    let server = Server::start();
    server.sql(TABLE);
    let job = Job::of(&server);
    let base = job.full("there is no full backup to go on from");
    server.sql(&CHANGES);
    job.increment(&base, &base);

    server.sql(reset());
    server.sql(&CHANGES);
    let base = job.full("a new timeline begins");
    server.sql(&CHANGES);
    let previous = job.increment(&base, &base);

    server.sql("FLUSH BINARY LOGS; INSERT INTO shop.t (a) VALUES ('lost'); FLUSH BINARY LOGS; INSERT INTO shop.t (a) VALUES ('here')");
    let (first, _) = server.log_end();
    purge(&server, &first);
    let base = job.full("was purged before it was archived");
    let increment = job.increment(&base, &base);
    assert_ne!(increment.needs(), previous.needs());

    // What is in the archive can't be read any more.
    let timeline = increment.increment.as_ref().unwrap().timeline.clone();
    let file = format!("{}.zst", increment.position.binlog.as_ref().unwrap().file);
    durable::write(&job.bench.archive().join(timeline).join(file), b"something else").unwrap();
    let base = job.full("the archive shop is damaged");

    // Without its base an increment brings nothing back.
    let increment = job.increment(&base, &base);
    std::fs::remove_dir_all(job.to.path().join("often").join(base.id.as_str())).unwrap();
    let (_, listed) = job.bench.command(&["list", "--json"]);
    assert!(listed.contains(&format!("its base {} is missing", base.id)), "{listed}");
    job.refused(&["verify", increment.id.as_str()], 8, "the base of increment");
}

#[test]
fn where_its_base_failed_a_drill_or_the_archive_is_gone_no_increment_is_built() {
    let server = Server::start();
    server.sql(TABLE);
    // What is remembered is this host's, by the names of the job and of the archive.
    let name = format!("remembered-{}", std::process::id());
    let job = Job::called(&name, &server);
    let archive = format!("archive-{name}");
    job.bench.reconfigure("[binlog.shop]", &format!("[binlog.{archive}]"));
    let older = job.full("there is no full backup to go on from");
    let (made, said) = job.bench.command(&["backup", &name, "--full"]);
    assert!(made.success(), "{said}");
    let base = job.manifests().into_iter().find(|manifest| manifest.id != older.id).unwrap();
    server.sql(&CHANGES);
    let increment = job.increment(&base, &base);
    let planned = || {
        let (status, said) =
            job.bench.command(&["restore", "--until", "latest", "--to", "/dev/shm/then", "--dry-run", "--job", &name]);
        assert!(status.success(), "{said}");
        said
    };
    assert!(planned().contains(&format!("backup {}", base.id)) && !planned().contains(older.id.as_str()));
    let stored = job.to.path().join(&name).join(base.id.as_str()).join("dump/shop");
    let file = stored.read_dir().unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_file()).unwrap();
    let whole = std::fs::read(&file).unwrap();
    durable::write(&file, &whole[..whole.len() / 2]).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    std::fs::set_permissions(scratch.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    job.refused(&["drill", &name, "--scratch", &scratch.path().display().to_string()], 8, "");
    // The archive leads there from an older one as well.
    let said = planned();
    assert!(said.contains(&format!("backup {} is newer, but did not come back in a drill", base.id)), "{said}");
    assert!(said.contains(&format!("backup {}", older.id)), "{said}");

    let (status, planned) = job.bench.command(&["backup", &name, "--dry-run"]);
    let words = format!("full backup {} did not come back in a drill", base.id);
    assert!(status.success() && planned.contains(&words), "{planned}");
    let full = job.full(&words);
    server.sql(&CHANGES);
    job.increment(&full, &full);
    assert!(job.manifests().iter().any(|manifest| manifest.id == increment.id));

    // Where the archive is gone the server begins no new log in vain.
    std::fs::remove_dir_all(job.bench.archive().with_file_name(&archive)).unwrap();
    let logs = server.sql("SHOW BINARY LOGS").lines().count();
    job.full("there is no archive in");
    assert_eq!(server.sql("SHOW BINARY LOGS").lines().count(), logs);
    for record in [format!("drills/{name}.json"), format!("drills/{name}.lock"), format!("archives/{archive}.json")] {
        durable::remove_file(&Path::new("/var/lib/mysnap").join(record)).unwrap();
    }
}

#[test]
fn a_run_that_is_killed_at_any_moment_leaves_nothing_half() {
    let server = Server::start();
    server.sql(TABLE);
    let job = Job::of(&server);
    let base = job.full("there is no full backup to go on from");
    let _writers = Writers::start(&server, 1);
    let mut killed = 0;
    for pause in [5, 20, 40, 70, 110, 160, 230, 320] {
        let mut run = job.bench.start(&["backup", "often"]);
        std::thread::sleep(Duration::from_millis(pause));
        killed += u32::from(!run.has_ended());
        run.kill();
    }
    assert!(killed >= 2, "{killed}");
    for manifest in job.manifests() {
        assert!(manifest.id == base.id || manifest.needs() == Some(&base.id), "{manifest:?}");
        assert!(job.bench.command(&["verify", manifest.id.as_str()]).0.success(), "{manifest:?}");
    }
    let newest = job.manifests().remove(0);
    job.increment(&base, &newest);
    let left: Vec<_> = std::fs::read_dir(job.to.path().join("often"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
