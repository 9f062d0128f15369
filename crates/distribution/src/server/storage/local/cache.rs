//! Manifests that were lately asked for.

use std::collections::HashMap;

use hyper::body::Bytes;
use oci::Digest;

/// What is kept at most, 32 MiB: thousands of manifests, a quarter of what the server may use.
const LIMIT: usize = 32 << 20;

/// Two generations: what is asked for moves to the young one; when that is full it becomes the old one, and what nobody
/// asked for in the meantime is gone.
#[derive(Debug, Default)]
pub(super) struct Cache {
    young: HashMap<Digest, Bytes>,
    old: HashMap<Digest, Bytes>,
    size: usize,
}

impl Cache {
    /// The bytes, if they are kept.
    pub(super) fn get(&mut self, digest: &Digest) -> Option<Bytes> {
        if let Some(bytes) = self.young.get(digest) {
            return Some(bytes.clone());
        }
        let bytes = self.old.remove(digest)?;
        self.insert(*digest, bytes.clone());
        Some(bytes)
    }

    /// Keeps the bytes.
    pub(super) fn insert(&mut self, digest: Digest, bytes: Bytes) {
        self.size += bytes.len();
        if self.size > LIMIT / 2 {
            self.size = bytes.len();
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, bytes);
    }

    /// Forgets the bytes.
    pub(super) fn remove(&mut self, digest: &Digest) {
        self.old.remove(digest);
        if let Some(bytes) = self.young.remove(digest) {
            self.size = self.size.saturating_sub(bytes.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_is_asked_for_within_the_limit() {
        let mut cache = Cache::default();
        let wanted = Digest::sha256_of(b"wanted");
        cache.insert(wanted, Bytes::from_static(b"wanted"));
        for n in 0..200_u32 {
            let bytes = vec![0; 1 << 20];
            cache.insert(Digest::sha256_of(&n.to_be_bytes()), bytes.into());
            assert!(cache.get(&wanted).is_some());
            let size: usize = cache
                .young
                .values()
                .chain(cache.old.values())
                .map(Bytes::len)
                .sum();
            assert!(size <= LIMIT);
        }
        assert!(
            cache
                .get(&Digest::sha256_of(&0_u32.to_be_bytes()))
                .is_none()
        );
        cache.remove(&wanted);
        assert!(cache.get(&wanted).is_none());
    }
}
