//! LVM, started before anybody waits for it.
//!
//! `lvm FILE` runs the commands of a file (lvm(8)); here the file is a pipe, and the one command that changes anything
//! comes when the database lock is held. Until then the program has been loaded, its configuration read and `/dev` walked
//! through, which is about a third of what a command of its own needs to the suspend. Its exit status is that of the
//! command.

use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use super::{Group, LvRef, looking_at, reading};
use crate::sys::cmd::{Call, CommandError, Running};
use crate::sys::waiting::Waiting;

/// How long LVM may take to be ready; that costs nobody anything but the run.
const PATIENCE: Duration = Duration::from_secs(10);
/// A script's line of more bytes, its end included, is refused: "Line too long (max 255)".
const LONGEST_LINE: usize = 254;

/// LVM, waiting for its one command. Where this is dropped it ends without having done anything.
#[derive(Debug)]
#[must_use]
pub struct Ready(Waiting);

impl Ready {
    /// Ready to make `snapshot`, by whose name the process can be told as the run's. None where LVM can't be had so:
    /// the snapshot takes a little longer then.
    pub fn start(snapshot: &LvRef, group: &Group) -> Option<Self> {
        let look = looking_at(group, reading("lvs").args(["-o", "lv_name"])).arg(group.name.to_string());
        let script = [b"#!lvm\n".to_vec(), line_of(&look)?].concat();
        let lvm = by_script(snapshot).stdin(script);
        match Waiting::start(lvm, PATIENCE) {
            Ok(waiting) => Some(Self(waiting)),
            Err(error) => {
                tracing::debug!(%error, "LVM is started under the lock instead");
                None
            }
        }
    }
}

/// What follows the file is left alone by LVM, and shown by `ps`.
fn by_script(snapshot: &LvRef) -> Call<'static> {
    Call::new("lvm").args(["/dev/stdin", &snapshot.to_string()]).spared()
}

/// Starts `call`, in the process that is ready where there is one and the command can be said to it.
pub(super) fn start(call: Call<'static>, ready: Option<Ready>) -> Result<Running<'static>, CommandError> {
    match ready.zip(line_of(&call)) {
        Some((Ready(waiting), line)) => waiting.tell(call, line),
        None => call.start(),
    }
}

/// The command as a line of a script; none where that can't be.
fn line_of(call: &Call<'_>) -> Option<Vec<u8>> {
    let words = call.argv().iter().map(|word| quoted(word.as_bytes())).collect::<Option<Vec<_>>>()?;
    let line = [words.join(&b' '), b"\n".to_vec()].concat();
    (line.len() <= LONGEST_LINE).then_some(line)
}

/// LVM ends a quoted word at the next quote and knows no escapes.
fn quoted(word: &[u8]) -> Option<Vec<u8>> {
    let has = |byte: &u8| word.contains(byte);
    if [b'\n', b'\'', b'"', b'#', 0].iter().any(has) {
        return None;
    }
    let is_plain = !word.is_empty() && !word.iter().any(u8::is_ascii_whitespace);
    Some(if is_plain { word.to_vec() } else { [b"'", word, b"'"].concat() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &[&str]) -> Option<String> {
        line_of(&Call::new("lvcreate").args(words)).map(|line| String::from_utf8(line).unwrap())
    }

    #[test]
    fn a_command_is_a_line_as_lvm_splits_it() {
        assert_eq!(line(&["-s", "a b", ""]).unwrap(), "lvcreate -s 'a b' ''\n");
        assert_eq!(line(&["it's"]), None);
        assert_eq!(line(&["a\nb"]), None);
    }

    #[test]
    fn what_is_too_long_for_a_line_is_none() {
        let fits = "x".repeat(LONGEST_LINE - "lvcreate \n".len());
        assert_eq!(line(&[&fits]).unwrap().len(), LONGEST_LINE);
        assert_eq!(line(&[&format!("{fits}x")]), None);
    }
}
