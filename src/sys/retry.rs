//! Trying again, with a pause that grows, until a deadline.

use std::time::{Duration, Instant};

/// Calls `attempt` until it succeeds or `deadline` has passed; the last error is returned.
/// The pause starts at 50 ms and doubles up to one second. Not cancellable on purpose: this is
/// how teardown retries.
pub fn until<T, E>(deadline: Duration, mut attempt: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let end = Instant::now() + deadline;
    let mut pause = Duration::from_millis(50);
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() + pause >= end => return Err(error),
            Err(_) => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}
