//! Who asks, and what they may do.
//!
//! A caller is nobody in particular, somebody with a name (who gave a password), or a token that says what it is for.
//! [`Rules`] say what names may do; a token may do what it says, and one that this registry issued never more than its
//! subject may at the time of use. What a caller may not pull does not exist for them.

mod htpasswd;
mod keys;
mod rules;
mod token;

use std::sync::Arc;

use hyper::header::HeaderMap;
use oci::Repository;

use super::refusal::Refusal;
use crate::wire::{Action, Challenge, ErrorCode, Scope};

pub use htpasswd::{Htpasswd, HtpasswdError};
pub use keys::{KeyError, VerifyingKeys};
pub use rules::{Allowed, Rule, Rules};
pub use token::{Issuer, TokenError};

/// What the challenge for a password is for.
const REALM: &str = "barque";

/// Kind and name of the catalogue in a scope.
const CATALOGUE: (&str, &str) = ("registry", "catalog");

/// Who sent a request, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Anybody.
    Anonymous,
    /// Somebody who knew a password.
    User(String),
    /// Whoever has a token of this registry: its subject, and what it is for.
    Issued(Option<String>, Vec<Scope>),
    /// Whoever has a token of a server that this registry trusts: its subject, and what it is for.
    External(Option<String>, Vec<Scope>),
}

impl Caller {
    /// The name, for rules and logs.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::User(name) | Self::Issued(Some(name), _) | Self::External(Some(name), _) => {
                Some(name)
            }
            Self::Anonymous | Self::Issued(None, _) | Self::External(None, _) => None,
        }
    }
}

/// A server that issues tokens for this registry.
#[derive(Debug)]
pub struct External {
    /// Where clients get them.
    pub realm: String,
    /// What this registry is called there, and the audience of its tokens.
    pub service: String,
    /// Who signs them.
    pub issuer: String,
    /// What they are checked with.
    pub keys: VerifyingKeys,
}

/// How callers show who they are.
#[derive(Debug, Default)]
pub enum Login {
    /// They do not.
    #[default]
    None,
    /// With a password, each time.
    Password(Arc<Htpasswd>),
    /// With a password, for a token of this registry.
    Token(Arc<Htpasswd>, Issuer),
    /// With a token of somebody else.
    External(External),
}

/// Who may do what.
#[derive(Debug, Default)]
pub struct Access {
    /// How callers show who they are.
    pub login: Login,
    /// What they may do. With no login they do not count: everybody may do everything.
    pub rules: Rules,
}

impl Access {
    /// Who sent these headers.
    pub(crate) async fn caller(&self, headers: &HeaderMap, now: u64) -> Result<Caller, Refusal> {
        let Some(value) = headers.get(hyper::header::AUTHORIZATION) else {
            return Ok(Caller::Anonymous);
        };
        let (scheme, rest) = value
            .to_str()
            .ok()
            .and_then(|value| value.trim().split_once(' '))
            .unwrap_or_default();
        let basic = scheme.eq_ignore_ascii_case("basic");
        let bearer = scheme.eq_ignore_ascii_case("bearer");
        let caller = match &self.login {
            Login::None => Some(Caller::Anonymous),
            Login::Password(users) | Login::Token(users, _) if basic => {
                users.login(rest.trim()).await.map(Caller::User)
            }
            Login::Token(_, issuer) if bearer => issuer
                .verify(rest.trim(), now)
                .ok()
                .map(|claims| Caller::Issued(claims.subject, claims.scopes)),
            Login::External(external) if bearer => token::verify(
                rest.trim(),
                &external.keys,
                &external.issuer,
                &external.service,
                now,
            )
            .ok()
            .map(|claims| Caller::External(claims.subject, claims.scopes)),
            Login::Password(_) | Login::Token(..) | Login::External(_) => None,
        };
        caller.ok_or_else(|| self.challenge(headers, &[], Some("invalid_token")))
    }

    /// Whether `caller` may do this.
    pub(crate) fn allows(&self, caller: &Caller, repository: &Repository, action: &Action) -> bool {
        let wanted = || Scope::repository(repository.as_str(), [action.clone()]);
        let within = |scopes: &[Scope]| scopes.iter().any(|scope| scope.covers(&wanted()));
        match (&self.login, caller) {
            (Login::None, _) => true,
            (_, Caller::External(_, scopes)) => within(scopes),
            (_, Caller::Issued(_, scopes)) => {
                within(scopes) && self.rules.allow(caller.name(), repository, action)
            }
            (_, Caller::Anonymous | Caller::User(_)) => {
                self.rules.allow(caller.name(), repository, action)
            }
        }
    }

