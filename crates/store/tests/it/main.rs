//! The store as its callers see it.

mod images;
mod roots;
