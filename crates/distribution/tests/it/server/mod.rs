//! The server: the storage suite, the protocol over each storage, connections.

mod access;
mod along;
mod bucket;
mod connections;
mod content;
mod deletes;
mod desk;
mod engines;
mod faults;
mod hooks;
mod hostile;
mod lists;
mod manifests;
mod peers;
mod rules;
mod shaky;
mod soak;
mod storage;
mod unwell;
mod uploads;
mod upstream;

/// Runs each test over each storage, every time over a new one.
macro_rules! over_each_storage {
    ($($name:ident)*) => {
        mod local {
            $(#[tokio::test] async fn $name() { super::$name(crate::server::desk::Desk::local()).await; })*
        }
        mod object {
            $(#[tokio::test] async fn $name() { super::$name(crate::server::desk::Desk::object().await).await; })*
        }
    };
}
pub(crate) use over_each_storage;
