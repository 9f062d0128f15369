//! The image store: one folder with blobs, layers, names, leases and records.
