//! A destination on this host.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use super::{Destination, Digest, Found, Listed, Readable, Room, Slot, Store, StoredPath};

use crate::id::JobName;
use crate::sys::cancel::Cancel;

/// A destination on this host.
#[derive(Debug)]
pub struct LocalStore {
    destination: Destination,

    cancel: Cancel,
}

impl LocalStore {
    /// Nothing is asked of it yet.
    pub fn new(path: &Path, cancel: &Cancel) -> Self {
        Self { destination: Destination::Local(path.to_owned()), cancel: cancel.clone() }
    }
}

impl Store for LocalStore {
    fn destination(&self) -> &Destination {
        &self.destination
    }
    fn probe(&self) -> anyhow::Result<BTreeMap<String, String>> {
        anyhow::bail!("not built yet")
    }
    fn room(&self) -> anyhow::Result<Room> {
        anyhow::bail!("not built yet")
    }
    fn device(&self) -> anyhow::Result<Option<u64>> {
        anyhow::bail!("not built yet")
    }
    fn scan(&self, _: Option<&JobName>) -> anyhow::Result<Vec<Found>> {
        anyhow::bail!("not built yet")
    }
    fn create(&self, _: &Slot) -> anyhow::Result<()> {
        anyhow::bail!("not built yet")
    }
    fn write(&self, _: &Slot, _: &str, _: &[u8]) -> anyhow::Result<()> {
        anyhow::bail!("not built yet")
    }
    fn read(&self, _: &Slot, _: &str) -> anyhow::Result<Option<Vec<u8>>> {
        anyhow::bail!("not built yet")
    }
    fn entries(&self, _: &Slot) -> anyhow::Result<Vec<Listed>> {
        anyhow::bail!("not built yet")
    }
    fn digests(&self, _: &Slot, _: &[Readable], _: &(dyn Fn(u64) + Sync)) -> anyhow::Result<Vec<(StoredPath, Digest)>> {
        anyhow::bail!("not built yet")
    }
    fn sync(&self, _: &Slot) -> anyhow::Result<()> {
        anyhow::bail!("not built yet")
    }
    fn publish(&self, _: &Slot) -> anyhow::Result<()> {
        anyhow::bail!("not built yet")
    }
    fn remove(&self, _: &Slot) -> anyhow::Result<()> {
        anyhow::bail!("not built yet")
    }
    fn rsync_name(&self, _: &Slot, _: &str) -> OsString {
        OsString::new()
    }
    fn rsync_shell(&self) -> Option<String> {
        None
    }
}
