//! The store as its callers see it.

mod fsck;
mod images;
mod leases;
mod roots;
