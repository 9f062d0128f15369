//! What a token is for: `repository:library/alpine:pull,push`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// What one may want to do with a repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Read.
    Pull,
    /// Write.
    Push,
    /// Delete.
    Delete,
    /// Anything else: `*` among others.
    Other(String),
}

impl Action {
    /// The action as it is on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
            Self::Other(text) => text,
        }
    }

    fn read(text: &str) -> Self {
        match text {
            "pull" => Self::Pull,
            "push" => Self::Push,
            "delete" => Self::Delete,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// One resource and what is done with it. Equal scopes compare equal whatever order the actions came in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    /// `repository`, `registry`; with its class, as in `repository(plugin)`.
    pub kind: String,
    /// What of that kind: a repository's path, `catalog`.
    pub name: String,
    /// The actions.
    pub actions: BTreeSet<Action>,
}

/// Not a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a scope is `type:name:actions`")]
pub struct ScopeError;

impl Scope {
    /// A repository and what is done with it.
    #[must_use]
    pub fn repository(name: impl Into<String>, actions: impl IntoIterator<Item = Action>) -> Self {
        Self {
            kind: "repository".to_owned(),
            name: name.into(),
            actions: actions.into_iter().collect(),
        }
    }

    /// True if a token for `self` is enough where `other` is asked for.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.name == other.name
            && (self.actions.is_superset(&other.actions)
                || self.actions.contains(&Action::Other("*".to_owned())))
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        // A name may hold colons (a host with a port), so the kind ends at the first and the actions begin after the last.
        let (kind, rest) = text.split_once(':').ok_or(ScopeError)?;
        let (name, actions) = rest.rsplit_once(':').ok_or(ScopeError)?;
        if kind.is_empty() || name.is_empty() {
            return Err(ScopeError);
        }
        Ok(Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
            actions: actions
                .split(',')
                .filter(|action| !action.is_empty())
                .map(Action::read)
                .collect(),
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.kind, self.name)?;
        for (i, action) in self.actions.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            write!(f, "{comma}{}", action.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let scope = Scope::repository("a/b", [Action::Push, Action::Pull]);
        assert_eq!(scope.to_string(), "repository:a/b:pull,push");
        assert_eq!(scope.to_string().parse(), Ok(scope.clone()));
        assert_eq!("repository:a/b:push,pull".parse(), Ok(scope.clone()));
        assert_eq!(
            "repository:h:5000/a:pull".parse::<Scope>().unwrap().name,
            "h:5000/a"
        );
        assert!("repository".parse::<Scope>().is_err());
        assert!("a:b".parse::<Scope>().is_err());
        assert!(scope.covers(&Scope::repository("a/b", [Action::Pull])));
        assert!(!scope.covers(&Scope::repository("a/b", [Action::Delete])));
        assert!(!scope.covers(&Scope::repository("a", [Action::Pull])));
    }
}
