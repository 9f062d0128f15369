//! Containers: what they are asked with.

mod options;

pub use options::{
    Mount, OptionError, Ulimit, cpus, env, env_file, host_line, labels, merge_env, size,
};
