//! What the kernel offers, safe and free of policy. The only crate that may hold unsafe code.
//!
//! One kernel facility a module.

pub mod copy;
pub mod fs;
pub mod lock;
pub mod root;
pub mod sync;
pub mod xattr;
