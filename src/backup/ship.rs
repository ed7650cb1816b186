//! Copying the mounted snapshots, and reading the copy back.

use super::manifest::Phases;
use super::snapshots::MountedSnapshots;
use crate::check::{Ground, Request};
use crate::run::events::Event;
use crate::store::{Copied, Proof, ProofLevel, Root, Staging, Work};
use crate::sys::cancel::Cancel;
use crate::sys::units::Bytes;

/// What was copied, and how it was shown to be right.
#[derive(Debug)]
pub(super) struct Shipped {
    pub(super) roots: Vec<Root>,
    pub(super) copied: Copied,
    pub(super) proof: Proof,
}

/// Copies and proves, while the snapshots are watched.
pub(super) fn ship(
    request: &Request,
    ground: &Ground,
    mounted: &MountedSnapshots,
    staging: &Staging<'_>,
    phases: &mut Phases<'_>,
    cancel: &Cancel,
) -> anyhow::Result<Shipped> {
    let observer = phases.observer();
    let total = Bytes(ground.source.bytes);
    let progress = |done| observer.event(Event::Progress { done: Bytes(done), total });
    let work = Work { transfer: &request.transfer, progress: &progress, cancel };
    let sources = mounted.sources();
    mounted.watched(cancel, || {
        let copied = phases.run("copy", || staging.copy(sources, work), |c| copied_text(c, request))?;
        let prove = || staging.prove(request.prove, sources, &copied, work);
        let proof = phases.run("prove", prove, proved_text)?;
        let roots = sources.iter().map(|source| source.root.clone()).collect();
        Ok(Shipped { roots, copied, proof })
    })
}

fn copied_text(copied: &Copied, request: &Request) -> String {
    let seconds = copied.took.as_secs().max(1);
    let rate = Bytes(copied.totals.bytes / seconds);
    format!("{} in {} files to {}, {rate}/s", Bytes(copied.totals.bytes), copied.totals.files, request.to)
}

fn proved_text(proof: &Proof) -> String {
    match proof.level {
        ProofLevel::None => "not asked for".to_owned(),
        _ => format!("{} files read back, every digest matches its source", proof.files),
    }
}
