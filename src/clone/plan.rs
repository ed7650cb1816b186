//! What a clone would stand on, and whether it can.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use super::ground::Layer;
use super::{Plan, Request, Source, list, option_file, socket};
use crate::fault::{Fault, Kind};
use crate::instance;
use crate::kept::{Kept, KeptVolume};
use crate::lvm::{self, Volume};
use crate::recover;
use crate::run::{self, CloneGround};
use crate::server::{Facts, Version};
use crate::snapshot::{self, Limits, PoolRoom, SnapshotKind, StoreSize, WriteRate};
use crate::store::{Backup, Method};
use crate::sys::units::Bytes;

/// Looks at what the clone would stand on, and decides; refuses what must not be done.
pub fn plan(request: &Request) -> anyhow::Result<Plan> {
    list::refuse_taken(&request.name)?;
    request.listen.map_or(Ok(()), refuse_used)?;
    let facts = request.source.facts();
    instance::installed::fitting(facts, &format!("install {} {}", facts.flavour, facts.version))?;
    refuse_accounts_that_cannot_be_locked(request, facts)?;
    let mut plan = match &request.source {
        Source::Kept { kept, volumes, limits, pool_room } => on_snapshots(kept, volumes, *limits, *pool_room)?,
        Source::Backup { backup, scratch, .. } => on_files(backup, scratch)?,
    };
    plan.steps.push(start(request, facts));
    plan.warnings.extend(exposed(request));
    Ok(plan)
}

fn refuse_used(at: SocketAddr) -> anyhow::Result<()> {
    TcpListener::bind(at).map(drop).map_err(|error| {
        let fault = Fault::new(Kind::Refused, format!("no server can listen at {at}")).caused_by(error);
        fault.hint("choose another --port; `ss -ltnp` shows who has it").into()
    })
}

fn refuse_accounts_that_cannot_be_locked(request: &Request, facts: &Facts) -> anyhow::Result<()> {
    if !request.replace_accounts || facts.flavour.is_mariadb() || facts.version >= Version(5, 7, 6) {
        return Ok(());
    }
    let message = format!("{} {} has no accounts that are locked", facts.flavour, facts.version);
    Err(Fault::new(Kind::Refused, message).hint("leave --replace-accounts out").into())
}

fn start(request: &Request, facts: &Facts) -> String {
    let listen = request.listen.map(|at| format!(", {at}")).unwrap_or_default();
    let accounts = if request.replace_accounts {
        format!("all accounts locked but a new one, written to {}", option_file(&request.name).display())
    } else {
        "the accounts of the data".to_owned()
    };
    format!(
        "start {} {} on it: socket {}{listen}; {accounts}; no replication, no events, a buffer pool of {}",
        facts.flavour,
        facts.version,
        socket(&request.name).display(),
        request.buffer_pool
    )
}

/// The data has the live server's accounts, and perhaps their well-known passwords.
fn exposed(request: &Request) -> Option<String> {
    let at = request.listen.filter(|at| !at.ip().is_loopback())?;
    Some(format!("{at} can be reached from other hosts"))
}

fn on_files(backup: &Backup, scratch: &Path) -> anyhow::Result<Plan> {
    let manifest = &backup.manifest;
    if manifest.method == Method::Dump {
        let fault =
            Fault::new(Kind::Config, format!("backup {} is a dump: there are no files to start on", manifest.id));
        return Err(fault.hint("`mysnap restore` loads it into a running server").into());
    }
    recover::refuse_unfit(scratch, manifest)?;
    instance::require_places(&manifest.roots)?;
    let size = Bytes(manifest.files.totals.bytes);
    let bad = manifest.proof.failure.iter().map(|why| format!("the backup is bad, its proof failed: {why}"));
    Ok(Plan {
        steps: vec![format!("restore backup {} ({size}) into {}, compare every file", manifest.id, scratch.display())],
        warnings: bad.collect(),
        uses_up: false,
        ground: CloneGround::Files,
        layers: Vec::new(),
    })
}

