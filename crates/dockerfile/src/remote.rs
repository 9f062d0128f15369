//! Sources of ADD that are not in the build context: URLs and git repositories.

use crate::InvalidValue;
use crate::ast::Copy;

/// What an expanded source of ADD is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A path in the build context.
    Context,
    /// A file behind a URL.
    Http,
    /// A git repository.
    Git(Box<GitSource>),
}

/// A place in a git repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GitSource {
    /// What to give to git, without query and fragment.
    pub remote: String,
    /// Branch, tag or commit; the default branch if there is none.
    pub reference: Option<String>,
    /// The directory to take; empty for all.
    pub subdirectory: String,
    /// The commit that it has to be, or the beginning of its id.
    pub checksum: Option<String>,
    /// Whether `.git` stays, if said.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are fetched, if said; they are unless told not to.
    pub submodules: Option<bool>,
    /// Whether files get the commit's time rather than that of the checkout.
    pub commit_mtime: bool,
    /// Whether the commit is fetched directly and the reference not compared with it.
    pub fetch_by_commit: bool,
}

/// Name of a file whose URL has none.
const UNNAMED: &str = "__unnamed__";

impl Origin {
    /// Tells what a source is. `http` and `https` are git only if the path ends in `.git`.
    ///
    /// ```
    /// use dockerfile::remote::Origin;
    ///
    /// assert_eq!(Origin::of("src/main.rs").unwrap(), Origin::Context);
    /// assert_eq!(Origin::of("https://example.com/a.tar").unwrap(), Origin::Http);
    /// let Origin::Git(git) = Origin::of("https://example.com/a.git#v1:docs").unwrap() else { panic!() };
    /// assert_eq!((git.reference.as_deref(), git.subdirectory.as_str()), (Some("v1"), "docs"));
    /// ```
    ///
    /// # Errors
    ///
    /// A git URL with a query that says nothing known or contradicts itself.
    pub fn of(source: &str) -> Result<Self, InvalidValue> {
        let (url, fragment) = cut(source, '#');
        let (base, query) = cut(url, '?');
        let lower = base.to_ascii_lowercase();
        let http = lower.starts_with("http://") || lower.starts_with("https://");
        let git = lower.starts_with("git://")
            || lower.starts_with("ssh://")
            || is_scp(base)
            || (http && decoded(base).ends_with(".git"));
        if !git {
            return Ok(if http { Self::Http } else { Self::Context });
        }
        let (reference, subdirectory) = cut(fragment.unwrap_or_default(), ':');
        let mut found = GitSource {
            remote: base.to_owned(),
            reference: Some(decoded(reference)).filter(|r| !r.is_empty()),
            subdirectory: inside(&decoded(subdirectory.unwrap_or_default())),
            ..GitSource::default()
        };
        found.read_query(query.unwrap_or_default())?;
        found.check()?;
        Ok(Self::Git(Box::new(found)))
    }
}

/// The name under which the file behind a URL is put into a directory.
pub fn file_name(url: &str) -> String {
    let (url, _) = cut(url, '#');
    let (url, _) = cut(url, '?');
    let path = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = path.split_once('/').map_or("", |(_, path)| path);
    let path = decoded(path);
    match path.trim_end_matches('/').rsplit('/').next() {
        None | Some("" | "." | "..") => UNNAMED.to_owned(),
        Some(name) => name.to_owned(),
    }
}

