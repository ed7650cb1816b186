//! Two programs that talk line by line: the one that was started reads standard input, which ends, or falls
//! silent, when the one that started it is gone, however far away the two are.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read as _, Write as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::libc::SIGHUP;

use super::cancel::{Cancel, POLL};
use super::cmd::{Call, CommandError, Finished, Running};

/// How often a program that is talked with is told that we are alive.
const BEAT: Duration = Duration::from_secs(10);
/// After so long without a word, not even an empty line, nobody is there any more.
const SILENCE: Duration = Duration::from_secs(90);

/// No line is longer: memory is not filled by whatever comes.
const LONGEST: usize = 64 << 20;

/// A program that we started. Where this is dropped, or the run is ended, its standard input ends, and it
/// gets the time to clean up after itself.
#[derive(Debug)]
#[must_use]
pub struct Talk<'a> {
    running: Running<'a>,
    lines: VecDeque<Vec<u8>>,
    begun: Vec<u8>,
    heard: Instant,
}

/// What came of listening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A line.
    Line(Vec<u8>),
    /// Nothing yet.
    Nothing,
    /// It has ended.
    End,
}

impl<'a> Talk<'a> {
    /// Starts it with `first` on its standard input.
    pub fn begin(call: Call<'a>, first: &str) -> Result<Self, CommandError> {
        Self::begin_with(call, first, BEAT)
    }

    /// The same, with a sign of life each `beat`.
    pub fn begin_with(call: Call<'a>, first: &str, beat: Duration) -> Result<Self, CommandError> {
        let running = call.stdin(format!("{first}\n")).talked_with(beat).start()?;
        Ok(Self { running, lines: VecDeque::new(), begun: Vec::new(), heard: Instant::now() })
    }

    /// Says another line.
    pub fn say(&self, line: &str) {
        self.running.say(format!("{line}\n").into_bytes());
    }

    /// Says bytes, which [`Starter::hear_bytes`] hears.
    pub fn say_bytes(&self, bytes: &[u8]) {
        self.running.say([format!("{BYTES}{}\n", bytes.len()).as_bytes(), bytes].concat());
    }

    /// The next line that it says; none once it has ended.
    pub fn hear(&mut self) -> Result<Option<Vec<u8>>, CommandError> {
        loop {
            match self.hear_soon()? {
                Heard::Line(line) => return Ok(Some(line)),
                Heard::End => return Ok(None),
                Heard::Nothing => {}
            }
        }
    }

    /// The next line that it says, if it does so within some milliseconds.
    pub fn hear_soon(&mut self) -> Result<Heard, CommandError> {
        let Self { running, lines, begun, heard } = self;
        if let Some(line) = lines.pop_front() {
            return Ok(Heard::Line(line));
        }
        let mut take = |piece: &[u8]| {
            *heard = Instant::now();
            for part in piece.split_inclusive(|byte| *byte == b'\n') {
                begun.extend_from_slice(part);
                if part.ends_with(b"\n") {
                    lines.push_back(std::mem::take(begun));
                }
            }
        };
        let ended = running.step(&mut take)?.is_some();
        if begun.len() > LONGEST {
            return Err(CommandError::Endless { argv: running.argv().to_owned(), limit: LONGEST });
        }
        Ok(match lines.pop_front() {
            Some(line) => Heard::Line(line),
            None if ended => Heard::End,
            None => Heard::Nothing,
        })
    }

    /// How long ago anything came of it, be it an empty line.
    pub fn silent_for(&self) -> Duration {
        self.heard.elapsed()
    }

    /// Lets it end in order, for which it has a minute: how it ended, and what it said until then.
    pub fn part(self) -> Result<Finished, CommandError> {
        self.running.part()
    }

    /// Ends it although nothing comes of it any more: it gets no time to clean up.
    pub fn give_up(self) {
        self.running.give_up();
    }

    /// How it ended.
    pub fn finish(self) -> Result<Finished, CommandError> {
        self.running.wait()
    }
}

/// How a line begins that says how many bytes follow it.
const BYTES: &str = "=";
/// More bytes are not taken at once.
const MOST: u64 = 64 << 20;

