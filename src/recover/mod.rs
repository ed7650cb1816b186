//! `recover`: removes what dead runs left, and nothing else.
//!
//! A run that was killed leaves its record and, perhaps, a snapshot with its tags; both together
//! say that it is ours. Its mounts went with its namespace, its lock with its connection. An origin
//! that an interrupted LVM command left suspended is brought back first: every write to it waits.
//! Safe at any time, and again: what a live run has is not touched, and a snapshot that others have mounted, as a boot may
//! in its origin's place, is left to people ([`snapshot::Elsewhere`]).

mod intended;
mod place;
mod programs;
mod scratch;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::fault::{Failure, Fault, Kind, Leftover};
use crate::id::RunId;
use crate::kept;
use crate::lvm::{self, LvRef, Volume};
use crate::run::events::{Event, Observer};
use crate::run::{Intent, Record, record};
use crate::snapshot::{self, Elsewhere};
use crate::store;
use crate::sys::cmd::Call;
use crate::sys::durable;
use crate::sys::lockfile::LockFile;
use crate::sys::mount::mount_points;

pub use intended::prepare;
pub use place::{make_scratch, refuse_unfit, refuse_unreachable, would_fill, would_leave_without_room};
pub use scratch::{NAMED_LATER, Used, clone_scratch_name, in_directories, in_scratch, remove_scratch, scratch_name};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum Step {
    /// Bring back a suspended origin.
    Refresh {
        /// The volume.
        volume: String,
    },
    /// Remove a snapshot.
    Remove {
        /// The volume.
        volume: String,
        /// LVM's identifier.
        uuid: String,
        /// The run that made it.
        run: RunId,
    },
    /// Remove keys of data that was not put in its place.
    Keys {
        /// Their file.
        path: PathBuf,
        /// The run.
        run: RunId,
    },
    /// Remove the files that a run was working on.
    Scratch {
        /// Their directory.
        path: PathBuf,
        /// The run.
        run: RunId,
    },
    /// Remove the socket of a connection that has ended.
    Socket {
        /// Its path.
        path: PathBuf,
    },
    /// Remove a run's mount points.
    MountPoints {
        /// The run.
        run: RunId,
    },
    /// Remove a run's record.
    Forget {
        /// The run.
        run: RunId,
    },
}

impl Step {
    fn removes(&self, found: &Elsewhere) -> bool {
        matches!(self, Self::Remove { volume, .. } if *volume == found.volume)
    }

    /// The step in words.
    pub fn describe(&self) -> String {
        match self {
            Self::Refresh { volume } => format!("bring back {volume}, which is suspended: writes to it wait"),
            Self::Remove { volume, run, .. } => format!("remove snapshot {volume} of run {run}, which died"),
            Self::Keys { path, run } => {
                format!("remove {}, keys of data that run {run} has not put in its place", path.display())
            }
            Self::Scratch { path, run } => format!("remove {}, where run {run} worked", path.display()),
            Self::Socket { path } => format!("remove {}, the socket of a connection that has ended", path.display()),
            Self::MountPoints { run } => format!("remove the mount points of run {run}"),
            Self::Forget { run } => format!("remove the record of run {run}"),
        }
    }
}

/// What is to be done, and what is left to people.
#[derive(Debug, Default, Serialize)]
pub struct Plan {
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// What carries our tag and has no record: it is left alone.
    pub unrecorded: Vec<String>,
    /// Snapshots that others have mounted, or had: what they wrote is nowhere else, and they are left alone.
    pub elsewhere: Vec<Elsewhere>,
    /// What a rollback that died left to be done, in words: a server is not started unasked.
    pub interrupted: Vec<String>,
    /// The runs of which those are: their records stay until it is done.
    #[serde(skip)]
    awaiting: Vec<RunId>,
    /// The locks of the dead runs: nobody else cleans up after them meanwhile.
    #[serde(skip)]
    adopted: Vec<(Record, LockFile)>,
    /// Only held.
    #[serde(skip)]
    _stillborn: Vec<(RunId, LockFile)>,
}

/// Every run on record, dead or alive.
#[derive(Debug, Default)]
struct Runs {
    /// The dead ones, with their locks: nobody else cleans up after them meanwhile.
    dead: Vec<(Record, LockFile)>,
    stillborn: Vec<(RunId, LockFile)>,
    alive: Vec<RunId>,
}

