//! The server: the protocol over a storage.
