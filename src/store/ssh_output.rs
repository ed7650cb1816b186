//! What the tools on the other side print, as values.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context as _;

use super::{Digest, Found, Listed, ListedKind, Readable, Room, Sha256, Slot, StoredPath};
use crate::fault::{Fault, Kind};
use crate::sys::units::Bytes;

/// The tools that the probe found, named with their host.
pub(super) fn tools(answer: &[u8], host: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let text = String::from_utf8_lossy(answer);
    if let Some(tool) = text.lines().find_map(|line| line.strip_prefix("missing ")) {
        let fault = Fault::new(Kind::Refused, format!("{host} lacks {tool}"));
        return Err(fault.hint(format!("install rsync, coreutils and findutils on {host}")).into());
    }
    let names = ["rsync", "sha256sum", "kernel"];
    let versions: Vec<&str> = text.lines().collect();
    anyhow::ensure!(versions.len() == names.len(), noise(&text));
    Ok(names.iter().map(|name| format!("{name} on {host}")).zip(versions.iter().map(|v| (*v).to_owned())).collect())
}

fn noise(text: &str) -> String {
    format!("unexpected output {text:?}; does a start-up file of the login shell print something?")
}

/// What df prints: a heading, then bytes and files; `-` where the file system has no limit.
pub(super) fn room(answer: &[u8]) -> anyhow::Result<Room> {
    let text = String::from_utf8_lossy(answer);
    let mut words = text.lines().nth(1).unwrap_or_default().split_whitespace();
    let bytes = words.next().and_then(|word| word.parse().ok()).with_context(|| noise(&text))?;
    // Where there is no limit some kernels say 0.
    let files = words.next().and_then(|word| word.parse().ok()).filter(|files| *files > 0);
    Ok(Room { bytes: Bytes(bytes), files })
}

/// `text` for find's `-path`, without special characters.
pub(super) fn escape_pattern(text: &str) -> String {
    let special = |c| matches!(c, '*' | '?' | '[' | ']' | '\\');
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

/// Pieces of output, one after the other.
struct Pieces<'a>(&'a [u8]);

impl<'a> Pieces<'a> {
    /// Up to the next zero byte.
    fn next(&mut self) -> anyhow::Result<&'a [u8]> {
        let end = self.0.iter().position(|b| *b == 0).with_context(|| noise(&String::from_utf8_lossy(self.0)))?;
        let (piece, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        Ok(piece)
    }

    fn text(&mut self) -> anyhow::Result<&'a str> {
        std::str::from_utf8(self.next()?).context("a name that is not ours")
    }

    fn number(&mut self) -> anyhow::Result<usize> {
        let text = self.text()?;
        text.parse().with_context(|| noise(text))
    }

    fn take(&mut self, length: usize) -> anyhow::Result<&'a [u8]> {
        let (piece, rest) = self.0.split_at_checked(length).context("the output was cut short")?;
        self.0 = rest;
        Ok(piece)
    }
}

/// `d NUL path NUL` for directories, `f NUL path NUL size NUL contents` for manifests.
pub(super) fn scan(answer: &[u8]) -> anyhow::Result<Vec<Found>> {
    let mut found: BTreeMap<Slot, Found> = BTreeMap::new();
    let mut pieces = Pieces(answer);
    while !pieces.0.is_empty() {
        let is_file = pieces.next()? == b"f";
        let path = String::from_utf8_lossy(pieces.next()?).into_owned();
        let contents = if is_file {
            let length = pieces.number()?;
            Some(pieces.take(length)?)
        } else {
            None
        };
        let mut parts = path.split('/');
        let (Some(job), Some(name)) = (parts.next(), parts.next()) else { continue };
        let Some(slot) = Slot::parse(job, name) else { continue };
        let one = found.entry(slot.clone()).or_insert(Found { slot, manifest: None, twin: None });
        match (parts.next(), contents) {
            (Some("manifest.json"), Some(bytes)) => one.manifest = Some(bytes.to_vec()),
            (Some("manifest.copy.json"), Some(bytes)) => one.twin = Some(bytes.to_vec()),
            _ => {}
        }
    }
    Ok(found.into_values().collect())
}

/// `type NUL size NUL path NUL target NUL` for everything.
pub(super) fn entries(answer: &[u8]) -> anyhow::Result<Vec<Listed>> {
    let mut listed = Vec::new();
    let mut pieces = Pieces(answer);
    while !pieces.0.is_empty() {
        let kind = pieces.next()?;
        let size = pieces.number()?;
        let path = StoredPath::new(pieces.next()?).map_err(anyhow::Error::msg)?;
        let target = pieces.next()?;
        let kind = match kind {
            b"f" => ListedKind::File(size as u64),
            b"d" => ListedKind::Directory,
            b"l" => ListedKind::Symlink(target.to_vec()),
            _ => ListedKind::Other,
        };
        listed.push(Listed { path, kind });
    }
    Ok(listed)
}