/// Whoever started us.
#[derive(Debug)]
pub struct Starter {
    said: Receiver<Word>,
    cancel: Cancel,
}

#[derive(Debug)]
enum Word {
    /// That somebody is there.
    Beat,
    Line(String),
    Bytes(Vec<u8>),
}

impl Starter {
    /// Listens from now on. `cancel` is set once `input` has ended or was silent for too long.
    pub fn listen(input: impl BufRead + Send + 'static, cancel: &Cancel) -> anyhow::Result<Self> {
        Self::listen_for(input, SILENCE, cancel)
    }

    /// The same, where `silence` is too long.
    pub fn listen_for(
        mut input: impl BufRead + Send + 'static,
        silence: Duration,
        cancel: &Cancel,
    ) -> anyhow::Result<Self> {
        let (heard, lines) = channel();
        let (words, said) = channel();
        spawn("reader", move || {
            // Nobody may be listening any more.
            let mut take = |word| drop(heard.send(word));
            while let Ok(true) = read_word(&mut input, &mut take) {}
        })?;
        let gone = cancel.clone();
        spawn("listener", move || {
            while let Ok(word) = lines.recv_timeout(silence) {
                if !matches!(word, Word::Beat) {
                    drop(words.send(word));
                }
            }
            gone.set(SIGHUP);
        })?;
        Ok(Self { said, cancel: cancel.clone() })
    }

    /// Says a line back.
    pub fn say(&self, line: &str) -> anyhow::Result<()> {
        writeln!(io::stdout(), "{line}").context("standard output is closed")
    }

    /// Says an empty line each `interval` from now on, as a sign of life.
    pub fn beat(&self, interval: Duration) -> anyhow::Result<()> {
        spawn("beat", move || {
            while writeln!(io::stdout()).is_ok() {
                std::thread::sleep(interval);
            }
        })
    }

    /// The next line that is not empty.
    pub fn hear(&self) -> anyhow::Result<String> {
        match self.word()? {
            Word::Line(line) => Ok(line),
            other => anyhow::bail!("a line was expected, not {other:?}"),
        }
    }

    /// The next bytes, or the line that came instead.
    pub fn hear_bytes(&self) -> anyhow::Result<Result<Vec<u8>, String>> {
        match self.word()? {
            Word::Bytes(bytes) => Ok(Ok(bytes)),
            Word::Line(line) => Ok(Err(line)),
            Word::Beat => anyhow::bail!("nothing was said"),
        }
    }

    fn word(&self) -> anyhow::Result<Word> {
        loop {
            match self.said.recv_timeout(POLL) {
                Ok(word) => return Ok(word),
                Err(RecvTimeoutError::Timeout) => self.cancel.check()?,
                Err(RecvTimeoutError::Disconnected) => {
                    self.cancel.check()?;
                    anyhow::bail!("standard input has ended");
                }
            }
        }
    }
}

/// Hands on what comes next; false at the end. While many bytes come there are beats.
fn read_word(input: &mut impl BufRead, take: &mut impl FnMut(Word)) -> io::Result<bool> {
    const PIECE: u64 = 64 << 10;
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(false);
    }
    let line = line.trim_end_matches(['\n', '\r']);
    let count = line.strip_prefix(BYTES).and_then(|count| count.parse::<u64>().ok()).filter(|count| *count <= MOST);
    let Some(mut left) = count else {
        take(if line.is_empty() { Word::Beat } else { Word::Line(line.to_owned()) });
        return Ok(true);
    };
    let mut bytes = Vec::new();
    while left > 0 {
        let more = input.by_ref().take(left.min(PIECE)).read_to_end(&mut bytes)? as u64;
        if more == 0 {
            return Ok(false);
        }
        left -= more;
        take(Word::Beat);
    }
    take(Word::Bytes(bytes));
    Ok(true)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).context("cannot start a thread")?;
    Ok(())
}

