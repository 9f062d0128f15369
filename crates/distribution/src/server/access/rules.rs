//! Rules: users, repositories, actions.

use oci::Repository;
use serde::Deserialize;

use super::super::pattern::Pattern;
use crate::wire::Action;

/// Allows some users to do some things in some repositories.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Names; `*` is everybody who has one, `anonymous` everybody.
    pub users: Vec<String>,
    /// Which repositories.
    pub repositories: Vec<Pattern>,
    /// `pull`, `push`, `delete`.
    pub actions: Vec<Allowed>,
}

/// What a rule can allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Allowed {
    /// Read.
    Pull,
    /// Write.
    Push,
    /// Delete.
    Delete,
}

impl Allowed {
    fn is(self, action: &Action) -> bool {
        matches!(
            (self, action),
            (Self::Pull, Action::Pull)
                | (Self::Push, Action::Push)
                | (Self::Delete, Action::Delete)
        )
    }
}

/// What is not allowed by one of these is not allowed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Rules(pub Vec<Rule>);

impl Rules {
    /// Everybody with a name may do everything.
    #[must_use]
    pub fn every_user() -> Self {
        Self(vec![Rule {
            users: vec!["*".to_owned()],
            repositories: vec![Pattern::new("**")],
            actions: vec![Allowed::Pull, Allowed::Push, Allowed::Delete],
        }])
    }

    /// Whether `user` may do this; without a name, whether anybody may.
    pub(crate) fn allow(
        &self,
        user: Option<&str>,
        repository: &Repository,
        action: &Action,
    ) -> bool {
        self.0.iter().any(|rule| {
            rule.actions.iter().any(|allowed| allowed.is(action))
                && Pattern::any(&rule.repositories, repository.as_str())
                && rule.users.iter().any(|name| match (name.as_str(), user) {
                    ("anonymous", _) | ("*", Some(_)) => true,
                    (name, user) => user == Some(name),
                })
        })
    }
}
