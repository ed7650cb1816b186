//! Tests on real ground: run as root inside a lab guest, where device-mapper, LVM, a server with
//! data under load and a second node are real. `tests/run` builds this program, puts it into each
//! guest and runs it there; it is not part of a plain `cargo test`.
//!
//! What a test may rely on: the volume `vg0/data` mounted at `/var/lib/mysql`, the server running
//! on it, credentials of the least-privilege account in `/etc/mysnap/mysnap.cnf`, the demo data,
//! an empty disk `/dev/vdc`, and a second guest named by `MYSNAP_NODE2` with root's ssh.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::explicit_write,
    reason = "figures belong in the log of a run"
)]
#![allow(clippy::unused_self, reason = "what is not used holds what the test stands on")]
#![allow(
    clippy::redundant_closure_for_method_calls,
    reason = "a method of `Held<'_>` is no function for every lifetime"
)]

mod backup;
mod binlog;
mod canary;
mod clone;
mod crowd;
mod damage;
mod disk;
mod drill;
mod dump;
mod ending;
mod expire;
mod faults;
mod filling;
mod flush;
mod host;
mod instance;
mod kernel;
mod live;
mod logging;
mod metadata;
mod mounts;
mod node;
mod origin;
mod owners;
mod partition;
mod pitr;
mod places;
mod preflight;
mod proof;
mod pulse;
mod remote;
mod restore;
mod rollback;
mod server;
mod snapshot;
mod stalls;
mod status;
mod store;
#[path = "../store/suite.rs"]
mod suite;
mod support;
mod sweep;
mod sweep_clone;
mod sweep_second;
mod sweep_there;
mod unending;
mod units;
mod watch;
mod witness;
