//! What images of the store are called where it is spoken to as a registry.
//!
//! A repository's name has no place for a port, so `localhost:5000/app` is `localhost__5000/app` there. A name of Docker Hub
//! that looks like one of these is written in full.

use oci::{Reference, Repository};

/// Between host and port; no host has it.
const PORT: &str = "__";

/// The repository that an image is in; `None` if its name has something else that a repository's cannot have.
pub(crate) fn repository_of(reference: &Reference) -> Option<Repository> {
    let familiar = reference.familiar_name();
    let name = match familiar.split_once('/') {
        Some((host, rest)) if host.contains(':') => format!("{}/{rest}", host.replace(':', PORT)),
        Some((host, _)) if with_port(host).is_some() => reference.name(),
        _ => familiar,
    };
    name.parse().ok()
}

/// The name, without a tag, that a repository stands for.
pub(crate) fn reference_of(repository: &Repository) -> Option<Reference> {
    let name = repository.as_str();
    let name = match name.split_once('/') {
        Some((host, rest)) => match with_port(host) {
            Some((host, port)) => format!("{host}:{port}/{rest}"),
            None => name.to_owned(),
        },
        None => name.to_owned(),
    };
    name.parse().ok()
}

/// Host and port of `HOST__PORT`.
fn with_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(PORT)?;
    let fine = !host.contains('_') && port.bytes().all(|byte| byte.is_ascii_digit());
    Some((host, port.parse().ok().filter(|_| fine)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_a_repository_of_its_own() {
        for (name, repository) in [
            ("alpine", "alpine"),
            ("team/app", "team/app"),
            ("quay.io/a/b", "quay.io/a/b"),
            ("localhost:5000/app", "localhost__5000/app"),
            ("127.0.0.1:41234/a/b", "127.0.0.1__41234/a/b"),
            ("some__5000/app", "docker.io/some__5000/app"),
            ("some__more/app", "some__more/app"),
            ("some__70000/app", "some__70000/app"),
        ] {
            let reference: Reference = name.parse().unwrap();
            let found = repository_of(&reference).unwrap();
            assert_eq!(found.as_str(), repository);
            assert_eq!(reference_of(&found).unwrap().name(), reference.name());
        }
    }
}
