//! Archives of servers whose files can't be read: on another host, or encrypted.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mysnap::binlog::{LogFile, State};
use mysnap::dump::Compression;
use mysnap::fault::{Kind, hints_of, kind_of};
use mysnap::server::{Access, Flavour, TlsMode};
use mysnap::sys::cmd::Call;
use mysnap::sys::{durable, retry};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bench::{Bench, Stream, Tmpfs, Writers, are_checkpoints};
use crate::elsewhere::Node;
use crate::purge::purge;
use crate::server::Server;
use crate::{LARGE, TABLE};

const PASSWORD: &str = "se#cr\"et\\ly";
/// All that an account needs, and RELOAD for `--rotate`.
const GRANTS: &str = "REPLICATION SLAVE, BINLOG MONITOR, RELOAD";
const SOON: Duration = Duration::from_secs(60);

/// A server that listens on TCP, as one on another host does.
struct Distant {
    server: Server,
    access: Access,
    _home: tempfile::TempDir,
}

impl Distant {
    fn start(options: &[&str], grants: &str) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let listens =
            ["--skip-networking=0".to_owned(), format!("--port={port}"), "--bind-address=127.0.0.1".to_owned()];
        let all: Vec<&str> = listens.iter().map(String::as_str).chain(options.iter().copied()).collect();
        let server = Server::start_with(&all);
        server.sql(TABLE);
        let quoted = PASSWORD.replace('\\', "\\\\");
        for host in ["localhost", "127.0.0.1"] {
            server.sql(&format!(
                "CREATE USER far@'{host}' IDENTIFIED BY '{quoted}'; GRANT {grants} ON *.* TO far@'{host}'"
            ));
        }
        let home = tempfile::tempdir().unwrap();
        let option_file = home.path().join("far.cnf");
        let text = format!("[client]\nuser=far\npassword=\"{}\"\n", quoted.replace('"', "\\\""));
        durable::create_private_file(&option_file).unwrap().write_all(text.as_bytes()).unwrap();
        let (option_file, host) = (Some(option_file), Some("127.0.0.1".to_owned()));
        let access = Access { option_file, host, port: Some(port), ..Access::default() };
        Self { server, access, _home: home }
    }

    fn bench(&self, compression: Compression) -> Bench {
        Bench::new(&self.server, compression).by_tool(&self.access)
    }

    /// What tells that its files are on this host is not there, as on another one.
    fn is_away(&self) {
        let pid_file = self.server.sql("SELECT @@pid_file");
        fs::remove_file(self.server.datadir().join(pid_file.trim())).unwrap();
    }

    fn end(&self) -> (String, u64) {
        let told = self.server.sql("SHOW MASTER STATUS");
        let mut columns = told.split('\t');
        (columns.next().unwrap().to_owned(), columns.next().unwrap().trim().parse().unwrap())
    }

    /// Waits until the archive has all that the server has logged.
    fn caught_up(&self, bench: &Bench) {
        let all = self.end();
        let caught_up = || {
            if !bench.archive().join("index.json").exists() || bench.index().timelines.is_empty() {
                return Err("nothing yet".to_owned());
            }
            let index = bench.index();
            let Some(last) = index.timelines.last().unwrap().files.last() else { return Err("no file yet".to_owned()) };
            if (&last.name, last.size) >= (&all.0, all.1) {
                Ok(())
            } else {
                Err(format!("{}:{}", last.name, last.size))
            }
        };
        retry::until(SOON, caught_up).unwrap();
    }
}

/// The tools that write into the archive.
fn tools(bench: &Bench) -> Vec<(Pid, String)> {
    let mine = format!("--result-file={}", bench.archive().display());
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let name = entry.ok()?.file_name();
        let pid = name.to_str()?.parse().ok()?;
        let line = fs::read(Path::new("/proc").join(&name).join("cmdline")).ok()?;
        Some((Pid::from_raw(pid), String::from_utf8_lossy(&line).replace('\0', " ")))
    });
    processes.filter(|(_, line)| line.contains(&mine) && !line.contains("setpriv")).collect()
}