/// The lines of sha256sum: digest, two spaces, name; a backslash before the digest where the name
/// is escaped.
pub(super) fn digests(files: &[Readable], stdout: &[u8], stderr: &str) -> anyhow::Result<Vec<(StoredPath, Digest)>> {
    let mut found = HashMap::new();
    for line in stdout.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let (name, digest) = digest_line(line).with_context(|| noise(&String::from_utf8_lossy(line)))?;
        found.insert(name, digest);
    }
    let digest = |file: &Readable| {
        let name = [b"./", file.path.as_bytes()].concat();
        found.get(&name).map_or_else(|| Digest::Unreadable(reason(stderr, &name)), |digest| Digest::Is(*digest))
    };
    Ok(files.iter().map(|file| (file.path.clone(), digest(file))).collect())
}

fn digest_line(line: &[u8]) -> Option<(Vec<u8>, Sha256)> {
    let (escaped, line) = line.strip_prefix(b"\\").map_or((false, line), |rest| (true, rest));
    let digest = std::str::from_utf8(line.get(..64)?).ok()?.parse().ok()?;
    let name = line.get(66..)?;
    Some((if escaped { unescape(name) } else { name.to_vec() }, digest))
}

fn unescape(name: &[u8]) -> Vec<u8> {
    let mut bytes = name.iter();
    let mut plain = Vec::with_capacity(name.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                other => other.copied().unwrap_or(b'\\'),
            },
            other => *other,
        });
    }
    plain
}

/// What sha256sum said about a file that it could not read.
fn reason(stderr: &str, name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let said = stderr.split(['\n', ';']).find(|line| line.contains(&*name));
    said.and_then(|line| line.rsplit_once(": ")).map_or("it could not be read", |(_, reason)| reason.trim()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_the_line_below_the_heading() {
        let answer = b"       Avail     IFree\n19000000512  1200000\n";
        assert_eq!(room(answer).unwrap(), Room { bytes: Bytes(19_000_000_512), files: Some(1_200_000) });
        assert_eq!(room(b"Avail IFree\n5 -\n").unwrap().files, None);
        assert!(room(b"Welcome!\n").is_err());
    }

    #[test]
    fn a_missing_tool_is_named() {
        let error = tools(b"missing rsync\n", "node2").unwrap_err();
        assert_eq!(error.to_string(), "node2 lacks rsync");
        let found =
            tools(b"rsync  version 3.2.7  protocol version 31\nsha256sum (GNU coreutils) 9.1\nLinux 6.1\n", "n");
        assert_eq!(found.unwrap().len(), 3);
        assert!(tools(b"Welcome to node2\n", "node2").unwrap_err().to_string().contains("login shell"));
    }

    #[test]
    fn manifests_are_cut_out_by_their_length() {
        let id = "20261121T092233Z-4f2a";
        let answer = format!(
            "d\0nightly/{id}\0f\0nightly/{id}/manifest.json\x003\0a\0bd\0nightly/{id}/datadir\0d\0nightly/.unfinished-{id}\0\
             d\0lost+found/x\0"
        );
        let found = scan(answer.as_bytes()).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found.iter().filter_map(|f| f.manifest.clone()).collect::<Vec<_>>(), [b"a\0b".to_vec()]);
        assert!(scan(b"f\0a/b/manifest.json\09\0short").is_err());
    }

    #[test]
    fn digests_of_awkward_names_are_found() {
        let digest = Sha256::of(b"");
        let names = [&b"a\nb"[..], b"back\\slash", b"\xff\xfe", b"-n", b"two  spaces"];
        let files: Vec<_> =
            names.iter().map(|name| Readable { path: StoredPath::new(*name).unwrap(), size: 0 }).collect();
        let mut stdout = format!("\\{digest}  ./a\\nb\n\\{digest}  ./back\\\\slash\n").into_bytes();
        stdout.extend([digest.to_string().as_bytes(), b"  ./\xff\xfe\n"].concat());
        stdout.extend(format!("{digest}  ./two  spaces\n").into_bytes());
        let found = digests(&files, &stdout, "sha256sum: ./-n: Input/output error").unwrap();
        let readable: Vec<_> = found.iter().map(|(_, d)| *d == Digest::Is(digest)).collect();
        assert_eq!(readable, [true, true, true, false, true]);
        assert_eq!(found[3].1, Digest::Unreadable("Input/output error".to_owned()));
    }

    proptest::proptest! {
        #[test]
        fn no_output_panics(bytes in proptest::collection::vec(0_u8.., 0..60)) {
            drop((scan(&bytes), entries(&bytes), room(&bytes), tools(&bytes, "h"), digests(&[], &bytes, "")));
        }
    }
}
