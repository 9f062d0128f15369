//! Which time it is and which boot this is; the only place of this crate that asks the machine.

use std::time::{SystemTime, UNIX_EPOCH};

use sys::fs;

use crate::error::Result;

/// Where times in the store come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// Always the same second since 1970, for tests.
    Fixed(i64),
}

impl Clock {
    /// Seconds since 1970.
    #[must_use]
    pub fn now(self) -> i64 {
        match self {
            Self::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |passed| {
                    i64::try_from(passed.as_secs()).unwrap_or(i64::MAX)
                }),
            Self::Fixed(seconds) => seconds,
        }
    }
}

/// The name of the running boot of this machine.
pub(crate) fn boot() -> Result<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id".as_ref())?;
    Ok(text.trim().to_owned())
}
