//! Looks whether a backup would work now; changes nothing.

pub mod coverage;
pub mod finding;
pub mod fstab;
