//! Behaviour of the Dockerfile language, one test a fact. Names `fNNN_…` follow the numbering of the
//! list of facts in `docs/dockerfile.md`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod expansion;
mod heredocs;
mod ignore;
mod instructions;
mod parsing;
mod properties;
mod scope;
mod support;
