//! A directory of a commit as a layer.
//!
//! The server is asked which commit a name is; if the store has that commit's layer, nothing is fetched. Otherwise git fetches the one
//! commit, without history where the server can do that, into a folder that goes away afterwards. Files get the time of the commit, so that
//! a commit gives the same layer whenever it is fetched.

use std::path::Path;

use build::{Bringing, Brought};
use dockerfile::remote::{GitSource, redacted};
use layer::Time;
use oci::DiffId;
use serde_json::json;
use store::{Lease, Record};

use super::program::Git;
pub use super::program::GitError;
use super::url::Url;
use super::{Outside, RemoteError, basic, key, tree};

/// The only place where the folder of a repository can be called so: git refuses files of this name.
const GIT_DIR: &str = ".git";

/// What a reference is on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    /// Its full name, or the commit's id.
    name: String,
    commit: String,
    /// The id of a tag that is an object of its own.
    tag: Option<String>,
}

impl Outside<'_> {
    /// Brings a directory of a repository.
    pub(crate) fn git(
        &self,
        source: &GitSource,
        lease: &Lease,
        tell: &dyn Fn(Bringing<'_>),
    ) -> Result<Brought, RemoteError> {
        let (remote, header) = self.address(&source.remote)?;
        let work = lease.temporary("git");
        let (dir, home) = (work.join("repository"), work.join("home"));
        sys::fs::create_dir(&work)?;
        sys::fs::create_dir(&dir)?;
        sys::fs::create_dir(&home)?;
        let git = Git {
            dir,
            home,
            shown: redacted(&source.remote),
            header,
            host: self.client.host(),
            ssh: self.ssh,
            tell,
        };
        let brought = bring(&git, &remote, source, lease);
        // What is left goes with the lease.
        sys::fs::remove_dir_all(&work).ok();
        brought
    }

    /// The address without user and password, and the header that tells them to the server.
    fn address(&self, remote: &str) -> Result<(String, Option<(String, String)>), RemoteError> {
        let lower = remote.to_ascii_lowercase();
        if !lower.starts_with("http://") && !lower.starts_with("https://") {
            return Ok((remote.to_owned(), None));
        }
        let url = Url::parse(remote)?;
        let mut value = None;
        for suffix in [
            format!(".{}", url.authority()),
            format!(".{}", url.host),
            String::new(),
        ] {
            if let Some(header) = self.secret(&format!("GIT_AUTH_HEADER{suffix}"))? {
                value = Some(header);
                break;
            }
            if let Some(token) = self.secret(&format!("GIT_AUTH_TOKEN{suffix}"))? {
                value = Some(basic("x-access-token", &token));
                break;
            }
        }
        if value.is_none()
            && let Some((user, password)) = &url.user
        {
            value = Some(basic(user, password));
        }
        let scheme = if url.secure { "https" } else { "http" };
        // Only for this server: submodules elsewhere do not get it.
        let prefix = format!("http.{scheme}://{}/.extraHeader", url.authority());
        let header = value.map(|value| (prefix, format!("Authorization: {value}")));
        Ok((url.to_string(), header))
    }
}

/// Everything of a source that decides what its layer holds, but for the commit.
fn options(source: &GitSource) -> String {
    format!(
        "{} {}",
        source.keep_git_dir == Some(true),
        source.submodules != Some(false)
    )
}