/// A source as it may be shown: user and password in a URL become `xxxxx`. The user of an `ssh` URL is no secret and stays.
///
/// ```
/// use dockerfile::remote::redacted;
///
/// assert_eq!(redacted("https://me:secret@example.com/a"), "https://xxxxx:xxxxx@example.com/a");
/// assert_eq!(redacted("https://token@example.com/a"), "https://xxxxx@example.com/a");
/// assert_eq!(redacted("ssh://git@example.com/a.git"), "ssh://git@example.com/a.git");
/// ```
pub fn redacted(source: &str) -> String {
    let Some((scheme, rest)) = source.split_once("://") else {
        return source.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let Some((user, host)) = authority.rsplit_once('@') else {
        return source.to_owned();
    };
    let user = match user.split_once(':') {
        Some((name, _)) if scheme.eq_ignore_ascii_case("ssh") => format!("{name}:xxxxx"),
        Some(_) => "xxxxx:xxxxx".to_owned(),
        None if scheme.eq_ignore_ascii_case("ssh") => user.to_owned(),
        None => "xxxxx".to_owned(),
    };
    format!("{scheme}://{user}@{host}{path}")
}

/// Checks that ADD has `--checksum` only where it means something. Sources and checksum are expanded.
///
/// # Errors
///
/// A checksum with several sources, with one in the build context, or for a URL in another form than `sha256:…` (or
/// `sha384:…`, `sha512:…`).
pub fn check_checksum(copy: &Copy) -> Result<(), InvalidValue> {
    let Some(checksum) = &copy.flags.checksum else {
        return Ok(());
    };
    let mut paths = copy.paths();
    let (Some(source), None) = (paths.next(), paths.next()) else {
        return Err(InvalidValue::new(
            "`--checksum` needs exactly one URL or git source",
        ));
    };
    match Origin::of(source)? {
        Origin::Context => Err(InvalidValue::new(format!(
            "`--checksum` is for URLs and git sources; `{source}` is neither"
        ))),
        Origin::Git(git) => match git.checksum {
            Some(other) if other != *checksum => Err(InvalidValue::new(format!(
                "`--checksum={checksum}` contradicts `{other}` in the source"
            ))),
            _ => check_commit(checksum),
        },
        Origin::Http => check_digest(checksum),
    }
}

fn check_digest(text: &str) -> Result<(), InvalidValue> {
    let (algorithm, hex) = text.split_once(':').unwrap_or(("", text));
    let length = match algorithm {
        "sha256" => Some(64),
        "sha384" => Some(96),
        "sha512" => Some(128),
        _ => None,
    };
    let digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if Some(hex.len()) == length && hex.bytes().all(digit) {
        return Ok(());
    }
    Err(InvalidValue {
        message: format!("`{text}` is not a checksum"),
        hint: Some("checksums look like `sha256:` and 64 hexadecimal digits".to_owned()),
    })
}

/// Shortest beginning of a commit's id that is taken for it: git's own shortest.
const SHORTEST_COMMIT: usize = 4;

/// Longest id of a commit, in repositories with SHA-256.
const LONGEST_COMMIT: usize = 64;

fn check_commit(text: &str) -> Result<(), InvalidValue> {
    let fits = (SHORTEST_COMMIT..=LONGEST_COMMIT).contains(&text.len());
    if fits && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(());
    }
    Err(InvalidValue::new(format!(
        "`{text}` is not the id of a commit"
    )))
}

impl GitSource {
    /// The repository's own name.
    pub fn name(&self) -> &str {
        let path = self.remote.trim_end_matches('/');
        let name = path.rsplit(['/', ':']).next().unwrap_or_default();
        name.strip_suffix(".git").unwrap_or(name)
    }

