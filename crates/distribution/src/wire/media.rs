//! Media types on the wire.

/// What a client says it takes when it asks for a manifest: OCI and Docker, manifests and indexes. Schema 1 is named
/// nowhere; a registry that has nothing else answers 404 or sends it all the same, and it is refused by its content.
pub const ACCEPT_MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1";

/// A media type without its parameters: `text/plain` of `text/plain; charset=utf-8`.
#[must_use]
pub fn essence(content_type: &str) -> &str {
    content_type
        .split_once(';')
        .map_or(content_type, |(essence, _)| essence)
        .trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_parameters() {
        assert_eq!(
            essence("application/json; charset=utf-8"),
            "application/json"
        );
        assert_eq!(essence(" a/b "), "a/b");
        assert_eq!(essence(""), "");
    }
}
