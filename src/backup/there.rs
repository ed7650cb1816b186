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
use crate::store::{self, Root, SshStore, Staging};
use crate::sys::cancel::Cancel;
use crate::sys::clock;

/// The node, and what it is asked about.
#[derive(Clone, Copy)]
pub(super) struct There<'a> {
    pub(super) request: &'a Request,
    pub(super) ground: &'a Ground,
    pub(super) subject: Subject<'a>,
    pub(super) staging: &'a Staging<'a>,
}

/// The node that keeps the backups.
pub(super) fn node_of(ground: &Ground) -> anyhow::Result<&SshStore> {
    ground.target.store.node().context("the destination is not on a node")
}

/// What came of it, and why something is left on the node.
pub(super) type Came = (Shipped, Option<anyhow::Error>);

impl<'a> There<'a> {
    /// Does what is the node's to do, if anything, with what is in the backup, or was brought to the node to be dumped.
    pub(super) fn finish(
        self,
        read: Option<Shipped>,
        brought: Option<Bringing<'_>>,
        phases: &mut Phases<'_>,
        cancel: &Cancel,
    ) -> anyhow::Result<Came> {
        match (read, brought) {
            (Some(shipped), _) if self.request.asks_the_node() => self.prove(shipped, phases, cancel),
            (Some(shipped), _) => Ok((shipped, None)),
            (None, Some(bringing)) => self.dump(bringing, phases, cancel),
            (None, None) => anyhow::bail!("nothing was read from the snapshots; this is a bug"),
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
        shipped.proof.judge(verdict, clock::now());
        Ok((shipped, left))
    }

    /// Copies what is in the snapshots to scratch space on the node, and reads it back there. The place is in `brought`
    /// from its beginning on, whatever comes of it: at its end the node is waited for, and no snapshot may be.
    pub(super) fn bring<'n, 'p: 'n>(
        self,
        mounted: &MountedSnapshots,
        (node, brought): (&'n SshStore, &mut Option<Bringing<'n>>),
        phases: &mut Phases<'p>,
        cancel: &Cancel,
    ) -> anyhow::Result<()> {
        let Self { request, ground, staging, .. } = self;
        let task = self.task(mounted.sources().iter().map(|source| source.root.clone()).collect());
        let bringing = Bringing::begin(node, task, request.dump.clone(), phases.observer())
            .context("the node made no place for the files")?;
        let place = brought.insert(bringing).place();
        let scratch = store::open(&request.to.at(place), &request.ssh, cancel)?;
        let copy = Staging::begin(&*scratch, &request.job, &staging.slot().id)?;
        ship::ship(request, ground, mounted, &copy, phases, cancel)?;
        Ok(())
    }

    /// Has the node dump what was brought to it, into the backup that is being made.
    fn dump(self, bringing: Bringing<'_>, phases: &mut Phases<'_>, cancel: &Cancel) -> anyhow::Result<Came> {
        let dumped =
            phases.timed("server", || bringing.dump()).context("what was brought to the node was not dumped")?;
        let Answer { value: (shown, dumped), left } = dumped;
        let mut shipped = ship::dumped(dumped, self.request, self.staging, phases, cancel)?;
        shipped.proof.node = Some(self.node()?.host().to_owned());
        shipped.proof.judge(Ok(shown), clock::now());
        Ok((shipped, left))
    }

    fn node(self) -> anyhow::Result<&'a SshStore> {
        node_of(self.ground)
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
            patience: subject.patience,
        }
    }
}