/// Looks for what dead runs left.
pub fn plan() -> anyhow::Result<Plan> {
    Runs::look()?.plan()
}

impl Runs {
    fn look() -> anyhow::Result<Self> {
        let (records, unreadable) = record::all()?;
        for error in unreadable {
            tracing::warn!("{error:#}; it is left alone");
        }
        let mut runs = Self { stillborn: record::stillborn()?, ..Self::default() };
        for record in records {
            match record.try_adopt()? {
                // To adopt it made its lock anew.
                Some(_lock) if record.is_gone() => record::forget(&record.id)?,
                Some(lock) => runs.dead.push((record, lock)),
                None => runs.alive.push(record.id),
            }
        }
        Ok(runs)
    }

    /// Brings back what is suspended, but for what a command of a dead run that still works has suspended: other programs
    /// of theirs may take long to end. What can't be brought back is tried again by the plan, and told by it.
    fn bring_back_origins(&self, observer: &dyn Observer) -> anyhow::Result<()> {
        let left_alone = self.without_lvm()?;
        if left_alone.iter().all(|record| record.volumes().next().is_none()) {
            return Ok(());
        }
        for volume in stuck(&left_alone, &lvm::volumes()?, Volume::is_suspended) {
            if lvm::resume(volume).is_ok() {
                let step = Step::Refresh { volume: volume.name.to_string() };
                observer.event(Event::Note { text: format!("recover: {}", step.describe()) });
            }
        }
        Ok(())
    }

    fn plan(self) -> anyhow::Result<Plan> {
        // A drill may run where there is no LVM.
        let volumes = if Call::is_installed("lvs") { lvm::volumes()? } else { Vec::new() };
        let dead: Vec<&Record> = self.dead.iter().map(|(record, _)| record).collect();
        let mounts = mount_points()?;
        let is_mounted = |path: &Path| mounts.iter().any(|mount| mount.path == path);
        let awaits = |record: &Record| awaits_a_person(record, &volumes, is_mounted);
        let elsewhere = snapshot::elsewhere(&volumes)?;
        let mut steps = steps(&dead, &volumes, Volume::is_suspended, Path::exists, awaits);
        // Looked at only, as by `status`, they are not marked yet.
        steps.retain(|step| !elsewhere.iter().any(|found| step.removes(found)));
        steps.extend(store::abandoned_connections()?.into_iter().map(|path| Step::Socket { path }));
        steps.extend(self.stillborn.iter().map(|(run, _)| Step::Forget { run: run.clone() }));
        let mut unrecorded = unrecorded(&dead, &self.alive, &volumes);
        unrecorded.retain(|volume| !elsewhere.iter().any(|found| found.volume == *volume));
        let interrupted = dead.iter().flat_map(|record| &record.intents).filter_map(interrupted).collect();
        let awaiting = dead.iter().filter(|record| awaits(record)).map(|record| record.id.clone()).collect();
        Ok(Plan { steps, unrecorded, elsewhere, interrupted, awaiting, adopted: self.dead, _stillborn: self.stillborn })
    }
}

/// The steps that clean up after `dead`: pure.
fn steps(
    dead: &[&Record],
    volumes: &[Volume],
    suspended: impl Fn(&Volume) -> bool,
    is_there: impl Fn(&Path) -> bool,
    awaits: impl Fn(&Record) -> bool,
) -> Vec<Step> {
    let mut steps: Vec<Step> =
        stuck(dead, volumes, suspended).map(|v| Step::Refresh { volume: v.name.to_string() }).collect();
    for record in dead {
        let left = volumes.iter().filter(|v| v.run().as_ref() == Some(&record.id) && !v.is_left_to_people());
        steps.extend(left.map(|v| Step::Remove {
            volume: v.name.to_string(),
            uuid: v.uuid.clone(),
            run: record.id.clone(),
        }));
        let (run, is_there) = (&record.id, &is_there);
        steps.extend(record.intents.iter().filter_map(|intent| match intent {
            Intent::Keys { path, staged } if is_there(path) && is_there(staged) => {
                Some(Step::Keys { path: path.clone(), run: run.clone() })
            }
            Intent::Scratch { path } => Some(Step::Scratch { path: path.clone(), run: run.clone() }),
            _ => None,
        }));
        if !awaits(record) {
            steps.push(Step::MountPoints { run: record.id.clone() });
            steps.push(Step::Forget { run: record.id.clone() });
        }
    }
    steps
}

