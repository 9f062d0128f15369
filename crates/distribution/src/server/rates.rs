//! How many requests an address may send.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Addresses that are remembered; when there are more, those that have sent nothing lately are forgotten.
const ADDRESSES: usize = 65_536;

/// A bucket of requests for each address: it holds those of ten seconds, and fills up all the time.
#[derive(Debug)]
pub(crate) struct Rates {
    per_second: f64,
    buckets: Mutex<HashMap<IpAddr, (f64, Instant)>>,
}

impl Rates {
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            per_second: f64::from(per_second.max(1)),
            buckets: Mutex::default(),
        }
    }

    /// Whether an address may send a request now.
    pub(crate) fn take(&self, address: IpAddr, now: Instant) -> bool {
        let most = self.per_second * 10.0;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let filled = |left: f64, since: Instant| {
            (left + now.saturating_duration_since(since).as_secs_f64() * self.per_second).min(most)
        };
        if buckets.len() >= ADDRESSES && !buckets.contains_key(&address) {
            buckets.retain(|_, (left, since)| filled(*left, *since) < most);
            if buckets.len() >= ADDRESSES {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(address).or_insert((most, now));
        let left = filled(bucket.0, bucket.1);
        let enough = left >= 1.0;
        *bucket = (if enough { left - 1.0 } else { left }, now);
        enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bucket_empties_and_fills() {
        let rates = Rates::new(2);
        let (one, two) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let start = Instant::now();
        assert!((0..20).all(|_| rates.take(one, start)));
        assert!(!rates.take(one, start));
        assert!(rates.take(two, start));
        assert!(rates.take(one, start + Duration::from_secs(1)));
        assert!(rates.take(one, start + Duration::from_secs(1)));
        assert!(!rates.take(one, start + Duration::from_secs(1)));
    }
}
