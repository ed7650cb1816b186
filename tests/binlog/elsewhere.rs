//! An archive on another node: the same host behind an ssh server, where mysnap is found in a directory of the test.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mysnap::binlog::{Home, SILENCE};
use mysnap::dump::Compression;
use mysnap::fault::{Kind, hints_of, kind_of};
use mysnap::store::Destination;
use mysnap::sys::{durable, retry};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bench::{self, Bench, Stream, Writers};
use crate::server::Server;
use crate::sshd::Sshd;
use crate::{LARGE, TABLE};

/// Another node.
pub struct Node {
    sshd: Sshd,
    directory: tempfile::TempDir,
}

impl Node {
    pub fn start() -> Self {
        let (sshd, directory) = (Sshd::start(), tempfile::tempdir().unwrap());
        let (bin, login) = (directory.path().join("bin"), directory.path().join("login"));
        std::fs::create_dir(&bin).unwrap();
        let script = format!(
            "#!/bin/sh\nexec sh -c \"$(printf '%s\\n' \"$SSH_ORIGINAL_COMMAND\" | sed 's#/usr/local/sbin:#{}:&#')\"\n",
            bin.display()
        );
        durable::write(&login, script.as_bytes()).unwrap();
        std::fs::set_permissions(&login, std::fs::Permissions::from_mode(0o700)).unwrap();
        let key = std::fs::read_to_string(sshd.path().join("user.pub")).unwrap();
        let line = format!("command=\"{}\" {key}", login.display());
        durable::write(&sshd.path().join("authorized"), line.as_bytes()).unwrap();
        let node = Self { sshd, directory };
        node.install(true);
        node
    }