    /// Whether the catalogue shows `caller` a repository. A token for the catalogue stands for its subject there; one of
    /// somebody else, who knows what they let see, for everything.
    pub(crate) fn shows(&self, caller: &Caller, repository: &Repository) -> bool {
        let catalogue = Scope {
            kind: CATALOGUE.0.to_owned(),
            name: CATALOGUE.1.to_owned(),
            actions: [Action::Other("*".to_owned())].into(),
        };
        let is_for_it = |scopes: &[Scope]| scopes.iter().any(|scope| scope.covers(&catalogue));
        match caller {
            Caller::External(_, scopes) if is_for_it(scopes) => true,
            Caller::Issued(name, scopes) if is_for_it(scopes) => {
                self.rules.allow(name.as_deref(), repository, &Action::Pull)
            }
            caller => self.allows(caller, repository, &Action::Pull),
        }
    }

    /// Refuses what `caller` may not do, without saying whether there is such a repository.
    pub(crate) fn require(
        &self,
        caller: &Caller,
        headers: &HeaderMap,
        repository: &Repository,
        action: Action,
    ) -> Result<(), Refusal> {
        if self.allows(caller, repository, &action) {
            return Ok(());
        }
        // Who may push wants to pull as well: clients ask for one token for both.
        let wanted = match &action {
            Action::Push => Scope::repository(repository.as_str(), [Action::Pull, Action::Push]),
            action => Scope::repository(repository.as_str(), [action.clone()]),
        };
        match caller {
            Caller::Anonymous => Err(self.challenge(headers, &[wanted], None)),
            Caller::Issued(..) | Caller::External(..) => {
                Err(self.challenge(headers, &[wanted], Some("insufficient_scope")))
            }
            Caller::User(_) if action == Action::Pull => Err(Refusal::no_repository(repository)),
            Caller::User(_) => Err(Refusal::new(ErrorCode::Denied, ErrorCode::Denied.message())),
        }
    }

    /// Refuses whoever has not said who they are: the first request of every client, which asks how to.
    pub(crate) fn require_login(
        &self,
        caller: &Caller,
        headers: &HeaderMap,
    ) -> Result<(), Refusal> {
        match (&self.login, caller) {
            (Login::None, _) => Ok(()),
            (_, Caller::Anonymous) => Err(self.challenge(headers, &[], None)),
            _ => Ok(()),
        }
    }

    fn challenge(&self, headers: &HeaderMap, scopes: &[Scope], error: Option<&str>) -> Refusal {
        let mut challenge = match &self.login {
            Login::None | Login::Password(_) => Challenge::basic(REALM),
            Login::Token(_, issuer) => {
                Challenge::bearer(&issuer.realm(headers), issuer.service(), scopes)
            }
            Login::External(external) => {
                Challenge::bearer(&external.realm, &external.service, scopes)
            }
        };
        if let Some(error) = error.filter(|_| challenge.scheme == "bearer") {
            challenge
                .parameters
                .push(("error".to_owned(), error.to_owned()));
        }
        Refusal::new(ErrorCode::Unauthorized, ErrorCode::Unauthorized.message())
            .header(hyper::header::WWW_AUTHENTICATE, challenge.to_string())
    }

    /// A token for what `caller` may do of what they ask for, and how long it is good; `None` if this registry has none.
    pub(crate) fn issue(
        &self,
        caller: &Caller,
        wanted: Vec<Scope>,
        now: u64,
    ) -> Option<Result<(String, u64), TokenError>> {
        let Login::Token(_, issuer) = &self.login else {
            return None;
        };
        let granted = wanted
            .into_iter()
            .filter_map(|scope| self.grant(caller, scope))
            .collect();
        Some(issuer.issue(caller.name(), granted, now))
    }

    fn grant(&self, caller: &Caller, mut scope: Scope) -> Option<Scope> {
        if (scope.kind.as_str(), scope.name.as_str()) == CATALOGUE {
            // Everybody may ask for it; it has what they may pull.
            return Some(scope);
        }
        let repository: Repository = (scope.kind == "repository")
            .then(|| scope.name.parse().ok())
            .flatten()?;
        if scope.actions.remove(&Action::Other("*".to_owned())) {
            scope
                .actions
                .extend([Action::Pull, Action::Push, Action::Delete]);
        }
        scope
            .actions
            .retain(|action| self.rules.allow(caller.name(), &repository, action));
        (!scope.actions.is_empty()).then_some(scope)
    }
}
