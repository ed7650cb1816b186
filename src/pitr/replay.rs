//! The replay: files laid into the data as relay logs, an isolated server that executes them, and a comparison.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use super::Plan;
use super::base::Base;
use super::scan::{Part, Way};
use super::stopped;
use super::stored::Stored;
use crate::binlog::Home;
use crate::binlog::gtid::{Gtid, GtidSet};
use crate::fault::{Fault, Kind};
use crate::instance::{self, Instance, RELAY_LOG};
use crate::run::events::{Event, Observer};
use crate::server::{BinlogPosition, Replayed, Replayer};
use crate::store::Method;
use crate::sys::cancel::Cancel;
use crate::sys::durable;
use crate::sys::units::{Bytes, human_duration};

/// How often the server is asked.
const PAUSE: Duration = Duration::from_millis(100);

/// What came of a replay.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Outcome {
    /// How many transactions were replayed.
    pub transactions: u64,
    /// How many bytes of events.
    pub bytes: u64,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// Replays what was planned onto `base`, and has `using` use the server before it is shut down in order.
pub(super) fn replay<T>(
    plan: &Plan<'_>,
    base: &Base<'_>,
    archive: &Home,
    observer: &dyn Observer,
    cancel: &Cancel,
    using: impl FnOnce(&mut Instance) -> anyhow::Result<T>,
) -> anyhow::Result<(Outcome, T)> {
    let data = datadir(base)?;
    let lay = || lay(plan, archive, &data, cancel);
    observer.phase("logs", lay, |()| format!("{} laid ready", Bytes(plan.way.room())))?;
    let answers =
        |server: &Instance| format!("an isolated server answers after {}", human_duration(server.started_in()));
    let mut instance = observer.phase("start", || start(base, cancel), answers)?;
    let worked = execute((plan, archive), base, &instance, observer, cancel)
        .and_then(|outcome| Ok((outcome, using(&mut instance)?)));
    let worked = worked.map_err(|error| instance.explained(error));
    // What a server says that was ended because of us is no finding.
    cancel.check()?;
    let (outcome, used) = worked?;
    let leave = || {
        Replayer::connect(instance.address(), &base.manifest.server)?.leave(instance::ACCOUNT)?;
        instance.stop()
    };
    observer.phase("stop", leave, |()| "it ended in order".to_owned())?;
    remove_relay_logs(&data)?;
    Ok((outcome, used))
}

fn datadir(base: &Base<'_>) -> anyhow::Result<PathBuf> {
    let part = base.parts.iter().find(|part| part.root.is_datadir()).context("there is no data directory")?;
    Ok(part.here.clone())
}

fn start(base: &Base<'_>, cancel: &Cancel) -> anyhow::Result<Instance> {
    let facts = &base.manifest.server;
    if base.manifest.method == Method::Dump {
        return Instance::replay_made(facts, base.home, cancel);
    }
    Instance::replay(facts, &base.parts, &base.home.join("replay"), cancel)
}

fn name(number: usize) -> String {
    format!("{RELAY_LOG}.{number:06}")
}

/// Each file from its beginning, since that says how it is written, the last one up to the stop.
fn lay(plan: &Plan<'_>, archive: &Home, data: &Path, cancel: &Cancel) -> anyhow::Result<()> {
    let owner = data.metadata().with_context(|| format!("cannot look at {}", data.display()))?;
    let owned = |path: &Path| -> anyhow::Result<File> {
        let file = durable::create_private_file(path)?;
        fchown(&file, Some(owner.uid()), Some(owner.gid()))
            .with_context(|| format!("cannot give {} away", path.display()))?;
        Ok(file)
    };
    // What a server has left that let go of its sources.
    remove_relay_logs(data)?;
    let mut names = Vec::new();
    for (n, Part { file, to, sha256, .. }) in plan.way.parts.iter().enumerate() {
        cancel.check()?;
        let path = data.join(name(n + 1));
        let logged = plan.route.timeline.file(file).with_context(|| format!("{file} is not archived any more"))?;
        let mut from = Stored::open(archive, &plan.route.timeline.id, logged)?;
        let copied = std::io::copy(&mut from.by_ref().take(*to), &mut owned(&path)?);
        let copied = copied.with_context(|| format!("cannot copy {file} to {}", path.display()))?;
        let digest = sha256.map(|_| from.digest()).transpose();
        let digest = digest.with_context(|| format!("cannot read the archived {file}"))?;
        if copied != *to || digest != *sha256 {
            let message = format!("the archived {file} is not any more what it was when the plan was made");
            return Err(Fault::new(Kind::Verify, message).hint("look at its disk; then plan anew").into());
        }
        names.push(format!("./{}\n", name(n + 1)));
    }
    if names.is_empty() {
        return Ok(());
    }
    std::io::Write::write_all(&mut owned(&data.join(format!("{RELAY_LOG}.index")))?, names.concat().as_bytes())?;
    Ok(())
}