    fn install(&self, there: bool) {
        let path = self.directory.path().join("bin/mysnap");
        if there {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mysnap"), path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }

    pub fn bench(&self, server: &Server, to: &Path, compression: Compression) -> Bench {
        let destination: Destination = format!("{}{}", Sshd::prefix(), to.display()).parse().unwrap();
        Bench::elsewhere(server, &destination, &self.sshd.options("known", "user"), compression)
    }

    pub fn directory(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// An archive, the stream that writes it, and what that must have said.
type Followed = (Bench, Stream, &'static str);

/// The process that writes the archive.
fn receiver(bench: &Bench) -> Pid {
    let named = || {
        let text = std::fs::read_to_string(bench.archive().join(".lock")).map_err(|_| ())?;
        let number = text.trim().strip_prefix("process ").and_then(|number| number.parse().ok()).ok_or(())?;
        if Path::new(&format!("/proc/{number}")).exists() { Ok(Pid::from_raw(number)) } else { Err(()) }
    };
    retry::until(Duration::from_secs(20), named).unwrap()
}

/// The process of sshd through which it is reached.
fn connection(receiver: Pid) -> Pid {
    let stat = std::fs::read_to_string(format!("/proc/{receiver}/stat")).unwrap();
    Pid::from_raw(stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap())
}

fn another_than(bench: &Bench, former: Pid) {
    let another = || if receiver(bench) == former { Err(()) } else { Ok(()) };
    retry::until(2 * SILENCE + Duration::from_secs(10), another).unwrap();
}

#[test]
fn an_archive_on_another_node_is_whole_whatever_is_killed_cut_or_full() {
    let server = Server::start_with(&["--max-binlog-size=1M"]);
    server.sql(TABLE);
    let node = Node::start();
    let writers = Writers::start(&server, 1);
    let (used, followed) = std::thread::scope(|scope| {
        let (server, node) = (&server, &node);
        let works: [fn(&Server, &Node) -> Followed; 3] = [is_killed, is_half_open, is_full];
        let threads = works.map(|work| scope.spawn(move || work(server, node)));
        let used = is_used_as_one_on_this_host(server, node);
        (used, threads.map(|thread| thread.join().unwrap()))
    });
    drop(writers);
    node.install(false);
    let error = used.ship().unwrap_err();
    assert!(kind_of(&error) == Some(Kind::Refused) && hints_of(&error)[0].contains("install mysnap"), "{error:#}");
    node.install(true);
    used.ship().unwrap();
    assert!(used.compare(&server) > 2);
    let place = server.log_end();
    for (bench, stream, told) in followed {
        let caught_up = || {
            let end = bench.end();
            if (&end.file, end.offset) >= (&place.0, place.1) { Ok(()) } else { Err(end) }
        };
        retry::until(Duration::from_secs(60), caught_up).unwrap();
        let (status, said) = stream.end();
        assert!(status.success() && said.contains(told) && !said.contains("no restore can cross"), "{told}: {said}");
        bench.compare(&server);
        assert_eq!(bench.index().windows().len(), 1, "{told}");
        assert!(bench.verify().damaged.is_empty(), "{told}");
        assert!(!bench.pulse().streams, "{told}: the node did not end in order");
    }
}

fn is_used_as_one_on_this_host(server: &Server, node: &Node) -> Bench {
    let bench = node.bench(server, &node.directory("used"), Compression::Zstd);
    let (_, said) = bench.command(&["check", "shop"]);
    assert!(said.contains("is there to write it") && said.contains("it holds nothing yet"), "{said}");
    server.sql("CREATE TABLE shop.gone (id INT); DROP TABLE shop.gone; FLUSH BINARY LOGS");
    let (status, said) = bench.command(&["binlog", "ship", "--rotate"]);
    assert!(status.success(), "{said}");
    let (status, listed) = bench.command(&["binlog", "list"]);
    assert!(status.success() && listed.matches("window").count() == 1, "{listed}");
    let (status, said) = bench.command(&["binlog", "verify"]);
    assert!(status.success() && said.contains("the archive is whole"), "{said}");
    let (status, found) = bench.command(&["binlog", "find", "--kind", "drop"]);
    assert!(status.success() && found.contains("DROP TABLE"), "{found}");
    assert_eq!(bench.status("shop")[0]["level"], "ok");

    let lock = Home::new(bench.archive()).lock().unwrap();
    let error = bench.ship().unwrap_err();
    assert!(kind_of(&error) == Some(Kind::Busy) && format!("{error:#}").contains("is held by process"), "{error:#}");
    drop(lock);
    bench
}

/// On both sides, and between them.
fn is_killed(server: &Server, node: &Node) -> Followed {
    let bench = node.bench(server, &node.directory("killed"), Compression::Zstd);
    for pause in [50, 900, 400] {
        let stream = bench.stream();
        std::thread::sleep(Duration::from_millis(pause));
        stream.kill();
    }
    let stream = bench.stream();
    // Whoever received for one of those that were killed needs a moment to notice, and ends by itself.
    let killed = || {
        let pid = receiver(&bench);
        std::thread::sleep(Duration::from_millis(700));
        kill(pid, Signal::SIGKILL).map(|()| pid)
    };
    let first = retry::until(2 * SILENCE, killed).unwrap();
    another_than(&bench, first);
    std::thread::sleep(Duration::from_millis(300));
    let second = receiver(&bench);
    kill(connection(second), Signal::SIGKILL).unwrap();
    another_than(&bench, second);
    (bench, stream, "the archive goes on")
}

/// Nothing goes through any more, and nobody is told.
fn is_half_open(server: &Server, node: &Node) -> Followed {
    let bench = node.bench(server, &node.directory("half-open"), Compression::Gzip);
    let stream = bench.stream();
    let first = receiver(&bench);
    std::thread::sleep(Duration::from_millis(500));
    let way = connection(first);
    kill(way, Signal::SIGSTOP).unwrap();
    another_than(&bench, first);
    kill(way, Signal::SIGCONT).unwrap();
    (bench, stream, "has said nothing for 10.0 s; it is tried again")
}

fn is_full(server: &Server, node: &Node) -> Followed {
    let small = bench::Tmpfs::mount("3M");
    let bench = node.bench(server, small.path(), Compression::None);
    let stream = bench.stream();
    for _ in 0..2 {
        server.sql(&LARGE);
    }
    // The log alone may be more than fits, so whoever receives may not even have the room to name itself.
    let full = || if stream.said().contains("No space left") { Ok(()) } else { Err(stream.said()) };
    retry::until(Duration::from_secs(60), full).unwrap();
    std::thread::sleep(Duration::from_millis(800));
    small.grow("512M");
    std::thread::sleep(Duration::from_secs(5));
    (bench.keeping(small), stream, "No space left")
}
