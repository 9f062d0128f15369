//! Dockerfile text to typed, located syntax; heredocs; expansion; ignore files; lint. No I/O.
