//! Binary logs: what the servers' files hold.
//!
//! The parsers ([`event`], [`gtid`], [`statement`], [`rows`], [`Walker`]) are functions of bytes that nobody trusts:
//! no length in them is believed, and an event counts when all of it was read and its checksum is right. A kind that
//! nobody has heard of is as good as any other.

mod bytes;
pub mod event;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
pub mod gtid;
mod reading;
pub mod rows;
pub mod statement;
mod summary;
mod unpack;
mod walk;

pub use reading::{Found, Matched, Reading};
pub use summary::{Ending, Stop, Summary};
pub use walk::{Broken, Event, Step, Walker};
