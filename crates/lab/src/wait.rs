//! Waiting on conditions instead of time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Waits until `condition` holds, and says after `limit` that `what` did not happen.
///
/// A condition that returns an error is asked again; its last error is part of the failure.
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        let answer = condition();
        if matches!(answer, Ok(true)) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let sentence = format!("after {limit:?} it is not so that {what}");
            answer.with_context(|| sentence.clone())?;
            bail!(sentence);
        }
        std::thread::sleep(LOOK);
    }
}
