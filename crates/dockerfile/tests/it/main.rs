//! Behaviour of the Dockerfile language, one test a fact: `fNNN_…` follow a numbered list of
//! what implementers get wrong.

#![allow(
    clippy::disallowed_methods,
    reason = "what a test looks at is no part of the program"
)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod constructs;
mod expansion;
mod extensions;
mod heredocs;
mod ignore;
mod instructions;
mod lint;
mod pages;
mod parsing;
mod properties;
mod remotes;
mod scope;
mod support;
