//! Servers that behave badly, and credentials.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use build::{Brought, HttpSource, Remote as _, RemoteSource, SecretSource};
use dockerfile::remote::Origin;
use testkit::{GitRepository, TempStore, WebRequest, WebServer, git_server, respond};

use super::{Host, Limits, Outside};
use crate::exchange::Network;

/// A store, and what is sent to servers.
struct Site {
    store: TempStore,
    host: Host,
    limits: Limits,
    network: Network,
    secrets: BTreeMap<String, SecretSource>,
}

impl Site {
    fn new() -> Self {
        Self {
            store: testkit::store(),
            host: Host::read(|name| (name == "PATH").then(|| std::env::var("PATH").ok())?),
            limits: Limits {
                backoff: Duration::from_millis(1),
                ..Limits::default()
            },
            network: Network::default(),
            secrets: BTreeMap::new(),
        }
    }

    fn secret(mut self, name: &str, value: &str) -> Self {
        let value = SecretSource::Value(value.as_bytes().to_vec());
        self.secrets.insert(name.to_owned(), value);
        self
    }

    fn bring(&self, source: &RemoteSource) -> Result<Brought, String> {
        let lease = self.store.store().lease("test").unwrap();
        let outside = Outside::new(
            (&self.host, &self.network),
            self.limits,
            &self.secrets,
            None,
        );
        let brought = outside.bring(source, &lease, &|_| ());
        brought.map_err(|error| {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                text = format!("{text}: {error}");
                cause = error.source();
            }
            text
        })
    }

    fn http(&self, url: &str) -> Result<Brought, String> {
        self.bring(&http(url, None))
    }

    fn git(&self, source: &str) -> Result<Brought, String> {
        match Origin::of(source) {
            Ok(Origin::Git(git)) => self.bring(&RemoteSource::Git(*git)),
            Ok(other) => panic!("{source}: {other:?}"),
            Err(error) => Err(error.message),
        }
    }

    /// Nothing is in the store, and nothing unfinished in its folder.
    #[track_caller]
    fn assert_empty(&self) {
        let store = self.store.store();
        assert!(store.layers().unwrap().is_empty());
        store.upkeep().unwrap();
        let left: Vec<_> = std::fs::read_dir(store.root().join("tmp"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_none_or(|end| end != "lock"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn http(url: &str, checksum: Option<String>) -> RemoteSource {
    RemoteSource::Http(HttpSource {
        url: url.to_owned(),
        checksum,
        unpack: false,
    })
}

fn redirect(out: &mut TcpStream, to: &str) {
    respond(out, "302 Found", &[("Location", to)], b"");
}

#[test]
fn redirects_end() {
    let server = WebServer::start(|_, out| redirect(out, "/again"));
    let site = Site::new();
    let error = site.http(&server.url("/x")).unwrap_err();
    assert!(error.contains("more than 10 redirects"), "{error}");
    assert_eq!(server.take_requests().len(), 11);
    site.assert_empty();
}

#[test]
fn redirects_lead_to_http_and_nowhere_else() {
    for target in ["file:///etc/passwd", "gopher://h/", "ftp://h/x", "http://"] {
        let server = WebServer::start(move |_, out| redirect(out, target));
        let site = Site::new();
        let error = site.http(&server.url("/x")).unwrap_err();
        let expected = ["redirects to", "cannot be fetched"];
        assert!(expected.iter().any(|text| error.contains(text)), "{error}");
        site.assert_empty();
    }
    let server = WebServer::start(|_, out| respond(out, "302 Found", &[], b""));
    let error = Site::new().http(&server.url("/x")).unwrap_err();
    assert!(error.contains("nowhere"), "{error}");
}

#[test]
fn a_body_without_end_ends_at_the_limit() {
    let server = WebServer::start(|_, out| {
        out.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            .ok();
        while out.write_all(&[b'x'; 4096]).is_ok() {}
    });
    let mut site = Site::new();
    site.limits.body = 1 << 20;
    let error = site.http(&server.url("/x")).unwrap_err();
    assert!(error.contains("larger than 1048576 bytes"), "{error}");
    site.assert_empty();
}

#[test]
fn a_length_beyond_the_limit_is_refused_before_anything_is_read() {
    let server = WebServer::start(|_, out| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            10_u64 << 30
        );
        out.write_all(head.as_bytes()).ok();
        // Until the other side has had enough.
        out.read_exact(&mut [0]).ok();
    });
    let mut site = Site::new();
    site.limits.body = 1 << 30;
    let error = site.http(&server.url("/x")).unwrap_err();
    assert!(error.contains("larger than"), "{error}");
    site.assert_empty();
}

#[test]
fn a_body_shorter_than_its_length_is_no_file() {
    for length in [10, 10_u64 << 30] {
        let server = WebServer::start(move |_, out| {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nhello");
            out.write_all(head.as_bytes()).ok();
        });
        let site = Site::new();
        let error = site.http(&server.url("/x")).unwrap_err();
        let expected = format!("ended after 5 of {length} bytes");
        assert!(error.contains(&expected), "{error}");
        site.assert_empty();
    }
    let server = WebServer::start(|_, out| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
        out.write_all(head.as_bytes()).ok();
    });
    let site = Site::new();
    assert!(site.http(&server.url("/x")).is_err());
    site.assert_empty();
}

#[test]
fn a_server_that_says_nothing_is_left() {
    let silent = |beginning: &'static str| {
        WebServer::start(move |_, out| {
            out.write_all(beginning.as_bytes()).ok();
            out.read_exact(&mut [0]).ok();
        })
    };
    for beginning in ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"] {
        let server = silent(beginning);
        let mut site = Site::new();
        site.limits.stall = Duration::from_millis(300);
        let error = site.http(&server.url("/x")).unwrap_err();
        assert!(error.contains("sent nothing for"), "{error}");
        site.assert_empty();
    }
}

