//! Which image of an index a platform means.

use oci::{Descriptor, Platform};

use super::documents;

/// The entry of an index that runs on `wanted`: the same variant, else the nearest older one.
///
/// Entries without a platform match nothing; attestations are no images.
pub(crate) fn choose<'i>(
    entries: impl IntoIterator<Item = &'i Descriptor>,
    wanted: &Platform,
) -> Option<&'i Descriptor> {
    entries
        .into_iter()
        .filter(|entry| !documents::is_attestation(entry))
        .filter_map(|entry| Some((rank(wanted, entry.platform.as_ref()?)?, entry)))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, entry)| entry)
}

/// The entries of an index that are images.
pub(crate) fn images(entries: &[Descriptor]) -> Vec<&Descriptor> {
    entries
        .iter()
        .filter(|entry| !documents::is_attestation(entry))
        .collect()
}

/// How far an image for `found` is from what `wanted` asks for; `None` if it cannot run there. 0 is exact.
pub(crate) fn rank(wanted: &Platform, found: &Platform) -> Option<u32> {
    found.distance_from(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci::{Digest, media_type};

    fn entry(platform: &str) -> Descriptor {
        let digest = Digest::sha256_of(platform.as_bytes());
        Descriptor {
            platform: platform.parse().ok(),
            ..Descriptor::new(media_type::OCI_MANIFEST, digest, 1)
        }
    }

    #[test]
    fn the_nearest_variant_that_runs_is_chosen() {
        let entries = [
            "linux/arm/v5",
            "linux/arm/v6",
            "linux/arm64",
            "linux/amd64",
            "linux/amd64/v3",
        ]
        .map(entry);
        for (wanted, found) in [
            ("linux/arm/v7", Some("linux/arm/v6")),
            ("linux/arm/v6", Some("linux/arm/v6")),
            ("linux/arm64/v8", Some("linux/arm64")),
            ("linux/amd64", Some("linux/amd64")),
            ("linux/amd64/v2", Some("linux/amd64")),
            ("linux/amd64/v4", Some("linux/amd64/v3")),
            ("linux/riscv64", None),
            ("windows/amd64", None),
        ] {
            let got = choose(&entries, &wanted.parse().unwrap())
                .and_then(|entry| entry.platform.as_ref());
            assert_eq!(got.map(ToString::to_string).as_deref(), found, "{wanted}");
        }
    }
}
