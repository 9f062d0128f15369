//! A process in a root filesystem: spec, start, supervise. Knows no images.