#[test]
fn answers_that_are_no_http_are_errors() {
    let many = "X: y\r\n".repeat(1000);
    let long = format!("X: {}\r\n", "y".repeat(2 << 20));
    for answer in [
        "rubbish\r\n\r\n".to_owned(),
        String::new(),
        format!("HTTP/1.1 200 OK\r\n{many}\r\n"),
        format!("HTTP/1.1 200 OK\r\n{long}\r\n"),
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nab".to_owned(),
        "HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\n\r\na".to_owned(),
        "HTTP/1.1 304 Not Modified\r\n\r\n".to_owned(),
        "HTTP/1.1 404 \x1b[31mred\r\nContent-Length: 0\r\n\r\n".to_owned(),
    ] {
        let shown: String = answer.chars().take(40).collect();
        let server = WebServer::start(move |_, out| {
            out.write_all(answer.as_bytes()).ok();
        });
        let site = Site::new();
        let error = site.http(&server.url("/x")).expect_err(&shown);
        assert!(!error.contains('\x1b'), "{error:?}");
        site.assert_empty();
    }
}

#[test]
fn credentials_do_not_follow_to_another_origin() {
    let other = WebServer::file(&[], b"there");
    let target = other.url("/there");
    let server = WebServer::start(move |request, out| match request.path() {
        "/x" => redirect(out, "/y"),
        _ => redirect(out, &target),
    });
    let name = format!("HTTP_AUTH_TOKEN_{}", server.address());
    let site = Site::new().secret(&name, "s3cret\n");
    site.http(&server.url("/x")).unwrap();
    let asked = server.take_requests();
    assert_eq!(asked.len(), 2);
    for request in asked {
        assert_eq!(request.header("authorization"), Some("Bearer s3cret"));
    }
    let asked = other.take_requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("authorization"), None);
}

