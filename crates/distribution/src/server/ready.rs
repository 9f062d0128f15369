//! `/readyz`: whether the storage can be written to.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::storage::Storage;

/// How long an answer holds. To ask the storage is a write, and anybody may ask us.
const HOLDS: Duration = Duration::from_secs(1);

/// What the storage said last.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    last: Mutex<Option<(Instant, Result<(), String>)>>,
}

impl Readiness {
    /// Why the storage does not work, if it does not. Those who ask at the same time wait for one answer.
    pub(crate) async fn check(&self, storage: &dyn Storage) -> Result<(), String> {
        let mut last = self.last.lock().await;
        if let Some((at, said)) = &*last
            && at.elapsed() < HOLDS
        {
            return said.clone();
        }
        let said = storage.check().await.map_err(|error| error.to_string());
        *last = Some((Instant::now(), said.clone()));
        said
    }
}
