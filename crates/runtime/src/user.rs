//! From `USER` as an image or a person writes it to numbers, with the image's own `/etc/passwd` and `/etc/group`.
//!
//! Pure: the files come as bytes. Whoever reads them opens a *regular* file inside the image and hands it to [`accounts`], for
//! they are the image's and may be anything.
//!
//! The rules are Docker's: `user[:group]`, names or numbers; a number is never looked up as a name; a number that the
//! files do not know is fine, a name that they do not know is an error; with a group given no other groups come from the file.
//! Unlike there, a number that does not fit is never cut down or read as 0, neither here nor in the files.

use std::io::{self, Read};
use std::path::PathBuf;

use crate::spec::User;

/// Largest `/etc/passwd` or `/etc/group`, 4 MiB: some fifty thousand accounts, and an endless one must not fill the memory
/// (CVE-2026-47262).
const MAX_FILE: u64 = 4 << 20;

/// Largest id: what a signed 32-bit number holds, since the kernel and libc use the rest for "no id".
const MAX_ID: u32 = i32::MAX.cast_unsigned();

/// A user found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// In numbers; the primary group is among the supplementary ones.
    pub user: User,
    /// Home directory in the container, for `HOME`: from `/etc/passwd`, else `/`.
    pub home: PathBuf,
}

/// Why a user cannot be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// No such name in `/etc/passwd`.
    #[error("no user `{0}` in the image's `/etc/passwd`")]
    NoUser(String),
    /// No such name in `/etc/group`.
    #[error("no group `{0}` in the image's `/etc/group`")]
    NoGroup(String),
    /// A number that is no id.
    #[error("`{0}` is no user or group id: the largest is {MAX_ID}")]
    Range(String),
}

/// Reads `/etc/passwd` or `/etc/group`, whole or not at all: who is in the part that is missing would be nobody, or somebody else.
///
/// # Errors
///
/// Reading fails, or there is more than 4 MiB.
pub fn accounts(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        let message = "it is larger than 4 MiB, and no list of accounts";
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// Resolves `user[:group]`; an empty user is root.
///
/// # Errors
///
/// A name is unknown or a number too large.
pub fn resolve(
    spec: &str,
    passwd: Option<&[u8]>,
    group: Option<&[u8]>,
) -> Result<Resolved, UserError> {
    let (user, group_wanted) = spec.split_once(':').unwrap_or((spec, ""));
    let wanted = if user.is_empty() {
        Wanted::Id(0)
    } else {
        Wanted::parse(user)?
    };
    let found = entries(passwd, 7)
        .find_map(|fields| Account::parse(&fields).filter(|account| account.is(&wanted)));
    let (uid, mut gid, name, home) = match (found, wanted) {
        (Some(account), _) => (account.uid?, account.gid?, Some(account.name), account.home),
        (None, Wanted::Id(uid)) => (uid, 0, None, ""),
        (None, Wanted::Name(name)) => return Err(UserError::NoUser(name.to_owned())),
    };
    let mut groups = Vec::new();
    if !group_wanted.is_empty() {
        gid = match Wanted::parse(group_wanted)? {
            Wanted::Id(gid) => gid,
            Wanted::Name(name) => {
                let found = entries(group, 4).find(|fields| fields.first() == Some(&name));
                id(found
                    .as_ref()
                    .and_then(|fields| fields.get(2))
                    .ok_or_else(|| UserError::NoGroup(name.to_owned()))?)?
            }
        };
    } else if let Some(name) = name {
        for fields in entries(group, 4) {
            let (Some(number), Some(members)) = (fields.get(2), fields.get(3)) else {
                continue;
            };
            if members.split(',').any(|member| member.trim() == name)
                && let Ok(number) = id(number)
            {
                groups.push(number);
            }
        }
    }
    groups.insert(0, gid);
    let mut seen = Vec::new();
    groups.retain(|group| {
        !seen.contains(group) && {
            seen.push(*group);
            true
        }
    });
    let home = if home.starts_with('/') { home } else { "/" };
    Ok(Resolved {
        user: User { uid, gid, groups },
        home: PathBuf::from(home),
    })
}

/// A user or group as written.
enum Wanted<'a> {
    Id(u32),
    Name(&'a str),
}

impl<'a> Wanted<'a> {
    fn parse(text: &'a str) -> Result<Self, UserError> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            id(text).map(Self::Id)
        } else {
            Ok(Self::Name(text))
        }
    }
}

fn id(text: &str) -> Result<u32, UserError> {
    let range = || UserError::Range(text.to_owned());
    // `u32::from_str` takes a leading `+`.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(range());
    }
    text.parse()
        .ok()
        .filter(|id| *id <= MAX_ID)
        .ok_or_else(range)
}