#[test]
fn credentials_are_those_of_the_host() {
    let server = WebServer::file(&[], b"x");
    let authorization = |site: &Site, url: &str| {
        site.http(url).unwrap();
        let asked = server.take_requests();
        asked[0].header("authorization").map(str::to_owned)
    };
    let url = server.url("/x");
    let site = Site::new()
        .secret("HTTP_AUTH_HEADER_127.0.0.1", "Digest abc")
        .secret("HTTP_AUTH_TOKEN_127.0.0.1", "not this");
    assert_eq!(authorization(&site, &url).unwrap(), "Digest abc");
    let site = Site::new().secret("HTTP_AUTH_TOKEN_example.com", "elsewhere");
    assert_eq!(authorization(&site, &url), None);
    let with_user = url.replace("http://", "http://me:p%40ss@");
    assert_eq!(
        authorization(&Site::new(), &with_user).unwrap(),
        super::basic("me", "p@ss")
    );
    let site = Site::new().secret("HTTP_AUTH_HEADER_127.0.0.1", "two\r\nlines");
    let error = site.http(&url).unwrap_err();
    assert!(error.contains("HTTP_AUTH_HEADER_127.0.0.1"), "{error}");
    assert!(!error.contains("lines"), "{error}");
}

#[test]
fn errors_show_no_password() {
    let server = WebServer::start(|_, out| respond(out, "403 Forbidden", &[], b""));
    let url = server.url("/x").replace("http://", "http://me:s3cret@");
    let error = Site::new().http(&url).unwrap_err();
    assert!(error.contains("403"), "{error}");
    assert!(!error.contains("s3cret"), "{error}");
    let error = Site::new().git(&format!("{url}.git")).unwrap_err();
    assert!(error.contains("xxxxx"), "{error}");
    assert!(!error.contains("s3cret"), "{error}");
}

#[test]
fn proxies_are_used_and_told_who_asks() {
    let proxy = WebServer::start(|request, out| match request.method.as_str() {
        "CONNECT" => respond(out, "403 No\x07", &[], b""),
        _ => respond(out, "200 OK", &[], request.target.as_bytes()),
    });
    let address = proxy.url("").replace("http://", "http://me:secret@");
    let mut site = Site::new();
    site.host = Host::read(|name| name.ends_with("_proxy").then(|| address.clone()));
    let brought = site.http("http://example.test/a?b").unwrap();
    let expected = oci::Digest::sha256_of(b"http://example.test/a?b");
    assert_eq!(brought.identity, expected.to_string());
    let asked = proxy.take_requests();
    assert_eq!(asked[0].header("host"), Some("example.test"));
    let basic = super::basic("me", "secret");
    assert_eq!(asked[0].header("proxy-authorization"), Some(&*basic));
    let error = site.http("https://example.test/a").unwrap_err();
    assert!(error.contains("the proxy `http://127.0.0.1"), "{error}");
    assert!(!error.contains('\x07') && !error.contains("secret"));
    let asked = proxy.take_requests();
    assert_eq!(
        (asked[0].method.as_str(), asked[0].target.as_str()),
        ("CONNECT", "example.test:443")
    );
    assert_eq!(asked[0].header("proxy-authorization"), Some(&*basic));
}

#[test]
fn a_server_without_tls_is_no_https_server() {
    let server = WebServer::file(&[], b"x");
    let error = Site::new()
        .http(&server.url("/x").replace("http://", "https://"))
        .unwrap_err();
    assert!(error.contains("cannot connect to `127.0.0.1"), "{error}");
}

#[test]
fn checksums_are_compared_before_anything_is_kept() {
    use sha2::Digest as _;
    let server = WebServer::file(&[], b"hello");
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let sums = [
        format!("sha256:{}", hex(&sha2::Sha256::digest(b"hello"))),
        format!("sha384:{}", hex(&sha2::Sha384::digest(b"hello"))),
        format!("sha512:{}", hex(&sha2::Sha512::digest(b"hello"))),
    ];
    for sum in sums {
        let site = Site::new();
        let wrong = sum.replace(&sum[sum.len() - 4..], "0000");
        let error = site
            .bring(&http(&server.url("/x"), Some(wrong)))
            .unwrap_err();
        assert!(error.contains("has the digest"), "{error}");
        site.assert_empty();
        drop(server.take_requests());
        let good = http(&server.url("/x"), Some(sum));
        assert!(!site.bring(&good).unwrap().cached);
        assert_eq!(server.take_lines(), ["GET /x"]);
        // Who knows what it must be needs no server.
        assert!(site.bring(&good).unwrap().cached);
        assert!(server.take_lines().is_empty());
    }
}