fn following(bench: &Bench) -> (Pid, String) {
    let found = || tools(bench).into_iter().find(|(_, line)| line.contains("--stop-never")).ok_or(());
    retry::until(SOON, found).unwrap()
}

/// What is left of spools.
fn spools(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(".spool-")).collect()
}

fn ended_well(stream: Stream) -> String {
    let (status, said) = stream.end();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(!said.contains("no restore can cross"), "{said}");
    said
}

#[test]
fn what_the_tool_reads_is_byte_for_byte_what_the_server_has() {
    let far = Distant::start(&["--max-binlog-size=1M"], GRANTS);
    far.is_away();
    for compression in [Compression::Zstd, Compression::None] {
        let bench = far.bench(compression).by_itself();
        let writers = Writers::start(&far.server, 2);
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(200));
            bench.ship().unwrap();
        }
        far.server.sql(LARGE);
        drop(writers);
        bench.ship_rotated().unwrap();
        assert!(bench.compare(&far.server) > 2);
        assert_eq!(bench.index().windows().len(), 1);
        assert!(bench.verify().damaged.is_empty());
        assert!(spools(&bench.archive()).is_empty() && tools(&bench).is_empty());
    }
}

#[test]
fn a_stream_by_the_tool_goes_on_whatever_is_killed() {
    let far = Distant::start(&["--max-binlog-size=1M"], GRANTS);
    let bench = far.bench(Compression::Zstd);
    let writers = Writers::start(&far.server, 2);
    for pause in [100, 900, 400] {
        let stream = bench.stream();
        std::thread::sleep(Duration::from_millis(pause));
        stream.kill();
    }
    let stream = bench.stream();
    for pause in [0, 300, 1300] {
        let (pid, line) = following(&bench);
        assert!(!line.contains("se#cr") && line.contains("--defaults-file=/dev/stdin"), "{line}");
        std::thread::sleep(Duration::from_millis(pause));
        kill(pid, Signal::SIGKILL).unwrap();
        let another = || if tools(&bench).iter().all(|(other, _)| *other != pid) { Ok(()) } else { Err(()) };
        retry::until(SOON, another).unwrap();
    }
    far.server.sql(LARGE);
    drop(writers);
    far.caught_up(&bench);
    let said = ended_well(stream);
    assert!(said.contains("did not go on with") && said.contains("the archive goes on"), "{said}");
    bench.compare(&far.server);
    assert_eq!(bench.index().windows().len(), 1);
    assert!(bench.verify().damaged.is_empty());
    // Whoever was killed took the tool with him; what is left of the spools went with the next one.
    let gone = || if tools(&bench).is_empty() { Ok(()) } else { Err(tools(&bench)) };
    retry::until(SOON, gone).unwrap();
    assert!(spools(&bench.archive()).is_empty());
}

#[test]
fn a_tool_that_is_far_ahead_or_says_nothing_is_ended_and_nothing_is_missing() {
    let far = Distant::start(&["--max-binlog-size=1M"], GRANTS);
    let bench = far.bench(Compression::Zstd);
    let stream = bench.stream();
    following(&bench);
    far.caught_up(&bench);
    // A file that the tool has completed is shorter than the server's.
    stream.stopped(|| {
        let spool = spools(&bench.archive()).remove(0);
        far.server.sql("INSERT INTO shop.t (a) VALUES ('cut'); FLUSH BINARY LOGS");
        retry::until(SOON, || if spool.join("b.000002").exists() { Ok(()) } else { Err(()) }).unwrap();
        let file = fs::OpenOptions::new().write(true).open(spool.join("b.000001")).unwrap();
        file.set_len(file.metadata().unwrap().len() - 7).unwrap();
    });
    far.caught_up(&bench);
    assert!(stream.said().contains("bytes of b.000001, of which the server has"), "{}", stream.said());
    let (first, _) = following(&bench);
    // The archive does not get on, and the tool does.
    stream.stopped(|| {
        let spool = spools(&bench.archive()).remove(0);
        (0..7).for_each(|_| drop(far.server.sql(LARGE)));
        let ahead = || if spool.join("b.000009").exists() { Ok(()) } else { Err(()) };
        retry::until(SOON, ahead).unwrap();
    });
    far.caught_up(&bench);
    let another = || if following(&bench).0 == first { Err(()) } else { Ok(()) };
    retry::until(SOON, another).unwrap();
    // As behind a network that is cut without a word.
    kill(following(&bench).0, Signal::SIGSTOP).unwrap();
    far.server.sql("INSERT INTO shop.t (a) VALUES ('unheard')");
    far.caught_up(&bench);
    let said = ended_well(stream);
    assert!(said.contains("and the server is at b.0000") && said.contains("the archive goes on"), "{said}");
    bench.compare(&far.server);
    assert_eq!(bench.index().windows().len(), 1);
    assert!(bench.verify().damaged.is_empty());
}

