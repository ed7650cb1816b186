//! The node's side: does what it is asked, and leaves nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value;

use super::request::{Request, Task, Wanted};
use super::survey::{self, SCRATCH};
use crate::dump::{Dumped, Options};
use crate::fault::{Failure, Kind, kind_of};
use crate::instance::{Part, overlay};
use crate::proof::{self, Dumping};
use crate::recover::{self, Used};
use crate::run::Run;
use crate::run::events::{Event, Observer};
use crate::store::{LocalStore, Root, Shown, Staging};
use crate::sys::cancel::Cancel;
use crate::sys::durable;
use crate::sys::mount::Mounted;
use crate::sys::talk::Starter;

/// How long an earlier run of the job, which has just been given up, may need to clean up.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);
/// Where the database host puts the files, below the run's directory. No root is called so.
const BROUGHT: &str = "brought";

/// What was done.
#[derive(Debug)]
pub struct Served {
    /// The answer.
    pub value: Value,
    /// Why something is left here.
    pub left: Option<anyhow::Error>,
}

impl Served {
    fn of(value: &impl Serialize, left: Option<anyhow::Error>) -> anyhow::Result<Self> {
        Ok(Self { value: serde_json::to_value(value).context("cannot write the answer as JSON")?, left })
    }
}

/// Does what `starter` asks for. Needs a mount namespace of its own.
pub fn serve(starter: &Starter, observer: &dyn Observer, cancel: &Cancel) -> anyhow::Result<Served> {
    match Request::wanted(&starter.hear()?)? {
        Wanted::Survey(survey) => Served::of(&survey::look(&survey, cancel)?, None),
        Wanted::Prove(task) => in_scratch(&task, observer, cancel, |home| prove(&task, home, observer, cancel)),
        Wanted::Dump(task, options) => in_scratch(&task, observer, cancel, |home| {
            // A directory of its own: the job's is made in it, and a job may be called like a root.
            let place = home.join(BROUGHT);
            durable::create_private_directory(&place)?;
            observer.event(Event::Ready { path: place });
            starter.hear()?;
            dump(&task, &options, home, observer, cancel)
        }),
    }
}

fn in_scratch<T: Serialize>(
    task: &Task,
    observer: &dyn Observer,
    cancel: &Cancel,
    work: impl FnOnce(&Path) -> anyhow::Result<T>,
) -> anyhow::Result<Served> {
    recover::recover(observer)?;
    recover::refuse_unreachable(&task.scratch, SCRATCH)?;
    let Used { worked, left } = recover::in_scratch(begin(task, cancel)?, &task.scratch, work)?;
    match worked {
        Ok(value) => Served::of(&value, left),
        Err(error) => Err(Failure::join(error, left.into_iter().collect())),
    }
}

/// One run at a time works for a job.
fn begin(task: &Task, cancel: &Cancel) -> anyhow::Result<Run> {
    let claimed = task.destination.join(task.job.as_str());
    let end = Instant::now() + PATIENCE;
    loop {
        match Run::begin("node", Some(task.job.as_str()), &claimed) {
            Err(error) if kind_of(&error) == Some(Kind::Busy) && Instant::now() < end => cancel.sleep(PAUSE)?,
            begun => return begun,
        }
    }
}

/// What is stored stays as it is: the server writes beside it.
fn prove(task: &Task, home: &Path, observer: &dyn Observer, cancel: &Cancel) -> anyhow::Result<Shown> {
    let stored = task.destination.join(task.slot().relative());
    let show = || overlay::show(&task.roots, &stored, home);
    let shown = |(parts, _): &(Vec<Part>, Vec<Mounted>)| format!("{} roots, nothing of them copied", parts.len());
    let (parts, overlays) = observer.phase("mount", show, shown)?;
    let shown = proof::examine(task.subject(&parts), &home.join("server"), observer, cancel)?;
    overlays.into_iter().rev().try_for_each(Mounted::release)?;
    Ok(shown)
}

/// Dumps what was brought to `home`, which is used up.
fn dump(
    task: &Task,
    options: &Options,
    home: &Path,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<(Shown, Dumped)> {
    let parts = brought(task, home)?;
    let target = LocalStore::new(&task.destination, cancel);
    let staging = Staging::of_another(&target, &task.job, &task.id);
    let to = Dumping { options, staging: &staging };
    proof::dump(task.subject(&parts), &home.join("server"), &to, observer, cancel)
}

/// The roots out of the directory into which they were copied: nobody but root passes through that, and
/// MySQL recovers in no directory below one whose name begins with a dot.
fn brought(task: &Task, home: &Path) -> anyhow::Result<Vec<Part>> {
    let from = home.join(BROUGHT).join(task.slot().relative());
    let take = |root: &Root| {
        let [from, here] = [&from, home].map(|above| above.join(root.name.as_str()));
        durable::rename(&from, &here).map(|()| Part::of(root, &here))
    };
    task.roots.iter().map(take).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Manifest, ProofLevel};

    #[test]
    fn a_job_may_be_called_like_a_root_or_like_the_servers_own_directory() {
        for job in ["datadir", "server", "brought"] {
            let manifest = Manifest::decode(include_bytes!("../../tests/data/manifest-1.json")).unwrap();
            let home = tempfile::tempdir().unwrap();
            let task = Task {
                job: job.parse().unwrap(),
                id: manifest.id.clone(),
                destination: "/srv/backup".into(),
                scratch: home.path().to_owned(),
                roots: manifest.roots.clone(),
                facts: manifest.server.clone(),
                position: manifest.position.clone(),
                taken: manifest.taken(),
                prepared: false,
                level: ProofLevel::Start,
                queries: Vec::new(),
                patience: crate::instance::START,
            };
            let stored = home.path().join(BROUGHT).join(task.slot().relative());
            for root in &task.roots {
                std::fs::create_dir_all(stored.join(root.name.as_str())).unwrap();
            }
            let parts = brought(&task, home.path()).unwrap();
            assert!(parts.len() == task.roots.len() && parts.iter().all(|part| part.here.is_dir()), "{job}: {parts:?}");
            assert!(!home.path().join("server").exists(), "{job}");
        }
    }
}
