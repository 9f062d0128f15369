//! What the kernel offers, safe and free of policy. The only crate that may hold unsafe code.
//!
//! One kernel facility a module.

#![allow(clippy::disallowed_methods, reason = "this is where they are wrapped")]
#![expect(unsafe_code, reason = "the one address of unsafe code")]

pub mod capability;
pub mod copy;
pub mod fs;
pub mod lock;
pub mod loop_device;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod network;
pub mod process;
pub mod root;
pub mod root_plan;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod sync;
pub mod terminal;
pub mod trace;
pub mod user;
pub mod xattr;

/// Runs a function before `main`, and ends the program with its code if it returns one. For test programs.
///
/// A test program's `main` belongs to the test harness, which starts threads. A function that must come first (the one
/// that turns a re-executed program into something else) is called through this, at the top of the test's root file.
#[macro_export]
macro_rules! before_main {
    ($function:path) => {
        const _: () = {
            extern "C" fn run() {
                if let Some(code) = $function() {
                    $crate::process::leave(code);
                }
            }
            #[allow(
                unsafe_code,
                reason = "a link section is the only way to come before `main`"
            )]
            #[used]
            #[unsafe(link_section = ".init_array")]
            static RUN: extern "C" fn() = run;
        };
    };
}
