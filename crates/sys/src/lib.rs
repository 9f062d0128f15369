//! What the kernel offers, safe and free of policy. The only crate that may hold unsafe code.
//!
//! One kernel facility a module.

#![expect(unsafe_code, reason = "the one address of unsafe code")]

pub mod copy;
pub mod fs;
pub mod lock;
pub mod mount;
pub mod namespace;
pub mod process;
pub mod root;
pub mod root_plan;
pub mod socket;
pub mod sync;
pub mod xattr;