#[test]
fn a_destination_that_is_full_of_what_the_tool_reads_loses_nothing() {
    let far = Distant::start(&["--max-binlog-size=1M"], GRANTS);
    let small = Tmpfs::mount("4M");
    let bench = Bench::at(&far.server, small.path(), Compression::None).by_tool(&far.access);
    let stream = bench.stream();
    following(&bench);
    for _ in 0..2 {
        far.server.sql(LARGE);
    }
    retry::until(SOON, || if stream.said().contains("No space left") { Ok(()) } else { Err(()) }).unwrap();
    small.grow("128M");
    far.caught_up(&bench);
    let said = ended_well(stream);
    assert!(said.contains("the archive goes on"), "{said}");
    bench.compare(&far.server);
    assert!(bench.index().windows().len() == 1 && bench.verify().damaged.is_empty());
}

#[test]
fn an_archive_on_another_node_of_a_server_on_a_third_is_the_same() {
    let far = Distant::start(&["--max-binlog-size=1M"], GRANTS);
    let node = Node::start();
    let bench = node.bench(&far.server, &node.directory("tool"), Compression::Gzip).by_tool(&far.access);
    let (bench, _room) = spooled_apart(&far, bench);
    let stream = bench.stream();
    far.server.sql(LARGE);
    far.server.sql("FLUSH BINARY LOGS; INSERT INTO shop.t (a) VALUES ('more')");
    far.caught_up(&bench);
    ended_well(stream);
    bench.compare(&far.server);
    assert!(bench.index().windows().len() == 1 && bench.verify().damaged.is_empty());
}

/// The same once what the tool reads has a place of its own: not with the server's files, and not without room.
fn spooled_apart(far: &Distant, bench: Bench) -> (Bench, Tmpfs) {
    let by = far.server.datadir().parent().unwrap().to_owned();
    let room = Tmpfs::mount("1M");
    let bench = bench.spooling(&by);
    for arguments in [["binlog", "ship"], ["check", "shop"]] {
        let (status, said) = bench.command(&arguments);
        let told = said.contains("what the tool reads would fill") && said.contains("spool = \"/directory\"");
        assert!(!status.success() && told, "{said}");
    }
    let bench = bench.spooling(room.path());
    far.server.sql(LARGE);
    let (status, said) = bench.command(&["binlog", "ship"]);
    assert!(status.code() == Some(3) && said.contains("two of the server's logs need"), "{said}");
    room.grow("128M");
    // Of a run that was killed, whatever it archived.
    let dead = room.path().join(".spool-dead");
    fs::create_dir(&dead).unwrap();
    let (_, said) = bench.command(&["check", "shop"]);
    assert!(said.contains(&format!("what the tool reads goes through {}, ", room.path().display())), "{said}");
    bench.ship().unwrap();
    assert!(!dead.exists() && spools(room.path()).is_empty());
    (bench, room)
}

