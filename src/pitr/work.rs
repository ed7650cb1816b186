//! What is done with a plan: a data directory, or databases for another server.

use std::path::{Path, PathBuf};

use super::Plan;
use super::base::{self, Base};
use super::replay::{Outcome, replay};
use crate::binlog::Home;
use crate::dump::{self, Dumped, Options, Readers};
use crate::extract::publish;
use crate::fault::{Failure, Fault, Kind};
use crate::id::RunId;
use crate::instance::{self, Instance, OwnKeyring, Part, installed};
use crate::recover;
use crate::restore::{self as files, Request, Restored};
use crate::run::events::{Event, Observer};
use crate::run::{Intent, Run};
use crate::server::running;
use crate::store::{Backup, LocalStore, Manifest, Method, Staging, Store, Transfer};
use crate::sys::cancel::Cancel;
use crate::sys::durable;
use crate::sys::mount::Mounted;
use crate::sys::units::Bytes;

/// Room beside the logs and the backup itself, for what the replay adds.
const MARGIN: u64 = 256 << 20;

/// What was done where something is left all the same.
const DONE: &str = "everything was restored";

/// Where backups and logs are.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The backups.
    pub store: &'a dyn Store,
    /// The logs.
    pub archive: &'a Home,
}

/// What is taken out of a server that was brought to a point.
#[derive(Debug)]
pub struct Wanted {
    /// Where there is room for all of it, on another volume than the live server's.
    pub scratch: PathBuf,
    /// Which databases and tables.
    pub dump: Options,
    /// How bytes are moved.
    pub transfer: Transfer,
}

/// Looks at the target directory, refuses what must not be done, and says how the files get there.
pub fn refuse_unfit(plan: &Plan<'_>, store: &dyn Store, request: &Request) -> anyhow::Result<files::Plan> {
    let placed = placed(plan, store, request)?;
    for workshop in placed.workshops() {
        let Some(beside) = workshop.parent() else { continue };
        // A mount point is the data owner's own.
        if beside != request.to {
            recover::refuse_unreachable(beside, "name another directory with --to")?;
        }
        refuse_filling(beside, &plan.route.backup.manifest)?;
    }
    // Once as they are laid ready, once as the rows that they become.
    let logs = plan.way.room() + plan.way.bytes();
    let needed = Bytes(logs + base::room(plan.route.backup, store)? + MARGIN);
    if placed.room() < needed {
        let message = format!("{needed} are needed beside {}, {} are free", request.to.display(), placed.room());
        return Err(Fault::new(Kind::Refused, message).hint("make room, or choose another file system").into());
    }
    Ok(placed)
}

/// Nobody knows how much room a replay takes: an `ALTER TABLE` on the way needs that of its table once more. One that is
/// at work must not run out of it; where it is down there is nobody to be harmed.
fn refuse_filling(beside: &Path, manifest: &Manifest) -> anyhow::Result<()> {
    let root = manifest.roots.iter().find(|root| root.is_datadir());
    let data = root.map_or(&manifest.server.datadir, |root| &root.live_path);
    match recover::would_leave_without_room(beside, manifest) {
        Some(live) if !running::users_of(data)?.is_empty() => {
            let hint = "name a directory on another one with --to; or stop that server first";
            Err(recover::would_fill(beside, live).hint(hint).into())
        }
        _ => Ok(()),
    }
}

fn placed(plan: &Plan<'_>, store: &dyn Store, request: &Request) -> anyhow::Result<files::Plan> {
    let backup = plan.route.backup;
    if backup.manifest.method == Method::Dump {
        return files::plan_made(backup, request);
    }
    files::plan(store, backup, request)
}

