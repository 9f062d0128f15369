//! Users and their passwords: lines of `htpasswd -B`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{Context, SHA256};
use tokio::sync::Semaphore;

/// Passwords that are checked at the same time. One takes a good part of a second by design; the processors are also
/// there for other things.
const AT_ONCE: usize = 2;

/// Longest user name and password together.
const LONGEST: usize = 1024;

/// What follows the cost in a hash that no password has: users that do not exist take as long to refuse as those that do.
const NOBODY: &str = "$abcdefghijklmnopqrstuuQ0OjH7q5fPjHJh9mwnW2lUFVfhdqCqi";

/// The users of a registry.
pub struct Htpasswd {
    users: HashMap<String, String>,
    /// A hash that no password has.
    nobody: String,
    checking: Semaphore,
    /// Passwords that were found to be right, by a hash of name and password that only this process can make.
    right: Mutex<HashMap<[u8; 32], String>>,
    salt: [u8; 32],
}

impl std::fmt::Debug for Htpasswd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Htpasswd").finish_non_exhaustive()
    }
}

/// Why a file of users is of no use.
#[derive(Debug, thiserror::Error)]
pub enum HtpasswdError {
    /// A line is not `NAME:HASH`.
    #[error("line {0} is not `NAME:HASH`")]
    Form(usize),
    /// A hash is of another kind than bcrypt.
    #[error("line {0}: the hash is not of bcrypt; make it with `htpasswd -B`")]
    Hash(usize),
    /// The kernel gives no random bytes.
    #[error("no random bytes: {0}")]
    Random(#[source] std::io::Error),
}

impl Htpasswd {
    /// Reads the lines of a file. Empty ones and those that begin with `#` do not count.
    ///
    /// # Errors
    ///
    /// A line is of another form, or its hash of another kind.
    pub fn parse(text: &str) -> Result<Arc<Self>, HtpasswdError> {
        let mut users = HashMap::new();
        let mut cost = "04";
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, hash) = line
                .split_once(':')
                .ok_or(HtpasswdError::Form(number + 1))?;
            if !["$2a$", "$2b$", "$2y$"]
                .iter()
                .any(|kind| hash.starts_with(kind))
                || hash.len() != 60
            {
                return Err(HtpasswdError::Hash(number + 1));
            }
            // Two digits, so that they are in the order of the numbers.
            cost = cost.max(hash.get(4..6).unwrap_or_default());
            users.insert(name.to_owned(), hash.to_owned());
        }
        let nobody = format!("$2b${cost}{NOBODY}");
        let mut salt = [0; 32];
        rustix::rand::getrandom(&mut salt, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| HtpasswdError::Random(error.into()))?;
        Ok(Arc::new(Self {
            users,
            nobody,
            checking: Semaphore::new(AT_ONCE),
            right: Mutex::default(),
            salt,
        }))
    }

    /// Whose name and password these are, as `Authorization: Basic` has them.
    pub(crate) async fn login(&self, encoded: &str) -> Option<String> {
        if encoded.len() > LONGEST {
            return None;
        }
        let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
        let (name, password) = decoded.split_once(':')?;
        let mut context = Context::new(&SHA256);
        context.update(&self.salt);
        context.update(decoded.as_bytes());
        let key: [u8; 32] = context.finish().as_ref().try_into().ok()?;
        let known = |map: &HashMap<[u8; 32], String>| map.get(&key).cloned();
        if let Some(name) = known(&self.right.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Some(name);
        }
        let hash = self.users.get(name).unwrap_or(&self.nobody).clone();
        let exists = self.users.contains_key(name);
        let password = password.to_owned();
        let turn = self.checking.acquire().await.ok()?;
        let right = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash))
            .await
            .ok()?
            .unwrap_or(false);
        drop(turn);
        if !right || !exists {
            return None;
        }
        // As many as there are users: each has one password.
        let mut all = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() > self.users.len() {
            all.clear();
        }
        all.insert(key, name.to_owned());
        Some(name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `htpasswd` makes costs a thirtieth of what is usual elsewhere: the same has to be paid for nobody.
    #[test]
    fn nobody_costs_as_much_as_the_dearest_user() {
        let line = |name: &str, cost| format!("{name}:{}\n", bcrypt::hash("x", cost).unwrap());
        for (costs, expected) in [(&[][..], "04"), (&[5], "05"), (&[4, 6, 5], "06")] {
            let text: String = costs.iter().map(|cost| line("a", *cost)).collect();
            let users = Htpasswd::parse(&text).unwrap();
            assert_eq!(users.nobody.len(), 60);
            assert_eq!(users.nobody[4..6], *expected);
            assert!(!bcrypt::verify("x", &users.nobody).unwrap());
        }
    }
}