#[test]
fn a_stream_by_the_tool_goes_on_when_the_server_dies_and_comes_back() {
    let far = Distant::start(&[], GRANTS);
    let bench = far.bench(Compression::Zstd);
    let stream = bench.stream();
    for _ in 0..2 {
        following(&bench);
        let writers = Writers::start(&far.server, 2);
        std::thread::sleep(Duration::from_millis(600));
        far.server.kill();
        drop(writers);
        far.server.start_again();
        far.server.sql("INSERT INTO shop.t (a) VALUES ('after')");
    }
    far.caught_up(&bench);
    ended_well(stream);
    bench.compare(&far.server);
    assert_eq!(bench.index().windows().len(), 1);
    assert!(bench.index().timelines[0].files.len() >= 3);
}

#[test]
fn a_torn_event_is_passed_over_by_the_tool_too() {
    let far = Distant::start(&[], GRANTS);
    far.server.sql("INSERT INTO shop.t (a) VALUES ('before')");
    far.server.kill();
    // As a crash in the middle of a write leaves it.
    let torn = b"\x10\x20\x30\x60\x02\x01\0\0\0\xff\0\0\0\0\0\0\0\0\0 and no more";
    fs::OpenOptions::new().append(true).open(far.server.datadir().join("b.000001")).unwrap().write_all(torn).unwrap();
    far.server.start_again();
    far.server.sql("INSERT INTO shop.t (a) VALUES ('after'); FLUSH BINARY LOGS");
    let bench = far.bench(Compression::Zstd);
    bench.ship().unwrap();
    bench.compare(&far.server);
    let index = bench.index();
    assert_eq!((index.windows().len(), index.timelines[0].files.len()), (1, 3));
    let first = &index.timelines[0].files[0];
    assert!(first.state == State::Closed && first.notes[0].contains("tore the event"), "{first:?}");
}

#[test]
fn what_the_server_does_not_send_is_named_and_the_rest_is_archived() {
    let far = Distant::start(&["--master-verify-checksum=1"], GRANTS);
    for text in ["kept", "bad length", "bad checksum", "bad beginning", "zeros", "whole"] {
        far.server.sql(&format!("INSERT INTO shop.t (a) VALUES ('{text}'); FLUSH BINARY LOGS"));
    }
    let change = |n: u32, change: &dyn Fn(&mut Vec<u8>)| {
        let path = far.server.datadir().join(format!("b.{n:06}"));
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        durable::write(&path, &bytes).unwrap();
    };
    let statement = |bytes: &[u8]| bytes.windows(11).position(|some| some == b"INSERT INTO").unwrap();
    // Of the last event, which names the next file.
    change(2, &|bytes| {
        let at = bytes.len() - (19 + 8 + "b.000003".len() + 4) + 9;
        bytes[at..at + 4].copy_from_slice(&[3, 0, 0, 0]);
    });
    change(3, &|bytes| {
        let at = statement(bytes);
        bytes[at] ^= 1;
    });
    change(4, &|bytes| bytes[0] ^= 1);
    change(5, &|bytes| bytes.extend([0; 4096]));
    let ends = |bench: &Bench| {
        let (status, said) = bench.command(&["binlog", "ship"]);
        assert!(status.code() == Some(12) && said.contains("b.000004 is damaged: at 0 it is no binary log"), "{said}");
        let index = bench.index();
        let of = |file: &LogFile| (file.name.clone(), file.state, file.size);
        // Into the open one the server may write by itself meanwhile.
        let closed = index.timelines[0].files.iter().filter(|file| file.state != State::Open);
        (closed.map(of).collect::<Vec<_>>(), said)
    };
    let by_tool = far.bench(Compression::Zstd);
    let (ends_by_tool, said) = ends(&by_tool);
    for n in [2, 3, 5] {
        assert!(said.contains(&format!("b.00000{n} is damaged: at ")), "{said}");
    }
    assert!(said.contains("the server can't read its own event"), "{said}");
    // Both ways archive the same and find the same damaged.
    let by_files = Bench::new(&far.server, Compression::Zstd);
    assert_eq!(ends_by_tool, ends(&by_files).0);
    let closed = |bench: &Bench| {
        let contents = bench.contents().into_iter().filter(|((_, name), _)| name != "b.000007");
        contents.map(|(_, bytes)| bytes).collect::<Vec<_>>()
    };
    assert!(closed(&by_tool) == closed(&by_files));
    assert!(by_tool.verify().damaged.is_empty());
    by_tool.ship().unwrap();
    the_newest_file_may_be_damaged_too(&far, &by_tool);
}

