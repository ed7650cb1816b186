//! Publishing on another node, cut short: a backup is whole or absent, and what is told of it is so.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mysnap::fault::{Kind, hints_of, kind_of};
use mysnap::sys::cmd::Call;
use mysnap::sys::durable;

use crate::sshd::Sshd;
use crate::suite::{Bench, FIRST, Place, plain_tree};

/// A node whose programs can be made to go wrong.
struct Node {
    sshd: Sshd,
    directory: tempfile::TempDir,
    bench: Bench,
}

impl Node {
    fn start() -> Self {
        let (sshd, directory) = (Sshd::start(), tempfile::tempdir().unwrap());
        let here = Bench::here(&directory.path().canonicalize().unwrap());
        let bench = Bench { prefix: Sshd::prefix(), ssh: sshd.options("known", "user"), ..here };
        Self { sshd, directory, bench }
    }

    fn place(&self) -> Place<'_> {
        Place::at(&self.bench, self.destination())
    }

    fn destination(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join("backups")
    }

    fn reached(&self) -> PathBuf {
        self.directory.path().join("reached")
    }

    /// From now on `program` is this script over there, which finds the real one.
    fn replace(&self, program: &str, script: &str) {
        let path = self.sshd.path().join("bin").join(program);
        durable::create_private_directory(path.parent().unwrap()).unwrap();
        let text = format!("#!/bin/sh\nPATH=/usr/local/bin:/usr/bin:/bin\n{script}\n");
        durable::write(&path, text.as_bytes()).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// `mv` of what is published says that it has done so, and takes its time then.
    fn publish_slowly(&self) {
        let (unfinished, reached) = (format!("*.unfinished-{FIRST}*"), self.reached().display().to_string());
        self.replace("mv", &format!("mv \"$@\" || exit\ncase \"$*\" in {unfinished}) touch {reached}; sleep 3;; esac"));
    }

    /// Cuts all its connections, without a word.
    fn cut(&self) {
        let daemon = std::fs::read_to_string(self.sshd.path().join("pid")).unwrap();
        Call::new("pkill").args(["-KILL", "-P", daemon.trim()]).run().unwrap();
    }

    fn works(&self) -> bool {
        let destination = self.destination().display().to_string();
        Call::new("pgrep").args(["-f", &format!("mysnap {destination}")]).finish().unwrap().status.success()
    }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "{what} takes too long");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What comes of publishing `source` when `then` happens at the moment that the node has reached.
fn published(node: &Node, place: &Place<'_>, slow: impl FnOnce(), then: impl FnOnce() + Send) -> anyhow::Result<()> {
    let (staging, copied, manifest) = place.copy(FIRST, &place.sources()).unwrap();
    slow();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            until("publishing", || node.reached().exists());
            then();
        });
        staging.commit(manifest, &copied.files).map(drop)
    })
}

#[test]
fn a_list_of_files_that_does_not_arrive_whole_publishes_nothing() {
    for is_cut in [false, true] {
        let node = Node::start();
        let place = node.place();
        // More than a connection holds on its way.
        for n in 0..4000 {
            std::fs::File::create(place.source().join(format!("{n:0>200}"))).unwrap();
        }
        let reached = node.reached().display().to_string();
        let slow =
            || node.replace("sync", &format!("[ \"$1\" != -f ] || {{ touch {reached}; sleep 2; }}\nexec sync \"$@\""));
        let then = || if is_cut { node.cut() } else { place.cancel().set(15) };
        let error = published(&node, &place, slow, then).unwrap_err();
        assert_eq!(kind_of(&error), Some(if is_cut { Kind::Copy } else { Kind::Cancelled }), "{error:#}");
        // Nobody tells a script over there that its connection is gone.
        until("the script over there", || !node.works());
        let catalog = node.place().catalog();
        assert!(catalog.items.is_empty() && catalog.leftovers.len() == 1, "{catalog:?}");
    }
}

#[test]
fn what_a_node_publishes_is_told_whatever_ends_the_connection() {
    for is_cut in [false, true] {
        let node = Node::start();
        let place = node.place();
        plain_tree(place.source());
        let then = || if is_cut { node.cut() } else { place.cancel().set(15) };
        published(&node, &place, || node.publish_slowly(), then).unwrap();
        assert!(node.place().verify(FIRST).is_good());
    }
}

#[test]
fn a_node_that_does_not_say_whether_it_has_published_is_told_of_so() {
    let node = Node::start();
    let place = node.place();
    plain_tree(place.source());
    let gone = || {
        node.cut();
        node.sshd.end();
    };
    let error = published(&node, &place, || node.publish_slowly(), gone).unwrap_err();
    assert_eq!(kind_of(&error), Some(Kind::Copy), "{error:#}");
    assert!(format!("{error:#}").contains("has not answered whether"), "{error:#}");
    assert!(hints_of(&error).join(" ").contains("`mysnap list` shows it"), "{:?}", hints_of(&error));
    assert!(node.destination().join(format!("nightly/{FIRST}/manifest.json")).exists());
}
