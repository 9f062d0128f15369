//! The `barque` program.

fn main() {}