/// A stream waits for the next file then, and goes on with that.
fn the_newest_file_may_be_damaged_too(far: &Distant, bench: &Bench) {
    far.server.sql("INSERT INTO shop.t (a) VALUES ('bad'); INSERT INTO shop.t (a) VALUES ('unread')");
    let (name, _) = far.end();
    let path = far.server.datadir().join(&name);
    let bytes = fs::read(&path).unwrap();
    let at = bytes.windows(5).position(|some| some == b"'bad'").unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"B", at as u64 + 1).unwrap();
    let stream = bench.stream();
    let told = || if stream.said().contains(&format!("{name} is damaged: at ")) { Ok(()) } else { Err(()) };
    retry::until(SOON, told).unwrap();
    far.server.sql("FLUSH BINARY LOGS; INSERT INTO shop.t (a) VALUES ('behind')");
    far.caught_up(bench);
    let (status, said) = stream.end();
    assert!(status.success(), "{said}");
    let index = bench.index();
    let [.., damaged, last] = index.timelines[0].files.as_slice() else { panic!("{index:?}") };
    assert!(damaged.state == State::Damaged && last.gap.is_some(), "{index:?}");
}

#[test]
fn what_was_purged_or_reset_before_the_tool_read_it_is_named() {
    let far = Distant::start(&[], GRANTS);
    let bench = far.bench(Compression::Zstd);
    bench.ship().unwrap();
    for _ in 0..3 {
        far.server.sql("INSERT INTO shop.t (a) VALUES ('lost'); FLUSH BINARY LOGS");
    }
    purge(&far.server, "b.000004");
    let (status, said) = bench.command(&["binlog", "ship"]);
    assert!(status.code() == Some(12) && said.contains("purged before it was archived"), "{said}");
    assert_eq!(bench.index().windows().len(), 2);
    far.server.sql("RESET MASTER; INSERT INTO shop.t (a) VALUES ('new')");
    let error = bench.ship().unwrap_err();
    assert!(kind_of(&error) == Some(Kind::Gap) && format!("{error:#}").contains("a new timeline begins"), "{error:#}");
    bench.ship().unwrap();
    bench.compare(&far.server);
    assert_eq!(bench.index().timelines.len(), 2);
    assert!(bench.verify().damaged.is_empty());
}

#[test]
fn a_stream_by_the_tool_notices_a_reset() {
    let far = Distant::start(&[], GRANTS);
    let bench = far.bench(Compression::Zstd);
    let stream = bench.stream();
    following(&bench);
    far.caught_up(&bench);
    // Nobody tells a replica of it.
    far.server.sql("RESET MASTER; INSERT INTO shop.t (a) VALUES ('new')");
    let noticed = || if bench.index().timelines.len() == 2 { Ok(()) } else { Err(()) };
    retry::until(SOON, noticed).unwrap();
    far.caught_up(&bench);
    let (status, said) = stream.end();
    assert!(status.success() && said.contains("a new timeline begins"), "{said}");
    bench.compare(&far.server);
}

#[test]
fn what_the_tool_lacks_is_named() {
    let far = Distant::start(&[], "BINLOG MONITOR, RELOAD");
    let bench = far.bench(Compression::Zstd);
    for arguments in [["binlog", "ship"], ["binlog", "stream"], ["check", "shop"]] {
        let (status, said) = bench.command(&arguments);
        assert!(!status.success() && said.contains("GRANT REPLICATION SLAVE ON *.* TO 'far'@"), "{said}");
        assert!(!said.contains("se#cr"), "{said}");
    }
    let error = bench.ship().unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Config), "{error:#}");
    assert!(spools(&bench.archive()).is_empty());
    far.server
        .sql("REVOKE BINLOG MONITOR ON *.* FROM far@localhost; REVOKE BINLOG MONITOR ON *.* FROM far@'127.0.0.1'");
    let error = bench.ship().unwrap_err();
    assert!(hints_of(&error)[0].contains("GRANT BINLOG MONITOR"), "{error:#}");
    far.server.sql(&format!("GRANT {GRANTS} ON *.* TO far@localhost; GRANT {GRANTS} ON *.* TO far@'127.0.0.1'"));
    let (_, said) = bench.command(&["check", "shop"]);
    assert!(said.contains("its binary logs are read by mariadb-binlog"), "{said}");
}

