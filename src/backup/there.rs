//! A second server on the node that keeps the backups, so that this host is spared its memory and its
//! reading. The snapshots are not needed meanwhile: what the node works on was read back before.

use anyhow::Context as _;

use super::manifest::Phases;
use super::second;
use super::ship::{self, Shipped};
use super::snapshots::MountedSnapshots;
use crate::check::{Ground, Request};
use crate::node::{self, Answer, Bringing, Task};
use crate::proof::Subject;
use crate::store::{self, Root, Shown, SshStore, Staging};
use crate::sys::cancel::Cancel;

/// The node, and what it is asked about.
#[derive(Clone, Copy)]
pub(super) struct There<'a> {
    pub(super) request: &'a Request,
    pub(super) ground: &'a Ground,
    pub(super) subject: Subject<'a>,
    pub(super) staging: &'a Staging<'a>,
}

/// What was read from the snapshots, and where it is.
pub(super) enum Read<'a> {
    /// In the backup.
    Stored(Shipped),
    /// In scratch space on the node, to be dumped.
    Brought(Bringing<'a>),
}

impl Read<'_> {
    /// Takes over what a server on this host showed.
    pub(super) fn judge(&mut self, verdict: Result<Shown, String>) {
        if let Self::Stored(shipped) = self {
            shipped.proof.judge(verdict);
        }
    }
}

/// What came of it, and why something is left on the node.
pub(super) type Came = (Shipped, Option<anyhow::Error>);

impl<'a> There<'a> {
    /// Does what is the node's to do, if anything.
    pub(super) fn finish(self, read: Read<'_>, phases: &mut Phases<'_>, cancel: &Cancel) -> anyhow::Result<Came> {
        match read {
            Read::Stored(shipped) if self.request.asks_the_node() => self.prove(shipped, phases, cancel),
            Read::Stored(shipped) => Ok((shipped, None)),
            Read::Brought(bringing) => self.dump(bringing, phases, cancel),
        }
    }

    /// Has a server on the node prove what was shipped.
    fn prove(self, mut shipped: Shipped, phases: &mut Phases<'_>, cancel: &Cancel) -> anyhow::Result<Came> {
        let (node, observer) = (self.node()?, phases.observer());
        let task = self.task(shipped.roots.clone());
        let asked = phases.timed("server", || second::verdict(node::prove(node, task, observer), cancel))?;
        let (verdict, left) = match asked {
            Ok(Answer { value, left }) => (Ok(value), left),
            Err(why) => (Err(why), None),
        };
        shipped.proof.node = Some(node.host().to_owned());
        shipped.proof.judge(verdict);
        Ok((shipped, left))
    }

    /// Copies what is in the snapshots to scratch space on the node, and reads it back there.
    pub(super) fn bring<'p: 'a>(
        self,
        mounted: &MountedSnapshots,
        phases: &mut Phases<'p>,
        cancel: &Cancel,
    ) -> anyhow::Result<Bringing<'a>> {
        let Self { request, ground, staging, .. } = self;
        let task = self.task(mounted.sources().iter().map(|source| source.root.clone()).collect());
        let bringing = Bringing::begin(self.node()?, task, request.dump.clone(), phases.observer())
            .context("the node made no place for the files")?;
        let scratch = store::open(&request.to.at(bringing.place()), &request.ssh, cancel)?;
        let copy = Staging::begin(&*scratch, &request.job, &staging.slot().id)?;
        ship::ship(request, ground, mounted, &copy, phases, cancel)?;
        Ok(bringing)
    }

    /// Has the node dump what was brought to it, into the backup that is being made.
    fn dump(self, bringing: Bringing<'_>, phases: &mut Phases<'_>, cancel: &Cancel) -> anyhow::Result<Came> {
        let dumped =
            phases.timed("server", || bringing.dump()).context("what was brought to the node was not dumped")?;
        let Answer { value: (shown, dumped), left } = dumped;
        let mut shipped = ship::dumped(dumped, self.request, self.staging, phases, cancel)?;
        shipped.proof.node = Some(self.node()?.host().to_owned());
        shipped.proof.judge(Ok(shown));
        Ok((shipped, left))
    }

    fn node(self) -> anyhow::Result<&'a SshStore> {
        self.ground.target.store.node().context("the destination is not on a node")
    }

    fn task(self, roots: Vec<Root>) -> Task {
        let Self { request, subject, staging, .. } = self;
        Task {
            job: request.job.clone(),
            id: staging.slot().id.clone(),
            destination: request.to.path().to_owned(),
            scratch: request.node_scratch.clone(),
            roots,
            facts: subject.facts.clone(),
            position: subject.position.clone(),
            taken: subject.taken,
            prepared: subject.prepared,
            level: subject.level,
            queries: subject.queries.to_vec(),
        }
    }
}