fn bring(
    git: &Git<'_>,
    remote: &str,
    source: &GitSource,
    lease: &Lease,
) -> Result<Brought, RemoteError> {
    let found = find(git, remote, source)?;
    check(git, source, &found)?;
    let record = |commit: &str| {
        let fields = [remote, commit, &source.subdirectory, &options(source)];
        key("git", &fields)
    };
    if let Some(known) = recall(lease, &record(&found.commit), &found.commit)? {
        return Ok(known);
    }
    let commit = fetch(git, remote, source, &found)?;
    if commit != found.commit {
        // It was moved meanwhile.
        check(
            git,
            source,
            &Found {
                commit: commit.clone(),
                ..found
            },
        )?;
    }
    let time = checkout(git, source, &commit)?;
    let layer = keep(git, source, time, lease)?;
    let key = record(&commit);
    lease.put_record(&Record {
        definition: key.clone(),
        key,
        parts: vec![("commit".to_owned(), commit.clone())],
        output: json!({ "layer": layer, "time": time }),
        layers: vec![layer],
        created: 0,
        last_used: 0,
    })?;
    Ok(Brought {
        layers: vec![layer],
        time: Some(time),
        identity: commit,
        unpacked: false,
        cached: false,
    })
}

fn recall(lease: &Lease, key: &str, commit: &str) -> Result<Option<Brought>, RemoteError> {
    let Some(record) = lease.find_record(key)? else {
        return Ok(None);
    };
    let layer = record.output["layer"]
        .as_str()
        .and_then(|layer| layer.parse::<DiffId>().ok())
        .filter(|layer| record.layers.contains(layer));
    let Some(layer) = layer else {
        return Ok(None);
    };
    lease.store().touch_records(&[key.to_owned()])?;
    Ok(Some(Brought {
        layers: vec![layer],
        time: record.output["time"].as_i64(),
        identity: commit.to_owned(),
        unpacked: false,
        cached: true,
    }))
}

/// The id of a commit, whole.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Finds out which commit is meant.
fn find(git: &Git<'_>, remote: &str, source: &GitSource) -> Result<Found, RemoteError> {
    let sum = source.checksum.as_deref().filter(|sum| is_commit(sum));
    let direct = match &source.reference {
        Some(reference) if is_commit(reference) => Some(reference.as_str()),
        None => sum,
        Some(_) => sum.filter(|_| source.fetch_by_commit),
    };
    if let Some(commit) = direct {
        let commit = commit.to_ascii_lowercase();
        return Ok(Found {
            name: commit.clone(),
            commit,
            tag: None,
        });
    }
    let reference = source.reference.as_deref().unwrap_or("HEAD");
    let peeled = format!("{reference}^{{}}");
    let listed = git.run(
        "ask for the references of",
        &["ls-remote", "--", remote, reference, &peeled],
    )?;
    Ok(
        choose(&listed, reference).ok_or_else(|| GitError::NoReference {
            remote: git.shown.clone(),
            reference: super::printable(reference),
        })?,
    )
}

/// Picks what is meant of the references that `git ls-remote` lists: a branch before a tag.
fn choose(listed: &str, reference: &str) -> Option<Found> {
    let find = |name: &str| {
        let mut lines = listed.lines().filter_map(|line| line.split_once('\t'));
        let (id, _) = lines.find(|(id, found)| *found == name && is_commit(id))?;
        Some(id.to_owned())
    };
    let names = match reference {
        "HEAD" => vec!["HEAD".to_owned()],
        name if name.starts_with("refs/") => vec![name.to_owned()],
        name => ["refs/heads/", "refs/tags/", "refs/"]
            .map(|prefix| format!("{prefix}{name}"))
            .to_vec(),
    };
    names.into_iter().find_map(|name| {
        let id = find(&name)?;
        let peeled = find(&format!("{name}^{{}}"));
        Some(match peeled {
            Some(commit) => Found {
                name,
                commit,
                tag: Some(id),
            },
            None => Found {
                name,
                commit: id,
                tag: None,
            },
        })
    })
}

/// Compares the commit with the one that is asked for.
fn check(git: &Git<'_>, source: &GitSource, found: &Found) -> Result<(), GitError> {
    let Some(expected) = &source.checksum else {
        return Ok(());
    };
    let wanted = expected.to_ascii_lowercase();
    let tag = found.tag.as_deref().unwrap_or_default();
    if found.commit.starts_with(&wanted) || tag.starts_with(&wanted) {
        return Ok(());
    }
    Err(GitError::Commit {
        remote: git.shown.clone(),
        reference: super::printable(source.reference.as_deref().unwrap_or("HEAD")),
        expected: expected.clone(),
        found: found.commit.clone(),
    })
}

