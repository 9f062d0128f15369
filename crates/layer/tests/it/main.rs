//! The crate seen from outside, with the kernel as judge where there are privileges.

mod mounted;
