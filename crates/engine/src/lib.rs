//! One file a use case: requests in, events and results out. No printing.
