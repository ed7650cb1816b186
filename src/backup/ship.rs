//! Copying the mounted snapshots, and reading the copy back.

use super::manifest::Phases;
use super::snapshots::MountedSnapshots;
use crate::check::{Ground, Request};
use crate::dump::Dumped;
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
    /// What the operator should know.
    pub(super) warnings: Vec<String>,
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
        let copied = phases.run("copy", || staging.copy(sources, work), |c| copied_text(c, staging))?;
        let prove = || staging.prove(request.prove, sources, &copied, work);
        let proof = phases.run("prove", prove, proved_text)?;
        let roots = sources.iter().map(|source| source.root.clone()).collect();
        Ok(Shipped { roots, copied, proof, warnings: Vec::new() })
    })
}

/// Takes over what was dumped, and reads it back.
pub(super) fn dumped(
    dumped: Dumped,
    request: &Request,
    staging: &Staging<'_>,
    phases: &mut Phases<'_>,
    cancel: &Cancel,
) -> anyhow::Result<Shipped> {
    let Dumped { root, copied, warnings, .. } = dumped;
    let observer = phases.observer();
    let total = Bytes(copied.totals.bytes);
    let progress = |done| observer.event(Event::Progress { done: Bytes(done), total });
    let work = Work { transfer: &request.transfer, progress: &progress, cancel };
    // A level above asks for a server, and that has been asked.
    let level = if request.prove == ProofLevel::None { ProofLevel::None } else { ProofLevel::Checksum };
    let proof = phases.run("prove", || staging.prove(level, &[], &copied, work), proved_text)?;
    let proof = Proof { level: request.prove, ..proof };
    for text in &warnings {
        observer.warn(text.clone());
    }
    Ok(Shipped { roots: vec![root], copied, proof, warnings })
}

fn copied_text(copied: &Copied, staging: &Staging<'_>) -> String {
    let seconds = copied.took.as_secs().max(1);
    let rate = Bytes(copied.totals.bytes / seconds);
    format!("{} in {} files to {}, {rate}/s", Bytes(copied.totals.bytes), copied.totals.files, staging.destination())
}

fn proved_text(proof: &Proof) -> String {
    match proof.level {
        ProofLevel::None => "not asked for".to_owned(),
        _ => format!("{} files read back, every digest matches its source", proof.files),
    }
}
