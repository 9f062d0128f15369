//! The tag under which a registry without the referrers API keeps them.

use oci::Digest;

/// `<algorithm>-<hash>`, the algorithm cut at 32 and the hash at 64 characters: an index of what refers to `subject`.
#[must_use]
pub fn fallback_tag(subject: &Digest) -> String {
    let mut hash = subject.hex();
    hash.truncate(64);
    format!("{}-{hash}", subject.algorithm().name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_tag_whatever_the_algorithm() {
        let mut long = oci::Hasher::new(oci::Algorithm::Sha512);
        long.update(b"x");
        for digest in [Digest::sha256_of(b"x"), long.finish()] {
            let tag = fallback_tag(&digest);
            assert!(tag.parse::<oci::Tag>().is_ok(), "{tag}");
            assert!(tag.starts_with(digest.algorithm().name()));
        }
    }
}