/// A line of `/etc/passwd`.
struct Account<'a> {
    name: &'a str,
    uid: Result<u32, UserError>,
    gid: Result<u32, UserError>,
    home: &'a str,
}

impl<'a> Account<'a> {
    fn parse(fields: &[&'a str]) -> Option<Self> {
        let [name, _, uid, gid, rest @ ..] = fields else {
            return None;
        };
        Some(Self {
            name,
            uid: id(uid),
            gid: id(gid),
            home: rest.get(1).copied().unwrap_or_default(),
        })
    }

    fn is(&self, wanted: &Wanted<'_>) -> bool {
        match wanted {
            Wanted::Id(uid) => self.uid == Ok(*uid),
            Wanted::Name(name) => self.name == *name,
        }
    }
}

/// The fields of each line; lines that are no text are skipped.
fn entries(file: Option<&[u8]>, fields: usize) -> impl Iterator<Item = Vec<&str>> {
    file.unwrap_or_default()
        .split(|byte| *byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(move |line| line.splitn(fields, ':').collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n# note\nbin:x:1:1::/bin:\ndockerio:x:1001:1001::/home/d:/bin/sh\n\
        \xff\xfe:x:5:5::/:\nbroken:x:abc:0::/:\nhuge:x:4294967296:0::/:\nshort:x\n  \nodd:x:7:7:a:rel:\n";
    const GROUP: &[u8] =
        b"root:x:0:\nwheel:x:10:root,other\ndockerio:x:1001:\nextra:x:2000:dockerio,root\n\
        bad:x:-1:dockerio\nwrap:x:4294967295:dockerio\n1234:x:77:\n";

    fn numbers(spec: &str) -> Result<(u32, u32, Vec<u32>), UserError> {
        let user = resolve(spec, Some(PASSWD), Some(GROUP))?.user;
        Ok((user.uid, user.gid, user.groups))
    }

    #[test]
    fn as_docker_does() {
        for (spec, expected) in [
            ("", (0, 0, vec![0, 10, 2000])),
            ("root", (0, 0, vec![0, 10, 2000])),
            ("0", (0, 0, vec![0, 10, 2000])),
            ("1234", (1234, 0, vec![0])),
            ("1234:1234", (1234, 1234, vec![1234])),
            ("dockerio", (1001, 1001, vec![1001, 2000])),
            ("dockerio:dockerio", (1001, 1001, vec![1001])),
            ("1001", (1001, 1001, vec![1001, 2000])),
            ("dockerio:", (1001, 1001, vec![1001, 2000])),
            ("dockerio:wheel", (1001, 10, vec![10])),
            (":wheel", (0, 10, vec![10])),
            (
                "2147483647:2147483647",
                (2_147_483_647, 2_147_483_647, vec![2_147_483_647]),
            ),
        ] {
            assert_eq!(numbers(spec), Ok(expected), "{spec}");
        }
    }

    #[test]
    fn nothing_wraps_to_root() {
        for spec in [
            "4294967296",
            "2147483648",
            "-1",
            "+0",
            " 0",
            "0 ",
            "0x0",
            "99999999999999999999",
            "huge",
            "broken",
            "short",
            "nobody",
        ] {
            assert!(numbers(spec).is_err(), "{spec}: {:?}", numbers(spec));
        }
        for spec in [
            "0:4294967296",
            "0:-1",
            "0:nogroup",
            "0:bad",
            "0:wrap",
            "1:2:3",
        ] {
            assert!(numbers(spec).is_err(), "{spec}: {:?}", numbers(spec));
        }
    }

    #[test]
    fn a_file_without_end_is_an_error_and_never_cut() {
        let limit = usize::try_from(MAX_FILE).unwrap();
        assert_eq!(
            accounts(io::repeat(b'x').take(MAX_FILE)).unwrap().len(),
            limit
        );
        let error = accounts(io::repeat(b'x')).unwrap_err();
        assert!(error.to_string().contains("larger than 4 MiB"), "{error}");
    }

    #[test]
    fn homes_and_missing_files() {
        assert_eq!(
            resolve("dockerio", Some(PASSWD), None).unwrap().home,
            PathBuf::from("/home/d")
        );
        assert_eq!(
            resolve("odd", Some(PASSWD), None).unwrap().home,
            PathBuf::from("/")
        );
        assert_eq!(
            resolve("", None, None).unwrap().user,
            User {
                uid: 0,
                gid: 0,
                groups: vec![0]
            }
        );
        assert_eq!(resolve("x", None, None), Err(UserError::NoUser("x".into())));
        assert_eq!(
            resolve("0:x", None, None),
            Err(UserError::NoGroup("x".into()))
        );
    }
}