fn certificate(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/data/tls", name].iter().collect()
}

#[test]
fn the_tool_lets_the_server_prove_who_it_is() {
    let of = |name: &str| {
        let options = [("cert", certificate(name)), ("key", certificate("key.pem"))];
        let options = options.map(|(option, path)| format!("--ssl-{option}={}", path.display()));
        let mut far = Distant::start(&options.each_ref().map(String::as_str), GRANTS);
        far.server.sql("ALTER USER far@localhost REQUIRE SSL; ALTER USER far@'127.0.0.1' REQUIRE SSL");
        far.access.tls = Some(TlsMode::VerifyIdentity);
        far.access.ssl_ca = Some(certificate("authority.pem"));
        far
    };
    let far = of("right.pem");
    let bench = far.bench(Compression::Zstd);
    bench.ship().unwrap();
    bench.compare(&far.server);
    // We would not get so far as to start it.
    for name in ["another-name.pem", "self-signed.pem"] {
        let far = of(name);
        let (given, options) =
            (tempfile::tempdir().unwrap(), far.access.resolve().unwrap().tool_options(Flavour::MariaDb).unwrap());
        let tool =
            Call::new("mariadb-binlog").args(["--defaults-file=/dev/stdin", "--read-from-remote-server", "--raw"]);
        let to = format!("--result-file={}/", given.path().display());
        let error = tool.args([&to, "b.000001"]).stdin(options.reveal()).run().unwrap_err();
        assert!(error.stderr().unwrap().contains("SSL"), "{name}: {error}");
        assert_eq!(given.path().read_dir().unwrap().count(), 0, "{name}");
        assert_eq!(kind_of(&far.bench(Compression::Zstd).ship().unwrap_err()), Some(Kind::Config), "{name}");
    }
}

/// A server that encrypts its log, and its keys.
fn encrypting() -> (Distant, tempfile::NamedTempFile) {
    let keys = tempfile::NamedTempFile::new().unwrap();
    keys.as_file().write_all(b"1;a7addd9adea9978fda19f21e6be987880e68ac92632ca052e5bb42b1a506939a\n").unwrap();
    let file = format!("--file-key-management-filename={}", keys.path().display());
    let options = ["--plugin-load-add=file_key_management", &file, "--encrypt-binlog=1", "--max-binlog-size=1M"];
    (Distant::start(&options, GRANTS), keys)
}

#[test]
fn increments_are_made_of_what_the_tool_archived_with_a_stream_and_without() {
    let (far, _keys) = encrypting();
    let bench = Bench::new(&far.server, Compression::Zstd);
    let to = bench.archive().with_file_name("backups");
    bench.configure(&format!(
        "[job.often]\nto = {to:?}\nmethod = \"dump\"\nsource = \"live\"\nincremental = \"binlog\"\n"
    ));
    let backup = || {
        far.server.sql("INSERT INTO shop.t (a) VALUES ('more')");
        let (status, said) = bench.command(&["backup", "often"]);
        assert!(status.success(), "{said}");
        said
    };
    assert!(backup().contains("dump"));
    let alone = backup();
    let stream = bench.stream();
    following(&bench);
    let beside = backup();
    ended_well(stream);
    for said in [alone, beside] {
        assert!(said.contains("increment"), "{said}");
    }
    let (_, listed) = bench.command(&["list", "--json"]);
    let rows: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let manifests: Vec<_> = rows.as_array().unwrap().iter().map(|row| &row["manifest"]).collect();
    assert!(manifests.len() == 3 && manifests[..2].iter().all(|one| one["increment"].is_object()), "{listed}");
    let (status, said) = bench.command(&["verify", manifests[0]["id"].as_str().unwrap()]);
    assert!(status.success(), "{said}");
}