#[test]
fn what_has_no_etag_is_fetched_again_and_a_server_may_not_know_head() {
    let server = WebServer::file(&[], b"one");
    let site = Site::new();
    let first = site.http(&server.url("/x")).unwrap();
    let second = site.http(&server.url("/x")).unwrap();
    assert_eq!(first.layers, second.layers);
    assert_eq!(server.take_lines(), ["GET /x", "GET /x"]);
    let server = WebServer::start(|request, out| match request.method.as_str() {
        "HEAD" => respond(out, "405 Method Not Allowed", &[], b""),
        _ => respond(out, "200 OK", &[("ETag", "\"1\"")], b"one"),
    });
    site.http(&server.url("/x")).unwrap();
    assert!(!site.http(&server.url("/x")).unwrap().cached);
    assert_eq!(server.take_lines(), ["GET /x", "HEAD /x", "GET /x"]);
}

#[test]
fn a_git_address_is_never_an_option() {
    let site = Site::new();
    let marker = site.store.store().root().join("marker");
    let touch = format!("touch {}", marker.display());
    for source in [
        format!("ssh://-oProxyCommand={touch}/x.git"),
        "ssh://-oProxyCommand=x/r.git".to_owned(),
        "git://-x/r.git".to_owned(),
        "https://127.0.0.1:1/r.git#--upload-pack=touch".to_owned(),
        "https://127.0.0.1:1/r.git?ref=--upload-pack=touch".to_owned(),
        "https://127.0.0.1:1/r.git?commit=--abc".to_owned(),
    ] {
        assert!(site.git(&source).is_err(), "{source}");
    }
    assert!(!marker.exists());
    assert!(matches!(
        Origin::of("--upload-pack=touch x.git"),
        Ok(Origin::Context)
    ));
    // No parser stood before this one.
    let git = dockerfile::remote::GitSource {
        remote: format!("--upload-pack={touch}"),
        ..Default::default()
    };
    assert!(site.bring(&RemoteSource::Git(git)).is_err());
    for remote in [format!("ext::sh -c '{touch}'"), "file:///etc".to_owned()] {
        let git = dockerfile::remote::GitSource {
            remote,
            ..Default::default()
        };
        let error = site.bring(&RemoteSource::Git(git)).unwrap_err();
        assert!(error.contains("not allowed"), "{error}");
    }
    assert!(!marker.exists());
    site.assert_empty();
}

/// A folder of repositories with their server.
fn repositories() -> (tempfile::TempDir, GitRepository, WebServer) {
    let folder = tempfile::tempdir().unwrap();
    let repository = GitRepository::create(&folder.path().join("r.git"), "sha1");
    let server = git_server(folder.path());
    (folder, repository, server)
}

#[test]
fn subdirectories_do_not_lead_out() {
    let (folder, repository, server) = repositories();
    std::fs::write(folder.path().join("secret"), "s").unwrap();
    repository.write("docs/a", "a").write("b", "b");
    let link = |target: &str, name: &str| {
        std::os::unix::fs::symlink(target, repository.path().join(name)).unwrap();
    };
    link("/etc", "out");
    link("../..", "up");
    link("docs", "inside");
    repository.commit("one");
    let site = Site::new();
    for bad in ["out", "b", "nothing", "out/ssl", "docs/a"] {
        let error = site
            .git(&format!("{}#:{bad}", server.url("/r.git")))
            .unwrap_err();
        assert!(error.contains("has no directory"), "{bad}: {error}");
        site.assert_empty();
    }
    let docs = site
        .git(&format!("{}#:docs", server.url("/r.git")))
        .unwrap();
    for good in ["inside", "../../docs", "docs/../../../docs/."] {
        let found = site
            .git(&format!("{}#:{good}", server.url("/r.git")))
            .unwrap();
        assert_eq!(found.layers, docs.layers, "{good}");
    }
    // The root of the checkout is the highest there is.
    let root = site.git(&server.url("/r.git")).unwrap();
    let up = site.git(&format!("{}#:up", server.url("/r.git"))).unwrap();
    assert_eq!(up.layers, root.layers);
}

