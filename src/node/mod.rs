//! The node that keeps the backups, where a second server works so that the database host is spared it.
//!
//! The database host starts `mysnap node` there by ssh and talks with it: a line of JSON says what is
//! wanted, lines of JSON come back, those of `--events json`, the result the last of them. Standard input
//! stays open and beats. When it ends or falls silent, whatever became of the database host, the node's
//! part stops its server, removes what it made and ends. What it makes is on record there before, like
//! that of any run, so that `recover` there removes what even a killed one left. No secret is sent either way.
//!
//! [`survey`], [`prove`] and [`Bringing`] ask; [`serve`] answers, on the other side.

mod ask;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod request;
mod serve;
mod survey;

pub use ask::{Answer, Bringing, prove, survey};
pub(crate) use ask::{Conversation, Heard, START, Said, judge, named, silence};
pub(crate) use request::{RELEASE, refuse_another};
pub use request::{Survey, Task};
pub use serve::{Served, serve};
pub use survey::Found;
