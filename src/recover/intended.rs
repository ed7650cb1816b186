//! What a run is about to make, in such an order that it is found whatever kills the run.

use crate::run::{Intent, Run};
use crate::snapshot::{Prepared, Spec};

/// Makes what can be made of a snapshot before it is taken; it is on record before anything of it exists.
pub fn prepare(spec: Spec, run: &mut Run) -> anyhow::Result<Prepared> {
    run.intend(Intent::Snapshot {
        group: spec.name.vg.to_string(),
        name: spec.name.lv.to_string(),
        origin: spec.origin.name.lv.to_string(),
        origin_uuid: spec.origin.uuid.clone(),
    })?;
    spec.prepare()
}
