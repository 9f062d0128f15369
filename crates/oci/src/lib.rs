//! The vocabulary of container images: digests, references, platforms, manifests, configs. Values, no I/O.
