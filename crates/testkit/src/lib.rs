//! Test support: image factory, temporary store.