#[test]
fn submodules_cannot_reach_this_machine() {
    let (folder, repository, server) = repositories();
    let secret = GitRepository::create(&folder.path().join("secret"), "sha1");
    secret.write("s", "s").commit("one");
    let head = secret.git(&["rev-parse", "HEAD"]);
    let marker = folder.path().join("marker");
    let touch = format!("touch {}", marker.display());
    for (url, more) in [
        (folder.path().join("secret").display().to_string(), ""),
        (format!("file://{}/secret", folder.path().display()), ""),
        (format!("ext::sh -c '{touch}'"), ""),
        (format!("--upload-pack={touch}"), ""),
        (server.url("/r.git"), "\tupdate = !touch marker\n"),
        ("ssh://-oProxyCommand=x/y".to_owned(), ""),
    ] {
        let text = format!("[submodule \"m\"]\n\tpath = m\n\turl = \"{url}\"\n{more}");
        repository.write(".gitmodules", &text);
        repository.git(&["add", ".gitmodules"]);
        let entry = format!("160000,{head},m");
        repository.git(&["update-index", "--add", "--cacheinfo", &entry]);
        repository.git(&["commit", "-q", "-m", "module"]);
        let site = Site::new();
        let error = site.git(&server.url("/r.git")).expect_err(&url);
        assert!(error.contains("submodules"), "{url}: {error}");
        assert!(!marker.exists());
        site.assert_empty();
        // Who does not want them needs none of it.
        let without = format!("{}?submodules=false", server.url("/r.git"));
        site.git(&without).unwrap();
    }
}

#[test]
fn nothing_of_this_machines_configuration_or_the_repository_runs() {
    let (folder, repository, server) = repositories();
    let marker = folder.path().join("marker");
    let touch = format!("touch {}", marker.display());
    repository
        .write(".gitattributes", "* filter=evil diff=evil merge=evil\n")
        .write(".gitconfig", &format!("[core]\n\tfsmonitor = {touch}\n"))
        .write(".netrc", "machine 127.0.0.1 login a password b\n")
        .write("a", "a");
    repository.commit("one");
    let mut site = Site::new();
    // What would be found at home if anybody looked.
    let home = folder.path().join("home");
    std::fs::create_dir(&home).unwrap();
    let config = format!("[filter \"evil\"]\n\tsmudge = {touch}\n\tprocess = {touch}\n");
    std::fs::write(home.join(".gitconfig"), config).unwrap();
    site.host = Host::read(|name| match name {
        "PATH" => std::env::var(name).ok(),
        "HOME" => Some(home.display().to_string()),
        _ => None,
    });
    site.git(&server.url("/r.git")).unwrap();
    assert!(!marker.exists());
    for request in server.take_requests() {
        assert_eq!(request.header("authorization"), None);
    }
}