/// Brings a data directory to the point, and puts it where `request` says. A run that was killed leaves nothing but
/// its workshop, which `recover` removes.
pub fn restore(
    plan: &Plan<'_>,
    sources: Sources<'_>,
    request: &Request,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<(files::Plan, Restored, Outcome)> {
    recover::recover(observer)?;
    installed::has_keys_for(&plan.route.backup.manifest)?;
    let mut run = Run::begin("restore", Some(plan.route.backup.manifest.job.as_str()), &request.to)?;
    let workshop = Some(recover::scratch_name(run.id()));
    let new_keys = beside_target(&request.to, run.id());
    let begin = |run: &mut Run| {
        let placed = refuse_unfit(plan, sources.store, &Request { workshop, ..request.clone() })?;
        run.intend(Intent::Keys { path: new_keys.clone(), staged: staged_data(&placed.staged()) })?;
        Ok(placed)
    };
    let placed = match begin(&mut run) {
        Ok(placed) => placed,
        Err(error) => return Err(Failure::join(error, run.forget().err().into_iter().collect())),
    };
    let (homes, runtime) = (placed.workshops(), run.record().directory());
    let work = || {
        let outcome = bring_back(plan, sources, (&placed, &runtime, &new_keys), observer, cancel)
            .inspect_err(|_| forget(&new_keys))?;
        let placed = placed.standing_at(plan.position());
        let restored = files::place(&placed).inspect_err(|_| forget(&new_keys))?;
        Ok((placed, restored, outcome))
    };
    recover::in_directories(run, &homes, work)?.finished(DONE)
}

fn bring_back(
    plan: &Plan<'_>,
    sources: Sources<'_>,
    (placed, runtime, new_keys): (&files::Plan, &Path, &Path),
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<Outcome> {
    let backup = plan.route.backup;
    let parts = placed.staged();
    let data = staged_data(&parts);
    let workshop = data.parent().unwrap_or(Path::new("/")).to_owned();
    // What is bound over the live place hides what lies in it.
    let is_hidden = parts.iter().any(|part| workshop.starts_with(&part.root.live_path));
    let is_copy = backup.manifest.method == Method::Copy;
    let memory = (is_copy && is_hidden).then(|| instance::home_in_memory(runtime)).transpose()?;
    let home = memory.as_ref().map_or(&*workshop, Mounted::path);
    let base = Base { manifest: &backup.manifest, parts, home };
    if is_copy {
        let total = Bytes(backup.manifest.files.totals.bytes);
        let progress = |done| observer.event(Event::Progress { done: Bytes(done), total });
        let stage = || files::stage(placed, sources.store, &progress, cancel);
        observer.phase("restore", stage, |()| format!("{total} into {}, every digest matches", workshop.display()))?;
    }
    let keyring = OwnKeyring::hold(&backup.manifest, &base.parts, home)?;
    if is_copy {
        base::recover_copy(&base, observer, cancel)?;
    } else {
        base::load_dump(backup, sources.store, home, observer, cancel)?;
    }
    let (mut outcome, ()) = replay(plan, &base, sources.archive, observer, cancel, |_| Ok(()))?;
    if let Some(keyring) = keyring {
        outcome.warnings.extend(kept(&keyring, new_keys)?);
        keyring.release()?;
    }
    for part in &base.parts {
        durable::sync_file_system(&part.here)?;
    }
    memory.map(Mounted::release).transpose()?;
    Ok(outcome)
}

/// Where the data directory lies until it is put in its place.
fn staged_data(parts: &[Part]) -> PathBuf {
    parts.iter().find(|part| part.root.is_datadir()).map(|part| part.here.clone()).unwrap_or_default()
}

/// Where keys go that only the restored data needs: not into it, and not into the live server's keyring.
fn beside_target(to: &Path, run: &RunId) -> PathBuf {
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    to.with_file_name(format!("{name}.keyring-{run}"))
}

/// Keeps keys that the replay made: of tables that were loaded from a dump, or that no keyring has any more. Without
/// them the restored data can't be read.
fn kept(keyring: &OwnKeyring, new_keys: &Path) -> anyhow::Result<Option<String>> {
    if !keyring.has_new_keys()? {
        return Ok(None);
    }
    keyring.keep(new_keys)?;
    Ok(Some(format!(
        "tables are encrypted with a key that was made here: {} has it and all former ones; it has to be the keyring of \
         a server on these files",
        new_keys.display()
    )))
}

/// Nothing was put in place that needs them.
fn forget(new_keys: &Path) {
    if let Err(error) = durable::remove_file(new_keys) {
        tracing::warn!("{error:#}");
    }
}

/// Brings a server to the point in scratch space, and has `then` use a dump of what is wanted of it. All of that is
/// gone afterwards.
pub fn extract<T>(
    plan: &Plan<'_>,
    sources: Sources<'_>,
    wanted: &Wanted,
    observer: &dyn Observer,
    cancel: &Cancel,
    then: impl FnOnce(&dyn Store, &Backup) -> anyhow::Result<T>,
) -> anyhow::Result<(T, Outcome)> {
    let manifest = &plan.route.backup.manifest;
    recover::recover(observer)?;
    recover::refuse_unfit(&wanted.scratch, manifest)?;
    installed::has_keys_for(manifest)?;
    let run = Run::begin("restore", Some(manifest.job.as_str()), &wanted.scratch)?;
    let used = recover::in_scratch(run, &wanted.scratch, |home| {
        let (parts, keyring) = beside(plan, sources, home, wanted.transfer, observer, cancel)?;
        let base = Base { manifest, parts, home };
        if manifest.method == Method::Copy {
            base::recover_copy(&base, observer, cancel)?;
        }
        let dump = |instance: &mut Instance| dumped(plan, instance, wanted, home, observer, cancel);
        let (outcome, (store, backup)) = replay(plan, &base, sources.archive, observer, cancel, dump)?;
        keyring.map_or(Ok(()), OwnKeyring::release)?;
        Ok((then(&store, &backup)?, outcome))
    })?;
    used.finished(DONE)
}

/// The base in scratch space, and the keys of its servers.
fn beside(
    plan: &Plan<'_>,
    sources: Sources<'_>,
    home: &Path,
    transfer: Transfer,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<(Vec<Part>, Option<OwnKeyring>)> {
    let backup = plan.route.backup;
    if backup.manifest.method == Method::Dump {
        let keyring = OwnKeyring::hold(&backup.manifest, &[], home)?;
        base::load_dump(backup, sources.store, home, observer, cancel)?;
        let data = home.join("data");
        return Ok((vec![Part { root: instance::datadir(&data)?, here: data }], keyring));
    }
    let total = Bytes(backup.manifest.files.totals.bytes);
    let progress = |done| observer.event(Event::Progress { done: Bytes(done), total });
    let bring = || files::beside(sources.store, backup, home, transfer, &progress, cancel);
    let parts =
        observer.phase("restore", bring, |_| format!("{total} into {}, every digest matches", home.display()))?;
    let keyring = OwnKeyring::hold(&backup.manifest, &parts, home)?;
    Ok((parts, keyring))
}

fn dumped(
    plan: &Plan<'_>,
    instance: &mut Instance,
    wanted: &Wanted,
    home: &Path,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> anyhow::Result<(LocalStore, Backup)> {
    let manifest = &plan.route.backup.manifest;
    let target = LocalStore::new(&home.join("dump"), cancel);
    let staging = Staging::begin(&target, &manifest.job, &manifest.id)?;
    let open = || instance.reader(&manifest.server);
    let readers = Readers::gather(wanted.dump.workers, Some(instance::ACCOUNT), open)?;
    let taken = plan.way.times.map_or_else(|| manifest.taken(), |(_, last)| last);
    let work = || dump::dump(readers, &wanted.dump, taken, &staging, observer, cancel);
    let dumped = observer.phase("dump", work, Dumped::summary)?;
    let manifest = Manifest { position: plan.position(), ..manifest.clone() };
    let backup = publish(staging, &target, (dumped, manifest), &wanted.transfer, observer, cancel)?;
    Ok((target, backup))
}