/// What `dead` runs stood on and is suspended.
fn stuck<'a>(
    dead: &'a [&Record],
    volumes: &'a [Volume],
    suspended: impl Fn(&Volume) -> bool,
) -> impl Iterator<Item = &'a Volume> {
    volumes.iter().filter(move |v| dead.iter().any(|record| record.needs(&v.uuid)) && suspended(v))
}

/// Whether a rollback that died left its volume unmounted. Who is told of that may be a backup that fails, or the boot:
/// the record stays for those who ask later. Of a volume that is gone there is nothing left to be done.
fn awaits_a_person(record: &Record, volumes: &[Volume], is_mounted: impl Fn(&Path) -> bool) -> bool {
    record.intents.iter().any(|intent| {
        let Intent::Merge { group, origin, mount_point, .. } = intent else { return false };
        let name = format!("{group}/{origin}");
        !is_mounted(mount_point) && volumes.iter().any(|volume| volume.name.to_string() == name)
    })
}

/// LVM goes on with a merge by itself; the mount and the server it knows nothing of.
fn interrupted(intent: &Intent) -> Option<String> {
    let Intent::Merge { group, name, origin, mount_point, unit, .. } = intent else { return None };
    let at = mount_point.display();
    let start = unit.as_ref().map(|unit| format!(", then `systemctl start {unit}`")).unwrap_or_default();
    Some(format!(
        "a rollback of {group}/{origin} to {name} died: look whether it was merged (`lvs -a {group}`); if {at} is not \
         mounted, `lvchange -an {group}/{origin}`, `lvchange -ay {group}/{origin}` (that begins what LVM has accepted: \
         before it whatever is written is lost) and `mount {at}`{start}"
    ))
}

fn unrecorded(dead: &[&Record], alive: &[RunId], volumes: &[Volume]) -> Vec<String> {
    let known = |run: &RunId| alive.contains(run) || dead.iter().any(|record| record.id == *run);
    let ours = volumes.iter().filter(|v| v.has_tag(lvm::TAG) && !v.is_left_to_people());
    ours.filter(|v| !v.run().is_some_and(|run| known(&run))).map(|v| v.name.to_string()).collect()
}

impl Plan {
    /// Whether dead runs left anything.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// All of it in words, with what a person does about each.
    pub fn left(&self) -> Vec<Leftover> {
        let remedy = Some("`mysnap recover` removes what a dead run left; so does the next run");
        let steps = self.steps.iter().map(|step| Leftover { text: step.describe(), remedy });
        steps.chain(self.left_to_people()).collect()
    }

    /// What recovering does not touch.
    pub fn left_to_people(&self) -> impl Iterator<Item = Leftover> {
        let unrecorded = self.unrecorded.iter().map(|volume| Leftover {
            text: format!("volume {volume} carries our tag and no run of this host knows it; it is left alone"),
            remedy: Some("`mysnap snapshots` shows it, `mysnap release` removes it"),
        });
        let interrupted = self.interrupted.iter().map(|text| Leftover { text: text.clone(), remedy: None });
        let elsewhere =
            self.elsewhere.iter().map(|found| Leftover { text: found.to_string(), remedy: Some(found.remedy()) });
        elsewhere.chain(unrecorded).chain(interrupted)
    }

    /// Does it. One step that fails does not keep the others from being done.
    pub fn execute(self, observer: &dyn Observer) -> anyhow::Result<()> {
        // They may keep the volume from being activated as those are told who mount it again.
        let orphans = self.awaiting.iter().map(|run| self.remove_orphans(run));
        let mut failed: Vec<anyhow::Error> = orphans.filter_map(Result::err).collect();
        for step in &self.steps {
            let outcome = self.one(step, failed.is_empty());
            match outcome {
                Ok(true) => observer.event(Event::Note { text: format!("recover: {}", step.describe()) }),
                Ok(false) => {}
                Err(error) => failed.push(error.context(format!("cannot {}", step.describe()))),
            }
        }
        if failed.is_empty() {
            return Ok(());
        }
        let fault = Fault::new(Kind::CleanupPending, "some of what a dead run left could not be removed")
            .hint("look at what uses it, then run `mysnap recover` again");
        Err(Failure::join(fault.into(), failed))
    }