/// Fetches the commit into a new repository and gives its id.
fn fetch(
    git: &Git<'_>,
    remote: &str,
    source: &GitSource,
    found: &Found,
) -> Result<String, RemoteError> {
    let format = match found.commit.len() {
        64 => "--object-format=sha256",
        _ => "--object-format=sha1",
    };
    git.run(
        "make a repository for",
        &["init", "-q", "--template=", format],
    )?;
    // Relative addresses of submodules are relative to this, and a repository that is kept remembers it.
    git.run("note", &["remote", "add", "--", "origin", remote])?;
    let name = &found.name;
    let target = match name.strip_prefix("refs/heads/") {
        Some(branch) => format!("+{name}:refs/remotes/origin/{branch}"),
        None if name.starts_with("refs/tags/") => format!("+{name}:{name}"),
        None => name.clone(),
    };
    let shallow = [
        "fetch",
        "--progress",
        "--no-tags",
        "--depth=1",
        "--",
        "origin",
        &target,
    ];
    let first = git.run("fetch", &shallow);
    let fetched = match first {
        Ok(_) => Ok("FETCH_HEAD"),
        Err(error @ GitError::Failed { .. }) => whole(git, name, &target, error),
        Err(error) => Err(error),
    }?;
    let commit = git.run(
        "understand the commit of",
        &["rev-parse", "--verify", &format!("{fetched}^{{commit}}")],
    );
    match commit {
        Ok(commit) => Ok(commit.trim().to_owned()),
        // The whole repository, and the commit is not in it.
        Err(GitError::Failed { .. }) => Err(GitError::NoReference {
            remote: git.shown.clone(),
            reference: super::printable(source.reference.as_deref().unwrap_or(name)),
        }
        .into()),
        Err(error) => Err(error.into()),
    }
}

/// Servers that only serve files have no commits without history, and some do not give a commit that nothing names: then everything
/// is fetched. Gives what to look for afterwards.
fn whole<'n>(
    git: &Git<'_>,
    name: &'n str,
    target: &str,
    error: GitError,
) -> Result<&'n str, GitError> {
    let all = ["fetch", "--progress", "--no-tags", "--", "origin"];
    let result = match is_commit(name) {
        true => git.run(
            "fetch",
            &[
                &all[..],
                &[
                    "+refs/heads/*:refs/remotes/origin/*",
                    "+refs/tags/*:refs/tags/*",
                ],
            ]
            .concat(),
        ),
        false => git.run("fetch", &[&all[..], &[target]].concat()),
    };
    match result {
        Ok(_) if is_commit(name) => Ok(name),
        Ok(_) => Ok("FETCH_HEAD"),
        // What the plain way said is what is worth knowing.
        Err(GitError::Failed { .. }) => Err(error),
        Err(other) => Err(other),
    }
}

/// Puts the commit's files into the folder and gives its time.
fn checkout(git: &Git<'_>, source: &GitSource, commit: &str) -> Result<i64, RemoteError> {
    git.run(
        "check out",
        &["checkout", "-q", "--detach", "--force", commit, "--"],
    )?;
    let header = git.run("read the commit of", &["cat-file", "commit", commit])?;
    if source.submodules != Some(false) && git.dir.join(".gitmodules").is_file() {
        let update = [
            "submodule",
            "--quiet",
            "update",
            "--init",
            "--recursive",
            "--force",
        ];
        let shallow = [&update[..], &["--depth=1"]].concat();
        let first = git.run("fetch the submodules of", &shallow);
        if let Err(error @ GitError::Failed { .. }) = first {
            git.run("fetch the submodules of", &update)
                .map_err(|_| error)?;
        } else {
            first?;
        }
    }
    if source.keep_git_dir == Some(true) {
        git.run("tidy", &["reflog", "expire", "--expire=now", "--all"])?;
        for name in ["FETCH_HEAD", "ORIG_HEAD"] {
            sys::fs::optional(sys::fs::remove_file(&git.dir.join(GIT_DIR).join(name)))?;
        }
    }
    Ok(commit_time(&header).unwrap_or_default())
}

