//! Who asks, and what they may do.

use oci::Repository;

use super::refusal::Refusal;
use crate::wire::{Action, ErrorCode};

/// Who sent a request, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Anybody.
    Anonymous,
}

/// Who may do what.
#[derive(Debug, Default)]
pub(crate) enum Access {
    /// Everybody everything.
    #[default]
    Open,
}

impl Access {
    /// Whether `caller` may do this.
    pub(crate) fn allows(
        &self,
        _caller: &Caller,
        _repository: &Repository,
        _action: &Action,
    ) -> bool {
        match self {
            Self::Open => true,
        }
    }

    /// Refuses what `caller` may not do, without saying whether there is such a repository.
    pub(crate) fn require(
        &self,
        caller: &Caller,
        repository: &Repository,
        action: Action,
    ) -> Result<(), Refusal> {
        if self.allows(caller, repository, &action) {
            return Ok(());
        }
        if action == Action::Pull {
            return Err(Refusal::no_repository(repository));
        }
        Err(Refusal::new(ErrorCode::Denied, ErrorCode::Denied.message()))
    }
}
