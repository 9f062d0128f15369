//! What a person can do about an exchange that failed.

use distribution::client::{Access, Asked, Cause, Error as Client, Kind};
use distribution::wire::ErrorCode;

use super::ExchangeError;

impl ExchangeError {
    pub(crate) fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Platform { here, .. } => here.first().map(|platform| {
                // A shell would take a parenthesis for its own.
                let quote = if platform.contains('(') { "'" } else { "" };
                format!("pass `--platform {quote}{platform}{quote}`")
            }),
            Self::NotAnImage { .. } => {
                Some("`barque copy` copies it from registry to registry".to_owned())
            }
            Self::Layer { source, .. } => return source.hints(),
            Self::OneTag(name) => Some(format!("`{name}` without `--all-tags` means that one")),
            Self::NotLoggedIn(registry) => Some(format!("`barque login {registry}` logs in")),
            Self::Registry(error) => of_client(error),
            _ => None,
        };
        hint.into_iter().collect()
    }
}

fn of_client(error: &Client) -> Option<String> {
    match error {
        Client::Status {
            asked: Some(asked), ..
        } => refused(error, asked),
        Client::Connect { host, cause, .. } => unreached(host, *cause),
        Client::Proxy { host, .. } => Some(format!(
            "the proxy is that of `HTTP_PROXY` or `HTTPS_PROXY`; `NO_PROXY={host}` goes without it"
        )),
        Client::Program { host, .. } => Some(format!(
            "`ssh {host} barque info` has to work: `barque` must be in the search path there"
        )),
        Client::Helper { .. } => Some(
            "`credHelpers` or `credsStore` in `config.json` or `auth.json` names that program"
                .to_owned(),
        ),
        Client::Blocked(_) => Some("`blocked = true` in `registries.conf` says so".to_owned()),
        _ => None,
    }
}

fn refused(error: &Client, asked: &Asked) -> Option<String> {
    let Asked {
        registry,
        repository,
        access,
    } = asked;
    match (error.kind(), access) {
        (Kind::Unauthorized, Access::Somebody) => {
            Some(format!("`barque login {registry}` takes other credentials"))
        }
        (Kind::Unauthorized | Kind::Denied, Access::Open | Access::Nobody) => {
            // Docker Hub, for one, says the same of what is private and of what is misspelt.
            let or = match repository {
                Some(_) => "; it may be that there is no such repository",
                None => "",
            };
            Some(format!(
                "`barque login {registry}` keeps credentials for it{or}"
            ))
        }
        (Kind::Unauthorized | Kind::Denied, _) => Some(format!(
            "the user who is logged in may not; `barque login {registry}` logs in as another"
        )),
        // Who is told this may see the repository.
        (Kind::NotFound, _) if error.has(ErrorCode::ManifestUnknown) => {
            repository.as_ref().map(|repository| {
                format!(
                    "`barque registry ls {registry}/{repository}` lists the tags that there are"
                )
            })
        }
        (Kind::NotFound, Access::Nobody) => Some(format!(
            "what is private is not shown to everybody: `barque login {registry}` logs in"
        )),
        (Kind::NotFound, _) if error.has(ErrorCode::NameUnknown) => Some(format!(
            "`barque registry ls {registry}/` lists the repositories that it shows"
        )),
        _ => None,
    }
}

fn unreached(host: &str, cause: Cause) -> Option<String> {
    let folder = format!("/etc/containers/certs.d/{host}");
    Some(match cause {
        Cause::NoTls => format!(
            "a registry without TLS is `insecure = true` for `location = \"{host}\"` in `registries.conf`"
        ),
        Cause::Expired => {
            "its owner has to renew it, unless the clock of this machine is wrong".to_owned()
        }
        Cause::OtherName => "use a name that the certificate is for".to_owned(),
        Cause::Untrusted => format!("the authority's certificate goes to `{folder}/ca.crt`"),
        Cause::WantsCertificate => {
            format!("it goes to `{folder}/client.cert`, its key to `client.key`")
        }
        Cause::Network | Cause::Tls => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16, access: Access, code: ErrorCode) -> ExchangeError {
        ExchangeError::Registry(Client::Status {
            what: "manifest".to_owned(),
            status,
            document: distribution::wire::ErrorDocument::new(code, ""),
            retry_after: None,
            asked: Some(Box::new(Asked {
                registry: "r.example".to_owned(),
                repository: Some("a/b".to_owned()),
                access,
            })),
        })
    }

    #[test]
    fn a_refusal_is_answered_by_who_was_asked_as_whom() {
        let (denied, name, tag) = (
            ErrorCode::Denied,
            ErrorCode::NameUnknown,
            ErrorCode::ManifestUnknown,
        );
        for (error, hint) in [
            (
                status(401, Access::Nobody, denied),
                "`barque login r.example` keeps",
            ),
            (status(401, Access::Somebody, denied), "other credentials"),
            (status(401, Access::Member, denied), "logs in as another"),
            (status(403, Access::Somebody, denied), "logs in as another"),
            (
                status(404, Access::Nobody, name),
                "`barque login r.example` logs in",
            ),
            (
                status(404, Access::Open, name),
                "`barque registry ls r.example/`",
            ),
            (
                status(404, Access::Member, tag),
                "`barque registry ls r.example/a/b`",
            ),
            (
                status(404, Access::Nobody, tag),
                "`barque registry ls r.example/a/b`",
            ),
            (
                status(401, Access::Nobody, name),
                "there is no such repository",
            ),
        ] {
            let hints = error.hints();
            assert!(hints.len() == 1 && hints[0].contains(hint), "{hints:?}");
        }
        let blob = status(404, Access::Open, ErrorCode::BlobUnknown);
        assert!(blob.hints().is_empty());
    }

    #[test]
    fn each_way_not_to_be_reached_has_its_own() {
        for (cause, hint) in [
            (Cause::NoTls, "`insecure = true` for `location = \"h:1\"`"),
            (Cause::Untrusted, "certs.d/h:1/ca.crt"),
            (Cause::WantsCertificate, "certs.d/h:1/client.cert"),
            (Cause::Expired, "renew"),
            (Cause::OtherName, "a name"),
        ] {
            let error = ExchangeError::Registry(Client::Connect {
                host: "h:1".to_owned(),
                why: String::new(),
                cause,
            });
            let hints = error.hints();
            assert!(hints.len() == 1 && hints[0].contains(hint), "{hints:?}");
        }
    }

    #[test]
    fn a_platform_with_a_version_is_one_word() {
        let error = ExchangeError::Platform {
            image: "a".to_owned(),
            wanted: "b".to_owned(),
            here: vec!["windows(10.0)/amd64".to_owned()],
        };
        assert_eq!(error.hints(), ["pass `--platform 'windows(10.0)/amd64'`"]);
    }
}
