//! The archives of binary logs.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::super::Context;
use super::super::binlog::home;
use super::jobs::{JobLook, failed_drills};
use crate::binlog::expire::{self, Holder, Plan};
use crate::binlog::{Home, Identity, verify};
use crate::config::{Archive, Config};
use crate::expire::Failed;
use crate::id::{JobName, RunId};
use crate::run::events::Observer;
use crate::store::{self, Catalog, Item, Manifest, ProofLevel};
use crate::sys::cancel::Cancel;
use crate::sys::clock;

/// What is there of an archive, and what happens to it.
#[derive(Serialize)]
pub(super) struct ArchiveLook<'a> {
    #[serde(rename = "archive")]
    pub(super) name: &'a JobName,
    pub(super) path: PathBuf,
    #[serde(flatten)]
    pub(super) plan: Plan,
    #[serde(skip)]
    home: Home,
    #[serde(skip)]
    keep: Duration,
}

/// The backups that may need logs; or why that can't be told.
type Holders = Result<Vec<Holder>, String>;

/// Looks at `archives` as they are when what goes of `jobs` is gone.
pub(super) fn look<'a>(
    context: &Context<'_>,
    config: &Config,
    archives: &[&'a Archive],
    jobs: &[JobLook<'_>],
) -> anyhow::Result<Vec<ArchiveLook<'a>>> {
    if archives.is_empty() {
        return Ok(Vec::new());
    }
    let going: Vec<&RunId> = jobs.iter().flat_map(|job| job.plan.going()).collect();
    let holders = holders(config, &going, context.cancel);
    archives.iter().map(|archive| ArchiveLook::of(archive, &holders)).collect()
}

/// Removes from the archive of the server of `manifest` what no backup needs any more.
pub(super) fn after_backup(
    context: &Context<'_>,
    config: &Config,
    archive: &Archive,
    manifest: &Manifest,
) -> anyhow::Result<()> {
    let key = Identity::of(&manifest.server).key;
    let Some(index) = home(archive).read_index()? else { return Ok(()) };
    if index.timelines.iter().all(|timeline| timeline.server.key != key) {
        return Ok(());
    }
    let look = ArchiveLook::of(archive, &holders(config, &[], context.cancel))?;
    look.remove(&look.plan, context.output)?;
    Ok(())
}

/// Does what is shown here, as far as it still is to be done: how many files went of each.
pub(super) fn carry_out(
    context: &Context<'_>,
    config: &Config,
    looks: &[ArchiveLook<'_>],
) -> anyhow::Result<Vec<(JobName, usize)>> {
    if looks.is_empty() {
        return Ok(Vec::new());
    }
    let holders = holders(config, &[], context.cancel);
    let mut done = Vec::new();
    for look in looks {
        let now = plan(&look.home, look.keep, &holders)?.within(&look.plan);
        done.push((look.name.clone(), look.remove(&now, context.output)?));
    }
    Ok(done)
}

impl<'a> ArchiveLook<'a> {
    fn of(archive: &'a Archive, holders: &Holders) -> anyhow::Result<Self> {
        let (home, keep) = (home(archive), archive.binlog_keep.unwrap_or(Duration::MAX));
        let plan = plan(&home, keep, holders)?;
        Ok(Self { name: &archive.name, path: home.path().to_owned(), plan, home, keep })
    }

    /// How many files went.
    fn remove(&self, plan: &Plan, observer: &dyn Observer) -> anyhow::Result<usize> {
        if let Some(why) = &plan.held {
            observer.warn(format!("nothing was removed from the archive {}: {why}", self.name));
        }
        let count = plan.count();
        let remove = || expire::execute(&self.home, plan).map(|()| count);
        observer.phase("expire", remove, |count| format!("archive {}: {count} files removed", self.name))
    }
}

fn plan(home: &Home, keep: Duration, holders: &Holders) -> anyhow::Result<Plan> {
    let Some(mut index) = home.read_index()? else { return Ok(Plan::held("it holds nothing yet".to_owned())) };
    verify::look_at_open(home, &mut index)?;
    Ok(match holders {
        Ok(holders) => expire::plan(&index, holders, keep, clock::now()),
        Err(why) => Plan::held(why.clone()),
    })
}

/// Every backup at the destination of any job, but for those that are `going`; whoever has an old one under another
/// job's name may need its logs too.
fn holders(config: &Config, going: &[&RunId], cancel: &Cancel) -> Holders {
    let mut holders = Vec::new();
    for job in config.jobs() {
        let read = || Catalog::read(&*store::open(&job.to, &job.ssh, cancel)?, None);
        let catalog = read().map_err(|error| format!("the backups at {} can't be listed: {error:#}", job.to))?;
        // An empty directory may be where a file system is not mounted.
        if catalog.good().all(|backup| backup.slot.job != job.name) {
            return Err(format!("job {} has no good backup at {}; is its file system mounted?", job.name, job.to));
        }
        let failed = failed_drills(job).map_err(|error| format!("the drills of job {}: {error:#}", job.name))?;
        let items = catalog.items.iter().filter(|item| !going.contains(&&item.slot().id));
        holders.extend(items.filter_map(|item| holder(item, &failed)));
    }
    Ok(holders)
}

fn holder(item: &Item, failed_drills: &Failed) -> Option<Holder> {
    let known = |manifest: &Manifest, proved| Holder {
        id: manifest.id.clone(),
        server: Some(Identity::of(&manifest.server).key),
        begin: manifest.begin,
        binlog: manifest.position.binlog.clone(),
        proved,
    };
    Some(match item {
        Item::Good(backup) => {
            let came_back = !failed_drills.contains_key(&backup.manifest.id);
            known(&backup.manifest, came_back && backup.manifest.proof.level > ProofLevel::None)
        }
        Item::Bad(backup, _) => known(&backup.manifest, false),
        Item::Unreadable(slot, _) => {
            Holder { id: slot.id.clone(), server: None, begin: slot.id.begin()?, binlog: None, proved: false }
        }
    })
}
