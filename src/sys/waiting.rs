//! A program that is started before there is anything for it to do, so that its start costs nobody's time later.

use std::time::{Duration, Instant};

use super::cmd::{Call, CommandError, Running};

/// One that is told what to do by its standard input. Where this is dropped, or we are gone, that ends without a word.
#[derive(Debug)]
#[must_use]
pub struct Waiting(Running<'static>);

impl Waiting {
    /// Starts `call`, whose standard input stays open behind what it is given; returns once it has said anything. An
    /// error where it ends instead, or says nothing for as long as `patience`.
    pub fn start(call: Call<'static>, patience: Duration) -> Result<Self, CommandError> {
        let argv = call.display();
        let end = Instant::now() + patience;
        let mut running = call.talked_with(Duration::MAX).start()?;
        let mut has_spoken = false;
        while !has_spoken {
            if let Some(status) = running.step(&mut |_| has_spoken = true)? {
                running.wait()?.succeeded(&argv)?;
                return Err(CommandError::Failed { argv, status, stderr: "it was to wait for orders".to_owned() });
            }
            if Instant::now() >= end {
                return Err(CommandError::Deadline { argv, after: patience, spared: true });
            }
        }
        Ok(Self(running))
    }

    /// Has it do `call`, which is `words` in its language; the deadline is that of `call`. Where it has ended meanwhile
    /// `call` is started as usual.
    pub fn tell(self, call: Call<'static>, words: Vec<u8>) -> Result<Running<'static>, CommandError> {
        call.start_in(self.0, words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn shell(first: &str) -> Call<'static> {
        Call::new("sh").stdin(format!("{first}\n"))
    }

    #[test]
    fn it_does_what_it_is_told_and_ends_with_its_status() {
        let waiting = Waiting::start(shell("echo ready"), PATIENCE).unwrap();
        let call = Call::new("no-such-program").arg("x");
        let error = waiting.tell(call, b"echo told >&2; exit 5\n".to_vec()).unwrap().wait().unwrap();
        let error = error.succeeded("told").unwrap_err();
        assert_eq!((error.code(), error.stderr()), (Some(5), Some("told")));
    }

    #[test]
    fn one_that_has_ended_meanwhile_is_made_up_for() {
        let waiting = Waiting::start(shell("echo ready; exit"), PATIENCE).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let running = waiting.tell(Call::new("echo").arg("plain"), b"echo told\n".to_vec()).unwrap();
        assert_eq!(running.wait().unwrap().stdout, b"plain\n");
    }

    #[test]
    fn one_that_ends_or_stays_silent_is_none() {
        let error = Waiting::start(shell("echo no >&2; exit 3"), PATIENCE).unwrap_err();
        assert_eq!((error.code(), error.stderr()), (Some(3), Some("no")));
        let error = Waiting::start(shell("exit 0"), PATIENCE).unwrap_err();
        assert!(error.to_string().contains("it was to wait"), "{error}");
        let error = Waiting::start(shell("sleep 1"), Duration::from_millis(200)).unwrap_err();
        assert!(matches!(error, CommandError::Deadline { .. }), "{error}");
    }

    #[test]
    fn one_that_is_dropped_ends_by_itself() {
        drop(Waiting::start(shell("echo ready").spared(), PATIENCE).unwrap());
        super::super::cmd::settle(PATIENCE).unwrap();
    }
}
