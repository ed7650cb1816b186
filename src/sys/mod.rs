//! The operating system, without a word of databases or volumes.
//!
//! Everything that mysnap asks of the machine goes through here: external programs ([`cmd`]) and talks
//! with them ([`talk`]), cancellation ([`cancel`]), files that last ([`durable`]), locks between processes
//! ([`lockfile`]), mounts and their namespace ([`mount`], [`namespace`]), sizes and durations
//! ([`units`]), retries ([`retry`]) and the clock ([`clock`]). Each such step is a place where a test can
//! make it go wrong ([`failpoint`]).

pub mod cancel;
pub mod clock;
pub mod cmd;
pub mod durable;
pub mod failpoint;
pub mod lockfile;
pub mod mount;
pub mod namespace;
pub mod process;
pub mod retry;
pub mod secret;
pub mod signals;
pub mod talk;
pub mod units;
pub mod waiting;

/// Where locks, mount points and sockets live; gone after a boot.
pub const RUNTIME_DIRECTORY: &str = "/run/mysnap";
