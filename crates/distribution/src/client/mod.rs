//! The client: connections, authentication, retries, ranges.