    fn read_query(&mut self, query: &str) -> Result<(), InvalidValue> {
        let (mut tag, mut branch) = (None, None);
        let mut seen = Vec::new();
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (key, value) = cut(pair, '=');
            let key = decoded(key);
            let value = value.map(|v| decoded(&v.replace('+', " ")));
            let value = value.filter(|v| !v.is_empty());
            if seen.contains(&key) {
                return Err(InvalidValue::new(format!(
                    "`{key}` is given twice in `?{query}`"
                )));
            }
            match (key.as_str(), value) {
                ("keep-git-dir", value) => self.keep_git_dir = Some(switch(&key, value)?),
                ("submodules", value) => self.submodules = Some(switch(&key, value)?),
                ("fetch-by-commit", value) => self.fetch_by_commit = switch(&key, value)?,
                ("ref", Some(value)) => agree("reference", &mut self.reference, value)?,
                ("tag", Some(value)) => tag = Some(under("refs/tags/", value)),
                ("branch", Some(value)) => branch = Some(under("refs/heads/", value)),
                ("checksum" | "commit", Some(value)) => {
                    agree("commit", &mut self.checksum, value)?;
                }
                ("subdir", Some(value)) => {
                    let mut given = Some(self.subdirectory.clone()).filter(|s| !s.is_empty());
                    agree("directory", &mut given, inside(&value))?;
                    self.subdirectory = given.unwrap_or_default();
                }
                ("mtime", Some(value)) if value == "commit" || value == "checkout" => {
                    self.commit_mtime = value == "commit";
                }
                ("ref" | "tag" | "branch" | "checksum" | "commit" | "subdir" | "mtime", value) => {
                    let value = value.unwrap_or_default();
                    return Err(InvalidValue::new(format!("`{key}={value}` says nothing")));
                }
                _ => {
                    let known = [
                        "ref", "tag", "branch", "checksum", "commit", "subdir", "mtime",
                    ];
                    let more = ["keep-git-dir", "submodules", "fetch-by-commit"];
                    let meant = crate::nearest(&key, known.into_iter().chain(more));
                    let error = InvalidValue::new(format!("git sources know no `{key}`"));
                    return Err(error.or_meant(meant));
                }
            }
            seen.push(key);
        }
        if tag.is_some() && branch.is_some() {
            return Err(InvalidValue::new(
                "a git source has a tag or a branch, not both",
            ));
        }
        match tag.or(branch) {
            Some(reference) => agree("reference", &mut self.reference, reference),
            None => Ok(()),
        }
    }

    /// Refuses what git would take for an option.
    fn check(&self) -> Result<(), InvalidValue> {
        let host = self
            .remote
            .split_once("://")
            .map_or(&*self.remote, |(_, host)| host);
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let reference = self.reference.as_deref().unwrap_or_default();
        for text in [self.remote.as_str(), host, reference] {
            if text.starts_with('-') || text.chars().any(char::is_control) {
                return Err(InvalidValue::new(format!(
                    "`{text}` is not allowed in a git source"
                )));
            }
        }
        match &self.checksum {
            Some(checksum) => check_commit(checksum),
            None => Ok(()),
        }
    }
}

/// Sets what is not set; the same twice is fine.
fn agree(what: &str, own: &mut Option<String>, value: String) -> Result<(), InvalidValue> {
    match own {
        Some(other) if *other != value => Err(InvalidValue::new(format!(
            "the {what} of a git source is `{other}` or `{value}`, not both"
        ))),
        _ => {
            *own = Some(value);
            Ok(())
        }
    }
}

fn under(prefix: &str, name: String) -> String {
    match name.starts_with(prefix) {
        true => name,
        false => format!("{prefix}{name}"),
    }
}

fn switch(key: &str, value: Option<String>) -> Result<bool, InvalidValue> {
    match value.as_deref() {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(value) => {
            let message = format!("`{key}={value}` is neither true nor false");
            Err(InvalidValue::new(message))
        }
    }
}

/// A path that stays inside the repository.
fn inside(path: &str) -> String {
    crate::path::join("/", path)
        .trim_start_matches('/')
        .to_owned()
}

fn cut(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

/// `user@host:path`
fn is_scp(text: &str) -> bool {
    let name = |text: &str, more: &[u8]| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    let Some((user, rest)) = text.split_once('@') else {
        return false;
    };
    let Some((host, path)) = rest.split_once(':') else {
        return false;
    };
    name(user, b"-_") && name(host, b"-.") && !path.is_empty()
}

/// Resolves `%41`. What is no escape stays.
fn decoded(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|h| std::str::from_utf8(h).ok());
        let hex = hex.filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
        let escaped = hex.and_then(|h| u8::from_str_radix(h, 16).ok());
        match escaped.filter(|_| byte == b'%') {
            Some(escaped) => {
                out.push(escaped);
                rest = &after[2..];
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