/// What a server itself has made of that name.
fn remove_relay_logs(data: &Path) -> anyhow::Result<()> {
    for entry in data.read_dir().with_context(|| format!("cannot look into {}", data.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(RELAY_LOG) {
            durable::remove_file(&entry.path())?;
        }
    }
    Ok(())
}

fn execute(
    (plan, archive): (&Plan<'_>, &Home),
    base: &Base<'_>,
    instance: &Instance,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<Outcome> {
    let facts = &base.manifest.server;
    let mut replayer = Replayer::connect(instance.address(), facts)?;
    let recorded = base.manifest.position.gtid_set.as_deref().filter(|set| !set.is_empty());
    if let Some(set) = recorded.filter(|_| base.manifest.method == Method::Dump) {
        replayer.take_for_executed(set)?;
    }
    let told = |()| format!("{} transactions, {}", plan.way.transactions, Bytes(plan.way.bytes()));
    if let Some(first) = plan.way.parts.first() {
        let run = || {
            replayer.start(&name(1), first.from)?;
            follow((plan, archive), (&mut replayer, instance), observer, cancel)?;
            compare(&plan.way, recorded, &mut replayer)
        };
        observer.phase("replay", run, |()| told(()))?;
        replayer.end()?;
    }
    let warnings = warnings(&mut replayer, facts.replica)?;
    Ok(Outcome { transactions: plan.way.transactions, bytes: plan.way.bytes(), warnings })
}

/// Waits until everything is executed.
fn follow(
    (plan, archive): (&Plan<'_>, &Home),
    (replayer, instance): (&mut Replayer, &Instance),
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<()> {
    let total = Bytes(plan.way.executed_bytes());
    loop {
        let replayed = replayer.replayed()?;
        let (part, done) = place(&plan.way, &replayed);
        observer.event(Event::Progress { done: Bytes(done), total });
        if done >= total.0 || replayed.runs && replayed.waits {
            return Ok(());
        }
        if !replayed.runs {
            let told = part.map_or_else(|| replayed.file.clone(), |part| part.file.clone());
            let told = BinlogPosition { file: told, offset: replayed.offset };
            return Err(stopped::stopped((plan, archive), &told, replayed.error, (replayer, instance)));
        }
        cancel.sleep(PAUSE)?;
    }
}

/// Which file of the server's it is at, and how many bytes are done. Behind the last file is one that the server
/// itself has made.
fn place<'a>(way: &'a Way, replayed: &Replayed) -> (Option<&'a Part>, u64) {
    let number = replayed.file.rsplit_once('.').and_then(|(_, number)| number.parse::<usize>().ok()).unwrap_or(0);
    let before: u64 = way.parts.iter().take(number.saturating_sub(1)).map(|part| part.to - part.from).sum();
    let part = number.checked_sub(1).and_then(|at| way.parts.get(at));
    let within = part.map_or(0, |part| replayed.offset.clamp(part.from, part.to) - part.from);
    (part, before + within)
}

/// The server stands behind the last transaction: it says so together with its changes, and alone where they have no
/// names (MySQL with `gtid_mode = OFF`).
fn compare_place(way: &Way, replayed: &Replayed) -> anyhow::Result<()> {
    let (part, done) = place(way, replayed);
    let (true, Some(last)) = (done < way.executed_bytes(), &way.last_end) else { return Ok(()) };
    let file = part.map_or(replayed.file.as_str(), |part| part.file.as_str());
    let (at, BinlogPosition { file: last, offset }) = (replayed.offset, last);
    let message = format!("the server says that it has executed everything up to {file}:{at}, and not {last}:{offset}");
    Err(Fault::new(Kind::Verify, message).hint("nothing was put in place; try another base").into())
}

/// The names of the transactions that the server has executed are those that were read, and on MySQL, which tells all
/// of them, those of the base: no more and no less.
fn compare(way: &Way, recorded: Option<&str>, replayer: &mut Replayer) -> anyhow::Result<()> {
    compare_place(way, &replayer.replayed()?)?;
    let Some(executed) = replayer.executed()? else { return Ok(()) };
    let executed_set: GtidSet = executed.parse().map_err(anyhow::Error::msg)?;
    let expected = way.expected();
    let all = recorded.filter(|_| way.last_of_domains.is_empty()).and_then(|recorded| way.executed_after(recorded));
    let all: Option<GtidSet> = all.map(|all| all.parse().map_err(anyhow::Error::msg)).transpose()?;
    if executed_set.has_all(&expected) && all.as_ref().is_none_or(|all| *all == executed_set) {
        return Ok(());
    }
    let expected = all.unwrap_or(expected);
    let message = format!("the server says that it has executed {executed}, and not {expected}");
    Err(Fault::new(Kind::Verify, message).hint("nothing was put in place; try another base").into())
}

impl Way {
    /// The transactions that a server tells after the replay: MariaDB the last one of each domain.
    fn expected(&self) -> GtidSet {
        let mut set = if self.last_of_domains.is_empty() { self.gtids.clone() } else { GtidSet::default() };
        self.last_of_domains.values().for_each(|gtid| set.add(gtid));
        set
    }

    /// What a server has executed that had executed `recorded` before.
    pub(super) fn executed_after(&self, recorded: &str) -> Option<String> {
        let mut set: GtidSet = recorded.parse().ok()?;
        set.join(&self.gtids);
        let replaced =
            |gtid: &Gtid| matches!(gtid, Gtid::MariaDb { domain, .. } if self.last_of_domains.contains_key(domain));
        set.remove_if(&replaced);
        self.last_of_domains.values().for_each(|gtid| set.add(gtid));
        Some(set.to_string())
    }
}

fn warnings(replayer: &mut Replayer, was_replica: bool) -> anyhow::Result<Vec<String>> {
    let undecided = replayer.undecided()?.into_iter().map(|id| {
        format!("the distributed transaction {id:?} is prepared and keeps its locks: XA COMMIT or XA ROLLBACK decides")
    });
    let off = replayer.switched_off()?.into_iter().map(|event| {
        format!("the event {event} was made or changed meanwhile and is switched off: ALTER EVENT {event} ENABLE")
    });
    let replica = was_replica.then(|| "it was a replica, and replicates from nobody now".to_owned());
    Ok(undecided.chain(off).chain(replica).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::BinlogPosition;

    fn way() -> Way {
        let part = |file: &str, from, to| Part { file: file.to_owned(), from, to, sha256: None };
        Way {
            stop: BinlogPosition { file: "b.000002".into(), offset: 300 },
            parts: vec![part("b.000001", 100, 1000), part("b.000002", 4, 300)],
            last_end: Some(BinlogPosition { file: "b.000002".into(), offset: 280 }),
            transactions: 3,
            events: 9,
            statements: 0,
            times: None,
            gtids: "0-1-5,0-2-6".parse().unwrap(),
            last_of_domains: [(0, "0-2-6".parse().unwrap())].into(),
            note: None,
            damage: None,
        }
    }

    #[test]
    fn it_is_over_when_the_last_transaction_is_done() {
        assert_eq!(way().executed_bytes(), 1176);
        let last_end = Some(BinlogPosition { file: "b.000001".into(), offset: 900 });
        assert_eq!(Way { last_end, ..way() }.executed_bytes(), 800);
        assert_eq!(Way { last_end: None, ..way() }.executed_bytes(), 0);
        let at = |file: &str, offset| {
            let replayed = Replayed { file: file.to_owned(), offset, runs: true, waits: false, error: None };
            place(&way(), &replayed).1
        };
        assert_eq!(way().bytes(), 1196);
        assert_eq!((at("mysnap-relay.000001", 100), at("mysnap-relay.000001", 1000)), (0, 900));
        assert_eq!((at("mysnap-relay.000002", 4), at("mysnap-relay.000002", 300)), (900, 1196));
        assert_eq!(at("mysnap-relay.000003", 4), 1196);
    }

    #[test]
    fn a_server_that_stands_before_the_last_transaction_has_not_executed_it() {
        let at = |file: &str, offset| {
            let replayed = Replayed { file: file.to_owned(), offset, runs: true, waits: true, error: None };
            compare_place(&way(), &replayed).map_err(|error| error.to_string())
        };
        let short = at("mysnap-relay.000002", 200).unwrap_err();
        assert!(short.contains("up to b.000002:200, and not b.000002:280"), "{short}");
        assert!(at("mysnap-relay.000001", 1000).is_err());
        assert_eq!((at("mysnap-relay.000002", 280), at("mysnap-relay.000003", 4)), (Ok(()), Ok(())));
    }

    #[test]
    fn of_mariadb_the_last_of_each_domain_counts() {
        assert_eq!(way().expected().to_string(), "0-2-6");
        assert_eq!(way().executed_after("0-1-4,7-1-3").unwrap(), "0-2-6,7-1-3");
        let uuid = "071a4ecc-1bf9-11f1-a838-e6dd1807d029";
        let mysql = Way {
            gtids: format!("{uuid}:5-6").parse().unwrap(),
            last_of_domains: std::collections::BTreeMap::new(),
            ..way()
        };
        assert_eq!(mysql.expected().to_string(), format!("{uuid}:5-6"));
        assert_eq!(mysql.executed_after(&format!("{uuid}:1-4")).unwrap(), format!("{uuid}:1-6"));
    }
}
