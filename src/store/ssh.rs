//! A destination on another node, reached by ssh and the tools that are there.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::SshOptions;
use super::{Destination, Digest, Found, Listed, Readable, Room, Slot, Store, StoredPath};
use crate::id::JobName;
use crate::sys::cancel::Cancel;

/// A destination on another node, reached by ssh and the tools that are there.
#[derive(Debug)]
pub struct SshStore {
    destination: Destination,
    options: SshOptions,
    cancel: Cancel,
}

impl SshStore {
    /// Nothing is asked of it yet.
    pub fn new(destination: &Destination, options: &SshOptions, cancel: &Cancel) -> anyhow::Result<Self> {
        Ok(Self { destination: destination.clone(), options: options.clone(), cancel: cancel.clone() })
    }
}

impl Store for SshStore {
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
