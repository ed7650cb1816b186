//! The ways to a snapshot.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use mysql::prelude::Queryable as _;

use crate::ground::{self, CONFIGURATION, Ground, ORIGIN, run, timed_lines};
use crate::writers::Writers;

/// The volume that the sequence by hand makes.
const BY_HAND: &str = "vg0/by-hand";
/// How long the clients write undisturbed, to show what the machine itself makes them wait.
const NOTHING: Duration = Duration::from_secs(2);

/// A way to a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// No snapshot at all.
    Nothing,
    /// The four steps that everybody begins with.
    ByHand,
    /// `mysnap backup`.
    Mysnap,
    /// `mylvmbackup`.
    Mylvmbackup,
}

/// What a way did.
pub struct Taken {
    /// From having the database lock to having given it back.
    pub locked: Duration,
    /// From asking for it to having it.
    pub waited: Duration,
    /// When the snapshot was there and the database free.
    pub ready: Instant,
    /// What the time under the lock went to, in milliseconds, where it is known.
    pub parts: Vec<(String, u64)>,
    /// What else must be said.
    pub note: Option<String>,
}

impl Way {
    /// All of them, each round another one first.
    pub fn in_turn(ground: &Ground, round: u32) -> Vec<Self> {
        let mut ways = vec![Self::Nothing, Self::ByHand, Self::Mysnap];
        ways.extend(ground.has_mylvmbackup.then_some(Self::Mylvmbackup));
        let first = usize::try_from(round).unwrap_or_default() % ways.len();
        ways.rotate_left(first);
        ways
    }

    /// How the figures call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::ByHand => "by_hand",
            Self::Mysnap => "mysnap",
            Self::Mylvmbackup => "mylvmbackup",
        }
    }

    /// Takes it. The writers may rest once the snapshot is there.
    pub fn take(self, ground: &Ground, writers: &Writers) -> anyhow::Result<Taken> {
        match self {
            Self::Nothing => Ok(nothing()),
            Self::ByHand => by_hand(ground),
            Self::Mysnap => mysnap(writers),
            Self::Mylvmbackup => mylvmbackup(ground),
        }
    }
}

fn nothing() -> Taken {
    std::thread::sleep(NOTHING);
    Taken { locked: Duration::ZERO, waited: Duration::ZERO, ready: Instant::now(), parts: Vec::new(), note: None }
}

fn by_hand(ground: &Ground) -> anyhow::Result<Taken> {
    let mut session = ground::session()?;
    let size = format!("{}b", ground.store);
    let mut lvcreate = vec!["lvcreate", "-s", "-n", "by-hand"];
    if !ground.is_thin {
        lvcreate.extend(["-L", &size]);
    }
    lvcreate.push(ORIGIN);

    let asked = Instant::now();
    session.query_drop("FLUSH TABLES WITH READ LOCK")?;
    let granted = Instant::now();
    let position: Option<mysql::Row> = session.query_first(ground.position_query())?;
    run(&lvcreate)?;
    session.query_drop("UNLOCK TABLES")?;
    let ready = Instant::now();

    run(&["lvremove", "-q", "-y", BY_HAND])?;
    position.context("the server has a binary log")?;
    Ok(Taken { locked: ready - granted, waited: granted - asked, ready, parts: Vec::new(), note: None })
}

fn mysnap(writers: &Writers) -> anyhow::Result<Taken> {
    let argv = ["mysnap", "--events", "json", "--config", CONFIGURATION, "backup", "bench"];
    // A phase begins when the one before it has ended: the snapshot is complete, and is then copied.
    let complete = r#"{"event":"phase","name":"mount"}"#;
    let (lines, succeeded) = timed_lines(&argv, &[], |line| {
        if line == complete {
            writers.rest();
        }
    })?;
    if !succeeded {
        bail!("{argv:?} failed: {:?}", lines.last());
    }
    let ready = moment(&lines, complete)?;
    let manifest = ground::manifest()?;
    let figure = |name: &str| {
        let value = manifest.pointer(name).and_then(serde_json::Value::as_u64);
        value.map(Duration::from_millis).with_context(|| format!("{name} is not in the manifest"))
    };
    let parts = manifest.pointer("/hold/parts").and_then(serde_json::Value::as_array);
    let parts = parts.context("what the hold went to is not in the manifest")?;
    let part = |part: &serde_json::Value| Some((part["name"].as_str()?.to_owned(), part["ms"].as_u64()?));
    let parts = parts.iter().filter_map(part).collect();
    Ok(Taken { locked: figure("/hold/held_ms")?, waited: figure("/hold/waited_ms")?, ready, parts, note: None })
}

/// Its own log tells when it has the lock and when it gave it back; it logs in whole seconds, so the
/// lines are timed as they come.
fn mylvmbackup(ground: &Ground) -> anyhow::Result<Taken> {
    let size = format!("--lvsize={}b", ground.store);
    let mut argv = vec!["mylvmbackup", "--vgname=vg0", "--lvname=data", "--socket=/run/mysqld/mysqld.sock"];
    argv.extend(["--mountdir=/srv/bench/mnt", "--backupdir=/srv/bench/mylvmbackup"]);
    // The copy itself is rsync's or tar's and is measured elsewhere. Its one hook rotates the logs.
    argv.extend(["--backuptype=none", "--skip_hooks", "--skip_mycnf"]);
    argv.push(if ground.is_thin { "--thin" } else { &size });
    argv.extend(ground.is_xfs.then_some("--xfs"));
    // Perl keeps lines back where it does not write to a terminal.
    let (lines, succeeded) = timed_lines(&argv, &[("PERL5OPT", "-MIO::Handle;$|=1")], |_| {})?;

    let asked = moment(&lines, "Flushing tables with read lock")?;
    let granted = moment(&lines, "Taking position record")?;
    let released = moment(&lines, "Disconnecting from database")?;
    if !lines.iter().any(|(_, line)| line.contains("DONE: taking LVM snapshot")) {
        bail!("mylvmbackup made no snapshot: {lines:?}");
    }
    let errors: Vec<&str> = lines.iter().filter_map(|(_, line)| Some(line.split_once("Error: ")?.1)).collect();
    let note = (!succeeded).then(|| format!("ends with an error: {}", errors.join("; ")));
    Ok(Taken { locked: released - granted, waited: granted - asked, ready: released, parts: Vec::new(), note })
}

fn moment(lines: &[(Instant, String)], text: &str) -> anyhow::Result<Instant> {
    let line = lines.iter().find(|(_, line)| line.contains(text));
    line.map(|(at, _)| *at).with_context(|| format!("{text:?} was not said: {lines:?}"))
}