/// The reader of what whoever started us says, for [`crate::fuzz`].
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz(mut input: &[u8]) {
    let (mut taken, given) = (0, input.len());
    let mut take = |word| {
        taken += match word {
            Word::Beat => 0,
            Word::Line(line) => line.len(),
            Word::Bytes(bytes) => bytes.len(),
        }
    };
    while let Ok(true) = read_word(&mut input, &mut take) {}
    assert!(taken <= given, "more is taken than was said");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Call<'_> {
        Call::new("sh").args(["-c", script])
    }

    #[test]
    fn lines_go_both_ways_until_the_program_ends() {
        let mut talk = Talk::begin(shell("read a; echo got $a; read b; echo and $b; exit 3"), "one").unwrap();
        assert_eq!(talk.hear().unwrap().unwrap(), b"got one\n");
        talk.say("two");
        assert_eq!(talk.hear().unwrap().unwrap(), b"and two\n");
        assert_eq!(talk.hear().unwrap(), None);
        assert_eq!(talk.finish().unwrap().status.code(), Some(3));
    }

    #[test]
    fn a_line_without_an_end_is_not_kept() {
        let mut talk = Talk::begin(shell("head -c 100000000 /dev/zero; echo; read b"), "one").unwrap();
        let error = talk.hear().unwrap_err();
        assert!(matches!(error, CommandError::Endless { limit: LONGEST, .. }), "{error}");
        assert!(talk.begun.len() < LONGEST + (1 << 20));
    }

    #[test]
    fn a_program_that_is_left_alone_may_clean_up() {
        let directory = tempfile::tempdir().unwrap();
        let trace = directory.path().join("clean");
        let script = format!("read a; echo here; read b; sleep 0.3; touch {}", trace.display());
        let cancel = Cancel::new();
        for ended in [false, true] {
            let mut talk = Talk::begin(shell(&script).cancel(&cancel), "one").unwrap();
            assert_eq!(talk.hear().unwrap().unwrap(), b"here\n");
            if ended {
                cancel.set(15);
                assert!(matches!(talk.hear(), Err(CommandError::Cancelled { signal: 15, .. })));
            }
            drop(talk);
            assert!(trace.exists());
            std::fs::remove_file(&trace).unwrap();
        }
    }

    #[test]
    fn bytes_of_any_kind_come_whole_between_lines() {
        let cancel = Cancel::new();
        let (input, mut output) = std::os::unix::net::UnixStream::pair().unwrap();
        let starter = Starter::listen(io::BufReader::new(input), &cancel).unwrap();
        let bytes: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut talk = Talk::begin(shell("exec cat"), "first").unwrap();
        talk.say_bytes(&bytes);
        talk.say("last");
        let mut written = Vec::new();
        while !written.ends_with(b"last\n") {
            written.extend(talk.hear().unwrap().unwrap());
        }
        let writer = std::thread::spawn(move || io::Write::write_all(&mut output, &written).unwrap());
        assert_eq!(starter.hear().unwrap(), "first");
        assert!(starter.hear_bytes().unwrap().unwrap() == bytes);
        assert_eq!(starter.hear_bytes().unwrap().unwrap_err(), "last");
        writer.join().unwrap();
    }

    #[test]
    fn a_program_that_is_silent_is_noticed_and_given_up() {
        let mut talk = Talk::begin_with(shell("read a; echo; kill -STOP $$"), "one", BEAT).unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while talk.silent_for() < Duration::from_millis(300) && Instant::now() < end {
            talk.hear_soon().unwrap();
        }
        let begun = Instant::now();
        assert!(begun < end);
        talk.give_up();
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn whoever_was_started_ends_with_its_input() {
        let cancel = Cancel::new();
        let (input, mut output) = std::os::unix::net::UnixStream::pair().unwrap();
        let starter = Starter::listen(std::io::BufReader::new(input), &cancel).unwrap();
        std::io::Write::write_all(&mut output, b"\n\nwork\n").unwrap();
        assert_eq!(starter.hear().unwrap(), "work");
        assert_eq!(cancel.signal(), None);
        drop(output);
        let end = Instant::now() + Duration::from_secs(10);
        while cancel.signal().is_none() && Instant::now() < end {
            std::thread::sleep(POLL);
        }
        assert_eq!(cancel.signal(), Some(SIGHUP));
        assert!(starter.hear().is_err());
    }
}