    fn adopted(&self, run: &RunId) -> Option<&Record> {
        self.adopted.iter().map(|(record, _)| record).find(|record| record.id == *run)
    }

    fn remove_orphans(&self, run: &RunId) -> anyhow::Result<()> {
        let used = self.adopted(run).into_iter().flat_map(Record::volumes).collect::<Vec<_>>();
        // One that made no snapshot may be on a host that has no device-mapper.
        if used.is_empty() { Ok(()) } else { lvm::remove_orphans(run, &used) }
    }

    /// Does one step; whether there was anything to do.
    fn one(&self, step: &Step, all_well: bool) -> anyhow::Result<bool> {
        match step {
            Step::Refresh { volume } => {
                let name: LvRef = volume.parse().map_err(anyhow::Error::msg)?;
                lvm::volume(&name)?.as_ref().map_or(Ok(()), lvm::resume)?;
            }
            Step::Remove { uuid, run, .. } => snapshot::remove(uuid, run)?,
            Step::Keys { path, .. } | Step::Socket { path } => durable::remove_file(path)?,
            Step::Scratch { path, run } => remove_scratch(path, run)?,
            Step::MountPoints { run } => return self.adopted(run).map_or(Ok(false), Record::remove_directory),
            // With something left the record must stay: it is what makes the rest ours.
            Step::Forget { run } if all_well => {
                self.remove_orphans(run)?;
                forget_unkept(run)?;
                record::forget(run)?;
            }
            Step::Forget { .. } => return Ok(false),
        }
        Ok(true)
    }
}

/// Removes what `run` wrote down of snapshots that it was to keep, and does not keep.
pub fn forget_unkept(run: &RunId) -> anyhow::Result<()> {
    if !kept::is_known(run) || lvm::volumes_of_ours()?.iter().any(|volume| volume.is_kept_by(run)) {
        return Ok(());
    }
    kept::forget(run)
}

/// What others have mounted is not removed once it is unmounted either: whoever looks at it may do so while a run begins.
fn mark_elsewhere() -> anyhow::Result<()> {
    if Call::is_installed("lvs") { snapshot::mark_elsewhere(&lvm::volumes()?) } else { Ok(()) }
}

