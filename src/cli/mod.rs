//! The command line: what was typed → a checked request → the use case → output.

pub mod args;
pub mod output;