#[test]
fn an_encrypted_log_is_archived_as_the_server_decrypts_it() {
    let (far, _keys) = encrypting();
    let bench = far.bench(Compression::Zstd).by_itself();
    let (_, said) = bench.command(&["check", "shop"]);
    assert!(said.contains("the server encrypts its binary log (encrypt_binlog is on)"), "{said}");
    let writers = Writers::start(&far.server, 2);
    bench.ship().unwrap();
    let stream = bench.stream();
    following(&bench);
    far.server.sql(LARGE);
    drop(writers);
    far.server.sql("FLUSH BINARY LOGS; INSERT INTO shop.t (a) VALUES ('behind the rotation')");
    far.caught_up(&bench);
    ended_well(stream);
    assert_eq!(bench.index().windows().len(), 1);
    assert!(bench.verify().damaged.is_empty());
    is_what_the_tool_gives(&far, &bench);
    let (status, found) = bench.command(&["binlog", "find", "--text", "behind the rotation"]);
    assert!(status.success() && found.contains("INSERT INTO shop.t"), "{found}");
    a_log_that_is_encrypted_no_more_goes_on(&far, &bench);
}

/// The file in which the archive ends is encrypted as before, and those behind it are not.
fn a_log_that_is_encrypted_no_more_goes_on(far: &Distant, bench: &Bench) {
    far.server.kill();
    far.server.start_again_with(&["--encrypt-binlog=0"]);
    far.server.sql("INSERT INTO shop.t (a) VALUES ('in the clear'); FLUSH BINARY LOGS");
    let (status, said) = bench.command(&["binlog", "ship"]);
    assert!(status.success() && said.contains("the server encrypted its binary log as far as b.0000"), "{said}");
    far.server.sql("INSERT INTO shop.t (a) VALUES ('by its files'); FLUSH BINARY LOGS");
    let dead = bench.archive().join(".spool-dead");
    fs::create_dir(&dead).unwrap();
    let (status, said) = bench.command(&["binlog", "ship"]);
    assert!(status.success() && !said.contains("mariadb-binlog") && !dead.exists(), "{said}");
    assert_eq!(bench.index().windows().len(), 1);
    assert!(bench.verify().damaged.is_empty());
    for text in ["behind the rotation", "in the clear", "by its files"] {
        let (status, found) = bench.command(&["binlog", "find", "--text", text]);
        assert!(status.success() && found.contains("INSERT INTO shop.t"), "{text}: {found}");
    }
}

/// Each archived file is as long as the server's, and what the server hands out decrypted.
fn is_what_the_tool_gives(far: &Distant, bench: &Bench) {
    let given = tempfile::tempdir().unwrap();
    let listed = far.server.sql("SHOW BINARY LOGS");
    let contents = bench.contents();
    assert!(listed.lines().count() > 2 && contents.len() == listed.lines().count(), "{listed}");
    for ((_, name), here) in contents {
        let socket = format!("--socket={}", far.server.socket().display());
        let to = format!("--result-file={}/", given.path().display());
        let tool = Call::new("mariadb-binlog").args(["--no-defaults", "-uroot", "-R", "--raw"]);
        tool.args([&socket, &to, &name]).run().unwrap();
        let there = fs::read(given.path().join(&name)).unwrap();
        // Into the open one the server may write by itself meanwhile.
        let (same, more) = there.split_at(here.len());
        assert!(same == here && are_checkpoints(more), "{name} differs");
        let listed = listed.contains(&format!("{name}\t{}\n", here.len()));
        assert!(listed || !more.is_empty(), "{name} is not as long as the server's");
        assert!(fs::read(far.server.datadir().join(&name)).unwrap() != here, "{name} is not encrypted");
    }
}