/// Removes what dead runs left: the first step of each run. What is left to people is told, and given back.
pub fn recover(observer: &dyn Observer) -> anyhow::Result<Vec<Leftover>> {
    let runs = Runs::look()?;
    runs.bring_back_origins(observer)?;
    mark_elsewhere()?;
    let plan = runs.outlive_programs().and_then(|()| runs.plan())?;
    let left: Vec<Leftover> = plan.left_to_people().collect();
    for Leftover { text, remedy } in &left {
        observer.warn(remedy.map_or_else(|| text.clone(), |remedy| format!("{text}; {remedy}")));
    }
    plan.execute(observer)?;
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead() -> Record {
        serde_json::from_str(include_str!("../../tests/data/record-1.json")).unwrap()
    }

    fn dead_rollback(uses: Vec<String>) -> Record {
        let merge = Intent::Merge {
            group: "vg0".into(),
            name: "kept".into(),
            origin: "data".into(),
            mount_point: "/var/lib/mysql".into(),
            unit: None,
            uses,
        };
        Record { intents: vec![merge], ..dead() }
    }

    fn volume(name: &str, uuid: &str, tags: &[&str]) -> Volume {
        let json = include_str!("../../tests/data/lvm/trixie/thick.lvs.json");
        let mut volume = lvm::parse_volumes(json).unwrap().remove(0);
        volume.name = name.parse().unwrap();
        volume.uuid = uuid.into();
        volume.tags = tags.iter().map(|t| (*t).to_owned()).collect();
        volume
    }

    const RUN: &str = "mysnap.run=20261121T092233Z-4f2a";

    #[test]
    fn only_what_has_both_tag_and_record_is_removed() {
        let record = dead();
        let volumes = [
            volume("vg0/data_mysnap_20261121T092233Z-4f2a", "a", &["mysnap", RUN]),
            volume("vg0/data_mysnap_20261121T092233Z-ffff", "b", &[]),
            volume("vg0/kept", "c", &["mysnap", RUN, "mysnap.keep"]),
            volume("vg0/other", "d", &["mysnap", "mysnap.run=20250101T000000Z-0000"]),
            volume("vg0/elsewhere", "e", &["mysnap", RUN, "mysnap.elsewhere"]),
        ];
        let steps = steps(&[&record], &volumes, |_| false, |_| true, |_| false);
        let removed: Vec<&Step> = steps.iter().filter(|s| matches!(s, Step::Remove { .. })).collect();
        assert!(matches!(removed.as_slice(), [Step::Remove { uuid, .. }] if uuid == "a"), "{removed:?}");
        assert_eq!(unrecorded(&[&record], &[], &volumes), ["vg0/other"]);
    }

    #[test]
    fn keys_go_with_data_that_was_not_put_in_its_place_and_before_it() {
        let at = |path: &str| PathBuf::from(path);
        let intents = vec![
            Intent::Keys { path: at("/srv/then.keyring-RUN"), staged: at("/srv/scratch/data") },
            Intent::Scratch { path: at("/srv/scratch") },
        ];
        let record = Record { intents, ..dead() };
        let left = |gone: &str| {
            let steps = steps(&[&record], &[], |_| false, |path| path != Path::new(gone), |_| false);
            steps
                .into_iter()
                .filter(|step| matches!(step, Step::Keys { .. } | Step::Scratch { .. }))
                .collect::<Vec<_>>()
        };
        let run = record.id.clone();
        let scratch = Step::Scratch { path: at("/srv/scratch"), run: run.clone() };
        assert_eq!(left(""), [Step::Keys { path: at("/srv/then.keyring-RUN"), run }, scratch.clone()]);
        assert_eq!(left("/srv/scratch/data"), std::slice::from_ref(&scratch), "the data needs them");
        assert_eq!(left("/srv/then.keyring-RUN"), [scratch]);
    }

    #[test]
    fn what_a_dead_rollback_left_is_told_with_the_commands() {
        let (mount_point, unit) = ("/var/lib/mysql".into(), Some("mariadb.service".into()));
        let name = |name: &str| name.to_owned();
        let (group, name, origin) = (name("vg0"), name("kept"), name("data"));
        let text = interrupted(&Intent::Merge { group, name, origin, mount_point, unit, uses: Vec::new() }).unwrap();
        for part in [
            "vg0/data to kept",
            "lvchange -an vg0/data`, `lvchange -ay vg0/data",
            "mount /var/lib/mysql",
            "systemctl start mariadb.service",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn the_record_of_a_dead_rollback_stays_until_its_volume_is_mounted_or_gone() {
        let rollback = dead_rollback(Vec::new());
        let volumes = [volume("vg0/data", "a", &[])];
        assert!(awaits_a_person(&rollback, &volumes, |path| path == Path::new("/")));
        assert!(!awaits_a_person(&rollback, &volumes, |path| path == Path::new("/var/lib/mysql")));
        assert!(!awaits_a_person(&rollback, &[volume("vg0/other", "b", &[])], |_| false));
        assert!(!awaits_a_person(&Record { intents: Vec::new(), ..dead() }, &volumes, |_| false));
        let forgets = |awaits: bool| {
            let steps = steps(&[&rollback], &volumes, |_| false, |_| true, |_| awaits);
            steps.iter().any(|step| matches!(step, Step::Forget { .. }))
        };
        assert!(forgets(false) && !forgets(true));
    }

    #[test]
    fn a_suspended_origin_comes_first() {
        let record = dead();
        let origin = volume("vg0/data", "QwQ1pX-0000-0000-0000-0000-0000-abcdef", &[]);
        let steps = steps(&[&record], &[origin], |_| true, |_| true, |_| false);
        assert_eq!(steps.first(), Some(&Step::Refresh { volume: "vg0/data".into() }));
    }

    #[test]
    fn an_origin_that_a_clone_or_a_merge_left_suspended_is_brought_back() {
        let clone: Record = serde_json::from_str(include_str!("../../tests/data/record-clone-1.json")).unwrap();
        let uses = &clone.clone_record().unwrap().uses;
        let rollback = dead_rollback(uses.clone());
        for record in [&clone, &rollback] {
            let origin = volume("vg0/data", uses.last().unwrap(), &[]);
            let steps = steps(&[record], &[origin, volume("vg0/other", "x", &[])], |_| true, |_| true, |_| false);
            let refreshed: Vec<&Step> = steps.iter().filter(|step| matches!(step, Step::Refresh { .. })).collect();
            assert_eq!(refreshed, [&Step::Refresh { volume: "vg0/data".into() }]);
        }
    }
}
