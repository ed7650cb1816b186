//! Archives of binary logs: a byte-exact copy of everything that a server has logged, the newest included.
//!
//! The server's own files are read, on its host: no account and no second replica is needed, the same code does for
//! both families, and where it went on is where the archive ends. Where they can't be read, on another host or encrypted,
//! the family's own tool reads them into a private directory (`spool`), and the rest is the same. What is taken over
//! are whole events, each with its checksum compared; a kind that nobody has heard of is as good as any other.
//! [`Archiver`] brings an archive up to the server, once ([`ship`]) or again and again ([`stream`]).
//!
//! Nothing is called complete that is not: what was purged before it was archived, a server that was reset or whose
//! place another one took, a damaged file are named at once, and stay in the index as the ends of what hangs together
//! ([`Index::windows`]). Nothing is deleted from the server, and from the archive only what no backup needs any more,
//! where that is asked for ([`expire`](mod@expire)). See `docs/formats.md`.
//!
//! The parsers ([`event`], [`gtid`], [`statement`], [`rows`], [`Walker`]) are functions of bytes that nobody trusts.

mod archiver;
mod bytes;
pub mod check;
mod closed;
mod closing;
mod copying;
mod elsewhere;
mod encrypted;
pub mod event;
pub mod expire;
mod expired;
pub mod find;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod glimpse;
pub mod gtid;
mod home;
mod index;
mod known;
mod locate;
mod logs;
mod origin;
mod passed;
mod place;
mod pulse;
mod ranges;
mod reading;
mod rebuild;
pub mod rows;
mod source;
mod spool;
mod spool_place;
mod spooled;
pub mod standing;
pub mod statement;
mod stream;
mod summary;
mod tool;
mod transactions;
mod unpack;
pub mod verify;
mod walk;
mod writer;

pub use archiver::Archiver;
pub use closed::{Closed, close_off};
pub use elsewhere::{SILENCE, receive};
pub use home::Home;
pub use index::{FORMAT, Identity, Index, LogFile, Piece, Start, State, Timeline, Window, is_plain};
pub use known::{forget, missed};
pub use locate::{Standing, locate};
pub use passed::Passed;
pub use pulse::Pulse;
pub use reading::{Found, Matched, NOT_LOOKED_INTO, Reading};
pub use source::Source;
pub use stream::{Request, Shipped, ship, stream};
pub use summary::{Ending, Stop, Summary};
pub use transactions::{Transaction, Transactions};
pub use walk::{Broken, Event, KEPT, Step, Walker};
