//! How rsync is called.

use crate::sys::units::Bytes;

/// How much of the machine copying may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Niceness {
    /// CPU niceness, 0 to 19.
    pub cpu: u8,
    /// Which class of disk access.
    pub io: IoClass,
}

/// Which class of disk access copying gets (ionice(1)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoClass {
    /// The lowest priority of the ordinary class.
    BestEffort,
    /// Only when nobody else wants the disk.
    Idle,
    /// As the process that started us.
    None,
}

impl Default for Niceness {
    fn default() -> Self {
        Self { cpu: 10, io: IoClass::BestEffort }
    }
}

/// How bytes are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Transfer {
    /// Bytes for each second, at most.
    pub bandwidth_limit: Option<Bytes>,
    /// How much of the machine it may take.
    pub niceness: Niceness,
}
