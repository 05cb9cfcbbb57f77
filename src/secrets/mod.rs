//! Secrets and their versions.
