//! A key whose file changes: sessions are begun anew with it, and only then those with the old one end.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use mainstay_core::tunnel::roam::Input;
use mainstay_link::tunnel::Session;
use mainstay_link::tunnel::keys::SigningKey;
use tokio::time::sleep;

use super::{Agent, settings};

/// How often the file is looked at, as those of the edge are.
const EVERY: Duration = Duration::from_secs(2);

/// How often it is looked whether all hubs have been met with the new key.
const LOOK: Duration = Duration::from_millis(100);

impl Agent {
    /// Follows the file of the key for as long as it runs.
    pub(super) async fn follow_key(self: Rc<Self>, file: PathBuf) {
        let mut known = mark(&file);
        let mut told = None;
        loop {
            sleep(EVERY).await;
            let now = mark(&file);
            if now == known {
                continue;
            }
            match SigningKey::load(&file) {
                Ok(key) => {
                    (known, told) = (now, None);
                    if key.public() != self.key.borrow().public() {
                        self.renew(key).await;
                    }
                }
                // It may be written at this moment: it is looked at again.
                Err(why) => {
                    let why =
                        format!("key {}: {why}; what was read before goes on being used", file.display());
                    if told.replace(why.clone()) != Some(why.clone()) {
                        self.voice.warn(&self.name, why);
                    }
                }
            }
        }
    }

    /// Has all sessions succeeded by those with another key.
    async fn renew(&self, key: SigningKey) {
        let message = format!("the key has changed: it is {} from now on", key.public());
        self.voice.inform(&self.name, message);
        self.key.replace(Rc::new(key));
        let old: Vec<(u64, Session)> =
            self.sessions.borrow().iter().map(|(number, session)| (*number, session.clone())).collect();
        for (number, _) in &old {
            let _ = self.inputs.send(Input::Leaving(*number));
        }
        let fresh =
            || self.sessions.borrow().keys().any(|number| old.iter().all(|(known, _)| known != number));
        while !(fresh() && self.is_settled()) {
            sleep(LOOK).await;
        }
        old.iter().for_each(|(_, session)| session.drain(settings::DRAIN));
    }
}

/// Change of a file, as far as its directory tells.
fn mark(file: &Path) -> Option<(i64, i64, u64, u64)> {
    let meta = std::fs::metadata(file).ok()?;
    Some((meta.mtime(), meta.mtime_nsec(), meta.ino(), meta.size()))
}
