//! Two programs that talk line by line: the one that was started reads standard input, which ends, or falls
//! silent, when the one that started it is gone, however far away the two are.

use std::collections::VecDeque;
use std::io::BufRead;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::Context as _;
use nix::libc::SIGHUP;

use super::cancel::{Cancel, POLL};
use super::cmd::{Call, CommandError, Finished, Running};

/// After so long without a word, not even an empty line, nobody is there any more.
const SILENCE: Duration = Duration::from_secs(90);

/// A program that we started. Where this is dropped, or the run is ended, its standard input ends, and it
/// gets the time to clean up after itself.
#[derive(Debug)]
#[must_use]
pub struct Talk<'a> {
    running: Running<'a>,
    lines: VecDeque<Vec<u8>>,
    begun: Vec<u8>,
}

impl<'a> Talk<'a> {
    /// Starts it with `first` on its standard input.
    pub fn begin(call: Call<'a>, first: &str) -> Result<Self, CommandError> {
        let running = call.stdin(format!("{first}\n")).talked_with().start()?;
        Ok(Self { running, lines: VecDeque::new(), begun: Vec::new() })
    }

    /// Says another line.
    pub fn say(&self, line: &str) {
        self.running.say(format!("{line}\n").into_bytes());
    }

    /// The next line that it says; none once it has ended.
    pub fn hear(&mut self) -> Result<Option<Vec<u8>>, CommandError> {
        let Self { running, lines, begun } = self;
        loop {
            if let Some(line) = lines.pop_front() {
                return Ok(Some(line));
            }
            let mut take = |piece: &[u8]| {
                for part in piece.split_inclusive(|byte| *byte == b'\n') {
                    begun.extend_from_slice(part);
                    if part.ends_with(b"\n") {
                        lines.push_back(std::mem::take(begun));
                    }
                }
            };
            if running.step(&mut take)?.is_some() && lines.is_empty() {
                return Ok(None);
            }
        }
    }

    /// How it ended.
    pub fn finish(self) -> Result<Finished, CommandError> {
        self.running.wait()
    }
}

/// Whoever started us.
#[derive(Debug)]
pub struct Starter {
    said: Receiver<String>,
    cancel: Cancel,
}

impl Starter {
    /// Listens from now on. `cancel` is set once `input` has ended or was silent for too long.
    pub fn listen(input: impl BufRead + Send + 'static, cancel: &Cancel) -> anyhow::Result<Self> {
        let (heard, lines) = channel();
        let (words, said) = channel();
        spawn("reader", move || {
            // Nobody may be listening any more.
            input.lines().map_while(Result::ok).for_each(|line| drop(heard.send(line)));
        })?;
        let gone = cancel.clone();
        spawn("listener", move || {
            while let Ok(line) = lines.recv_timeout(SILENCE) {
                if !line.is_empty() {
                    drop(words.send(line));
                }
            }
            gone.set(SIGHUP);
        })?;
        Ok(Self { said, cancel: cancel.clone() })
    }

    /// The next line that is not empty.
    pub fn hear(&self) -> anyhow::Result<String> {
        loop {
            match self.said.recv_timeout(POLL) {
                Ok(line) => return Ok(line),
                Err(RecvTimeoutError::Timeout) => self.cancel.check()?,
                Err(RecvTimeoutError::Disconnected) => {
                    self.cancel.check()?;
                    anyhow::bail!("standard input has ended");
                }
            }
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).context("cannot start a thread")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

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
