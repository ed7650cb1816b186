//! One connection, and the operations that exist on it.

use super::access::Address;
use super::facts::Facts;
use crate::sys::cancel::Cancel;

/// One connection to the server.
#[derive(Debug)]
pub struct Session {
    facts: Facts,
}

impl Session {
    /// Connects, after a bounded number of tries where the server is down, restarting or full,
    /// and reads the facts.
    pub fn open(address: &Address, cancel: &Cancel) -> anyhow::Result<Self> {
        let _ = (address, cancel);
        anyhow::bail!("not built yet")
    }

    /// What the server said about itself when this session began.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }
}
