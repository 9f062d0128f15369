//! Waiting that ends.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Asks `condition` until it holds, for at most `seconds`. True if it did.
#[must_use]
pub fn eventually(seconds: u64, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        sleep(Duration::from_millis(5));
    }
}
