//! The `mysnap` command.
fn main() {}
