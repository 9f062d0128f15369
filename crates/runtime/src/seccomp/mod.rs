//! Which system calls a container may make.
//!
//! A [`Filter`] is rules by name, readable and independent of the machine: the default one follows Docker's, others are read from
//! files in Docker's format. [`compile`](Filter::compile) turns it into the kernel's filter program for this machine: a binary search by
//! number, so that its length does not slow calls down, and the kernel's own cache of plain answers works.
//!
//! Numbers beyond the newest call that we know get "no such call" (`ENOSYS`) where the default is an error, as container engines
//! agreed on: libraries then fall back to older calls, which "not permitted" would not make them do. The 32-bit calls of a 64-bit
//! machine have their own part of the program; the x32 calls do not exist here (`ENOSYS`), and calls of any other
//! architecture kill the process.

mod compile;
mod default;
mod profile;
mod table;

use serde::{Deserialize, Serialize};

pub use profile::ProfileError;

/// Rules for system calls; the first that fits decides, of those with conditions before those without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// For calls that no rule fits.
    pub default: Action,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// What happens to some calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Names of calls; names that a machine does not have are skipped there.
    pub names: Vec<String>,
    /// What happens.
    pub action: Action,
    /// All of these must hold.
    pub conditions: Vec<Condition>,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is made.
    Allow,
    /// It is made and logged.
    Log,
    /// It fails with this error number.
    Errno(u16),
    /// The thread gets `SIGSYS`.
    Trap,
    /// The thread is killed.
    KillThread,
    /// The process is killed.
    KillProcess,
}

/// A comparison of one argument of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub index: u8,
    /// How it is compared.
    pub operator: Operator,
    /// With what; for [`Operator::MaskedEqual`] the mask.
    pub value: u64,
    /// For [`Operator::MaskedEqual`]: what the masked argument must be.
    pub masked: u64,
}

/// A comparison, unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    MaskedEqual,
}
