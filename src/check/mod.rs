//! Looks whether a backup would work now; changes nothing.

pub mod finding;
