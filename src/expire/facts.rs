//! What the manifests say of the backups that are there.

use std::collections::BTreeMap;

use super::{Standing, Stored};
use crate::id::RunId;
use crate::store::{Catalog, Item, Manifest, ProofLevel};

/// The backups whose last drill failed, and how.
pub type Failed = BTreeMap<RunId, String>;

/// What is known of each backup in `catalog`, seen from `host`. What a drill found outranks what was proved when the
/// backup was made.
pub fn stored(catalog: &Catalog, host: &str, drills: &Failed) -> Vec<Stored> {
    let standing = |manifest: &Manifest, failure: Option<&String>| {
        let drilled = drills.get(&manifest.id).map(|why| format!("its drill failed: {why}"));
        match (failure.cloned().or(drilled), manifest.proof.level) {
            _ if manifest.host != host => Standing::Foreign(manifest.host.clone()),
            (Some(why), _) => Standing::Bad(why),
            (None, ProofLevel::None) => Standing::Unproved,
            (None, _) => Standing::Proved,
        }
    };
    let known = |manifest: &Manifest, failure: Option<&String>| Stored {
        id: manifest.id.clone(),
        begin: manifest.begin,
        standing: standing(manifest, failure),
        needs: manifest.needs().cloned(),
    };
    let one = |item: &Item| {
        Some(match item {
            Item::Good(backup) => known(&backup.manifest, None),
            Item::Bad(backup, why) => known(&backup.manifest, Some(why)),
            Item::Unreadable(slot, why) => Stored {
                id: slot.id.clone(),
                begin: slot.id.begin()?,
                standing: Standing::Unreadable(why.clone()),
                needs: None,
            },
        })
    };
    catalog.items.iter().filter_map(one).collect()
}
