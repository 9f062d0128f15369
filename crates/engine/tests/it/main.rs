//! The engine as the command line uses it, on real stores.

mod archives;
mod browse;
mod hostile;
mod images;
mod peers;
mod support;
