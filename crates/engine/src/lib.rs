//! One file a use case: requests in, events and results out. No printing.
//!
//! The program's commands are thin: each makes a request of what was typed, calls one function here and renders what comes
//! back. Nothing here knows a terminal, an environment variable or an exit code.

#![forbid(unsafe_code)]

pub mod containers;
