//! The life of a clone, from its data to its end.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use super::ground::Ground;
use super::{Plan, Request, Source, option_file, plan, socket};
use crate::fault::{Failure, Fault, Kind};
use crate::instance::{self, Instance, Part, Public};
use crate::recover;
use crate::run::events::Observer;
use crate::run::{self, CloneGround, CloneRecord, Intent, Run, clone_directory};
use crate::server::Address;
use crate::snapshot::{self, Limits};
use crate::sys::cancel::Cancel;
use crate::sys::durable;
use crate::sys::secret::Secret;
use crate::sys::units::human_duration;

/// How often it is looked whether the server lives.
const PAUSE: Duration = Duration::from_millis(200);
/// Root's, and the server may make its socket there; nobody takes away what another one made (sticky).
const PLACE: u32 = 0o1775;

/// What a clone is while it lives.
struct Life<'a> {
    request: &'a Request,
    plan: Plan,
    /// Where people find its socket.
    place: PathBuf,
    /// Where its files are restored to.
    home: Option<PathBuf>,
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
}

/// Runs the clone until `cancel` is set, which is its good end; then nothing of it is left. `ready` is called
/// once it can be used.
pub fn serve(
    request: &Request,
    observer: &dyn Observer,
    cancel: &Cancel,
    ready: &dyn Fn() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let plan = plan(request)?;
    let name = request.name.as_str();
    let place = clone_directory(name);
    let mut run = Run::begin("clone", Some(name), &place)?;
    let home = match &request.source {
        Source::Backup { scratch, .. } => Some(scratch.join(recover::clone_scratch_name(run.id()))),
        Source::Kept { .. } => None,
    };
    let life = Life { request, plan, place, home, observer, cancel };
    let worked = life.live(&mut run, ready);
    life.end(run, worked)
}

