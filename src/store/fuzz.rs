//! Answers of the other side, made of bytes that nobody chose.

use super::{Readable, files, rsync, ssh_output};

/// Every reader of what ssh, find, sha256sum, df and rsync print.
pub(crate) fn answer(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    drop(ssh_output::tools(bytes, "node2"));
    drop(ssh_output::room(bytes));
    drop(ssh_output::scan(bytes));
    let listed = ssh_output::entries(bytes).unwrap_or_default();
    let readable: Vec<Readable> = listed.into_iter().map(|one| Readable { path: one.path, size: 1 }).collect();
    drop(ssh_output::digests(&readable, bytes, &text));
    rsync::parse_progress(bytes);
}

/// The list of a backup's files.
pub(crate) fn file_list(bytes: &[u8]) -> Vec<super::FileEntry> {
    files::decode(bytes).unwrap_or_default()
}