fn on_snapshots(kept: &Kept, volumes: &[Volume], limits: Limits, room: PoolRoom) -> anyhow::Result<Plan> {
    run::refuse_live(&kept.run)?;
    let all = lvm::volumes()?;
    let layers = kept.volumes.iter().map(|known| layer(known, volumes, &all)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut plan =
        Plan { steps: Vec::new(), warnings: Vec::new(), uses_up: false, ground: CloneGround::Thin, layers: Vec::new() };
    for layer in &layers {
        match layer.kind {
            SnapshotKind::Thin => thin(layer, &all, limits, room, &mut plan)?,
            SnapshotKind::Thick => thick(layer, limits, &mut plan)?,
        }
    }
    Ok(Plan { layers, ..plan })
}

fn layer(known: &KeptVolume, volumes: &[Volume], all: &[Volume]) -> anyhow::Result<Layer> {
    let gone = || Fault::new(Kind::NotFound, format!("the snapshot {} is not there any more", known.uuid));
    let kept = volumes.iter().find(|volume| volume.uuid == known.uuid).ok_or_else(gone)?;
    let wrong = |why: &str| Fault::new(Kind::Refused, format!("snapshot {} {why}", kept.name));
    if kept.invalid {
        return Err(wrong("overflowed: it holds nothing any more").into());
    }
    if kept.merging {
        return Err(wrong("is being merged into its origin").into());
    }
    snapshot::refuse_elsewhere(kept)?;
    let origin = all.iter().find(|volume| Some(&volume.uuid) == kept.origin_uuid.as_ref());
    Ok(Layer {
        kind: SnapshotKind::of(kept),
        kept: kept.clone(),
        origin: origin.cloned(),
        group: lvm::group(&kept.name.vg)?,
        fstype: known.fstype.clone(),
        parts: known.parts.clone(),
    })
}

fn thin(layer: &Layer, all: &[Volume], limits: Limits, room: PoolRoom, plan: &mut Plan) -> anyhow::Result<()> {
    let kept = &layer.kept;
    let name = kept.pool_name();
    let pool = all.iter().find(|volume| Some(&volume.name) == name.as_ref());
    let origins = [(kept.clone(), layer.group.clone(), pool.cloned())];
    snapshot::plan(&origins, StoreSize::Auto, WriteRate::default(), room)?;
    plan.steps.push(format!("take a thin snapshot of {}, which stays as it is", kept.name));
    if let Some((pool, used)) = pool.and_then(|pool| Some((pool, pool.data_percent?))) {
        let limit = limits.pool_give_up;
        plan.warnings.push(format!("pool {} is {used:.1}% used; the clone is given up at {limit}", pool.name));
    }
    Ok(())
}

fn thick(layer: &Layer, limits: Limits, plan: &mut Plan) -> anyhow::Result<()> {
    let kept = &layer.kept;
    run::refuse_live_on(&kept.name, &kept.uuid)?;
    plan.ground = CloneGround::Thick;
    plan.steps.push(format!("mount {} for writing", kept.name));
    if kept.has_tag(lvm::CLONED_TAG) {
        plan.warnings.push(format!("an earlier clone has written to {}: this one goes on from there", kept.name));
    } else {
        plan.uses_up = true;
        plan.warnings.push(format!("{} is used up by that: no rollback to it is possible any more", kept.name));
    }
    let whole = layer.origin.as_ref().is_some_and(|origin| snapshot::cannot_overflow(kept, origin, &layer.group));
    let used = kept.data_percent.unwrap_or_default();
    plan.warnings.push(if whole {
        format!("the store of {} ({}, {used:.1}% used) cannot overflow", kept.name, kept.size)
    } else {
        format!(
            "the store of {} ({}, {used:.1}% used) holds what the live server changes and what is written to the clone, \
             which is given up at {}",
            kept.name, kept.size, limits.give_up
        )
    });
    Ok(())
}