#[test]
fn git_credentials_go_to_their_server_only() {
    let (folder, repository, _) = repositories();
    repository.write("a", "a").commit("one");
    let other = git_server(folder.path());
    let elsewhere = GitRepository::create(&folder.path().join("m.git"), "sha1");
    elsewhere.write("m", "m").commit("one");
    repository.git(&["submodule", "add", "-q", &other.url("/m.git"), "m"]);
    repository.commit("module");
    drop(other.take_requests());
    let path = folder.path().to_owned();
    let server = WebServer::start(move |request, out| match request.header("authorization") {
        Some(_) => testkit::backend(&path, request, out),
        None => respond(
            out,
            "401 Unauthorized",
            &[("WWW-Authenticate", "Basic")],
            b"",
        ),
    });
    let url = server.url("/r.git");
    let error = Site::new().git(&url).unwrap_err();
    assert!(error.contains("terminal prompts disabled"), "{error}");
    let header = |request: &WebRequest| request.header("authorization").map(str::to_owned);
    let token = super::basic("x-access-token", "t0ken");
    let name = format!("GIT_AUTH_TOKEN.{}", server.address());
    for (site, expected) in [
        (Site::new().secret("GIT_AUTH_TOKEN", "t0ken"), token.clone()),
        (Site::new().secret(&name, "t0ken"), token),
        (
            Site::new().secret("GIT_AUTH_HEADER", "bearer xyz"),
            "bearer xyz".to_owned(),
        ),
    ] {
        drop(server.take_requests());
        site.git(&url).unwrap();
        let asked = server.take_requests();
        assert!(!asked.is_empty());
        assert!(
            asked
                .iter()
                .all(|request| header(request).as_ref() == Some(&expected))
        );
        let asked = other.take_requests();
        assert!(!asked.is_empty(), "the submodule is fetched");
        assert!(asked.iter().all(|request| header(request).is_none()));
    }
    let wrong = Site::new().secret("GIT_AUTH_TOKEN.example.com", "t0ken");
    assert!(wrong.git(&url).is_err());
}

#[test]
fn git_credentials_do_not_follow_a_redirect() {
    let (folder, repository, _) = repositories();
    repository.write("a", "a").commit("one");
    let other = git_server(folder.path());
    let target = other.url("");
    let server = WebServer::start(move |request, out| {
        redirect(out, &format!("{target}{}", request.target));
    });
    let site = Site::new().secret("GIT_AUTH_TOKEN", "t0ken");
    assert!(site.git(&server.url("/r.git")).is_err());
    assert!(other.take_requests().is_empty());
    // Without any there is nothing to lose.
    Site::new().git(&server.url("/r.git")).unwrap();
}

#[test]
fn a_commit_that_no_branch_names_and_servers_that_only_serve_files() {
    let (folder, repository, server) = repositories();
    let first = repository.write("a", "1").commit("one");
    let second = repository.write("a", "2").commit("two");
    let site = Site::new();
    let found = site
        .git(&format!("{}#{first}", server.url("/r.git")))
        .unwrap();
    assert_eq!(found.identity, first);
    assert_eq!(found.time, Some(testkit::COMMIT_TIME));
    repository.git(&["update-server-info"]);
    let path = folder.path().join("r.git/.git");
    let dumb = WebServer::start(move |request, out| {
        let name = request.path().strip_prefix("/r.git/").unwrap_or_default();
        match std::fs::read(path.join(name)) {
            Ok(bytes) => respond(out, "200 OK", &[], &bytes),
            Err(_) => respond(out, "404 Not Found", &[], b""),
        }
    });
    let site = Site::new();
    let again = site
        .git(&format!("{}#{first}", dumb.url("/r.git")))
        .unwrap();
    assert_eq!(again.layers, found.layers);
    let main = site.git(&format!("{}#main", dumb.url("/r.git"))).unwrap();
    assert_eq!(main.identity, second);
}

#[test]
fn what_is_not_there_is_said() {
    let (_folder, repository, server) = repositories();
    repository.write("a", "1").commit("one");
    let site = Site::new();
    let error = site
        .git(&format!("{}#nope", server.url("/r.git")))
        .unwrap_err();
    assert!(
        error.contains("has no branch, tag or commit `nope`"),
        "{error}"
    );
    let missing = "0123456789".repeat(4);
    assert!(
        site.git(&format!("{}#{missing}", server.url("/r.git")))
            .is_err()
    );
    let error = site.git(&server.url("/none.git")).unwrap_err();
    assert!(error.contains("cannot ask"), "{error}");
    site.assert_empty();
}
