//! Archives that ADD unpacks.

/// Why an archive could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Not yet.
    #[error("`{0}` is an archive")]
    Unsupported(String),
}
