//! Containers: run, list, follow, stop, remove, and what they are asked with.

mod options;

pub use options::{Mount, OptionError, Propagation, Ulimit, cpus, env, env_file, merge_env, size};