/// When a commit was made, as its header says: `committer NAME <MAIL> SECONDS ZONE`.
fn commit_time(header: &str) -> Option<i64> {
    let lines = header.lines().take_while(|line| !line.is_empty());
    let mut committers = lines.filter_map(|line| line.strip_prefix("committer "));
    let (_, when) = committers.next()?.rsplit_once('>')?;
    let seconds = when.split_ascii_whitespace().next()?;
    seconds.parse().ok().filter(|seconds| *seconds >= 0)
}

/// Makes a layer of the files, or of those in a subdirectory.
fn keep(
    git: &Git<'_>,
    source: &GitSource,
    time: i64,
    lease: &Lease,
) -> Result<DiffId, RemoteError> {
    let root = sys::root::Root::open(&git.dir)?;
    let mut kept = source.keep_git_dir == Some(true);
    let root = match source.subdirectory.as_str() {
        "" => root,
        directory => {
            kept = false;
            // Links are followed inside the checkout and nowhere else.
            root.open_dir(Path::new(directory))
                .map_err(|_| GitError::NoDirectory {
                    remote: git.shown.clone(),
                    directory: super::printable(directory),
                })?
        }
    };
    let mut ingest = lease.ingest_layer()?;
    let tree = tree::Tree {
        time: Time::from_secs(time),
        without: (!kept).then_some(GIT_DIR),
    };
    tree.write(&root, ingest.writer())
        .map_err(|error| match error {
            tree::TreeError::File(error) => RemoteError::File(error),
            tree::TreeError::Ingest(source) => RemoteError::Layer {
                source_name: git.shown.clone(),
                source,
            },
        })?;
    Ok(*ingest.publish()?.diff_id())
}

#[cfg(test)]
mod tests {
    use super::{choose, commit_time};

    #[test]
    fn the_time_of_a_commit_is_the_committers() {
        let header = "tree x\nauthor A <a@b> 1 +0000\ncommitter B > C <b@c> 1700000000 -0200\n\ncommitter D <d@e> 5 +0000\n";
        assert_eq!(commit_time(header), Some(1_700_000_000));
        assert_eq!(commit_time("tree x\n\ncommitter D <d@e> 5 +0000\n"), None);
        assert_eq!(commit_time("committer D <d@e> -5 +0000\n"), None);
    }

    #[test]
    fn a_branch_comes_before_a_tag_and_a_tag_means_its_commit() {
        let (a, b, c) = ("a".repeat(40), "b".repeat(40), "c".repeat(40));
        let listed = format!(
            "{a}\tHEAD\n{a}\trefs/heads/v1\n{b}\trefs/tags/v1\n{b}\trefs/tags/v2\n{c}\trefs/tags/v2^{{}}\n{c}\trefs/pull/1/head\nrubbish\n"
        );
        let commit = |name: &str| choose(&listed, name).map(|found| found.commit);
        assert_eq!(commit("HEAD"), Some(a.clone()));
        assert_eq!(commit("v1"), Some(a));
        assert_eq!(commit("refs/tags/v1"), Some(b.clone()));
        assert_eq!(commit("tags/v1"), Some(b.clone()));
        assert_eq!(commit("v2"), Some(c.clone()));
        assert_eq!(choose(&listed, "v2").unwrap().tag, Some(b));
        assert_eq!(commit("pull/1/head"), Some(c));
        assert_eq!(commit("v"), None);
    }
}
