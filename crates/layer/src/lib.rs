//! Tar reading and writing, the EROFS index, whiteouts, merging a chain of layers, compression.