impl Life<'_> {
    fn live(&self, run: &mut Run, ready: &dyn Fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
        // The name is ours now: what a dead clone of that name left goes before the same places are made.
        recover::recover(self.observer)?;
        self.intend(run)?;
        self.cancel.check()?;
        let directory = run.runtime_directory()?;
        let ground = self.ground(run, &directory)?;
        make_place(&self.place, &ground.parts)?;
        let memory = instance::home_in_memory(&directory)?;
        let stopping = self.cancel.child();
        // A recovery writes too.
        ground.watched(self.limits(), &stopping, || self.used(run, &ground, memory.path(), &stopping, ready))?;
        memory.release()?;
        ground.release()
    }

    /// A server on it, until it is to end.
    fn used(
        &self,
        run: &mut Run,
        ground: &Ground,
        memory: &Path,
        stopping: &Cancel,
        ready: &dyn Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let start = || self.start(ground, &memory.join("own"), stopping);
        let answers = |server: &Instance| format!("the clone answers after {}", human_duration(server.started_in()));
        let mut server = self.observer.phase("start", start, answers)?;
        server.outlive_the_signal();
        run.ready()?;
        ready()?;
        until_the_end(&mut server, stopping)?;
        self.shut_down(server)
    }

    /// On record before any of it is made.
    fn intend(&self, run: &mut Run) -> anyhow::Result<()> {
        let used = self.plan.layers.iter().flat_map(|layer| {
            // A thick snapshot goes with its origin; a thin one of a thin one stands alone.
            let origin = layer.origin.as_ref().filter(|_| self.plan.ground == CloneGround::Thick);
            [Some(&layer.kept), origin].into_iter().flatten().map(|volume| volume.uuid.clone())
        });
        let intent = Intent::Clone(CloneRecord {
            of: self.request.source.id().clone(),
            taken: self.request.source.taken(),
            ground: self.plan.ground,
            uses: used.collect(),
            socket: socket(&self.request.name),
            listen: self.request.listen,
        });
        // The plan has looked too, and another clone may have planned at the same time.
        let alone = self.plan.layers.iter().filter(|_| self.plan.ground == CloneGround::Thick);
        let alone: Vec<_> = alone.map(|layer| (layer.kept.name.to_string(), layer.kept.uuid.clone())).collect();
        run.intend_alone(intent, &alone)?;
        self.directories().try_for_each(|path| run.intend(Intent::Scratch { path: path.to_owned() }))
    }

    /// What goes with it, with all that is in it.
    fn directories(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.place.as_path()).chain(self.home.as_deref())
    }

    fn ground(&self, run: &mut Run, directory: &Path) -> anyhow::Result<Ground> {
        let Some(home) = &self.home else {
            let mount = || Ground::of_snapshots(&self.plan, run, directory);
            return self.observer.phase("mount", mount, Ground::summary);
        };
        let restore = || {
            // Not removed while it is read.
            let _reading = run::read_stored(self.request.source.id());
            Ground::of_files(self.request, home, self.observer, self.cancel)
        };
        self.observer.phase("restore", restore, |_| {
            format!("backup {} into {}, every digest matches", self.request.source.id(), home.display())
        })
    }

    fn start(&self, ground: &Ground, own: &Path, stopping: &Cancel) -> anyhow::Result<Instance> {
        let request = self.request;
        let public = Public {
            socket: socket(&request.name),
            listen: request.listen,
            buffer_pool: request.buffer_pool,
            replace_accounts: request.replace_accounts,
        };
        let server = Instance::offer(request.source.facts(), &ground.parts, &public, own, stopping)?;
        if request.replace_accounts {
            durable::write(&option_file(&request.name), login(server.address(), &public).as_bytes())?;
        }
        Ok(server)
    }

    fn limits(&self) -> Limits {
        match &self.request.source {
            Source::Kept { limits, .. } => *limits,
            Source::Backup { .. } => Limits::default(),
        }
    }

    /// A thick snapshot stays, so its server is shut down in order. What is removed anyway is not written out
    /// first: the server is killed. So is one that the watch gave up: what it has yet to write could overflow the
    /// store that is nearly full, and the snapshot with it.
    fn shut_down(&self, server: Instance) -> anyhow::Result<()> {
        let was_asked = self.cancel.signal().is_some();
        if self.plan.ground == CloneGround::Thick && was_asked { server.stop() } else { Ok(()) }
    }

    /// Whatever the clone came to, what was made for it goes; else its record stays for `recover`.
    fn end(&self, run: Run, worked: anyhow::Result<()>) -> anyhow::Result<()> {
        let id = run.id().clone();
        // Where files were restored there need not be an LVM.
        let used: Vec<&str> = run.record().volumes().collect();
        let removed = if self.home.is_none() { snapshot::abandon(&id, &used) } else { Ok(()) };
        let cleaned = removed
            .and_then(|()| self.directories().try_for_each(|path| recover::remove_scratch(path, &id)))
            .and_then(|()| run.forget());
        match (worked, cleaned) {
            (Ok(()), Ok(())) => Ok(()),
            (Err(error), cleaned) => Err(Failure::join(error, cleaned.err().into_iter().collect())),
            (Ok(()), Err(error)) => {
                let fault = Fault::new(Kind::CleanupPending, "the clone has ended, but something of it is left");
                Err(fault.hint("`mysnap recover` removes it").caused_by(error).into())
            }
        }
    }
}

/// Where people find the socket.
fn make_place(place: &Path, parts: &[Part]) -> anyhow::Result<()> {
    let data = parts.iter().find(|part| part.root.is_datadir()).context("there is no data directory")?;
    durable::create_private_directory(place)?;
    let group = data.here.metadata().with_context(|| format!("cannot look at {}", data.here.display()))?.gid();
    chown(place, None, Some(group))
        .and_then(|()| std::fs::set_permissions(place, std::fs::Permissions::from_mode(PLACE)))
        .with_context(|| format!("cannot give {} away", place.display()))
}

/// An option file for clients.
fn login(address: &Address, public: &Public) -> String {
    let password = address.password.as_ref().map(Secret::reveal).unwrap_or_default();
    format!("[client]\nuser={}\npassword={password}\nsocket={}\n", address.user, public.socket.display())
}

/// Until it is to end; an error where it ends by itself.
fn until_the_end(server: &mut Instance, stopping: &Cancel) -> anyhow::Result<()> {
    while stopping.sleep(PAUSE).is_ok() {
        if let Some(why) = server.ended() {
            return Err(why);
        }
    }
    Ok(())
}
