//! Releases, deploy, rollback, delete, status, logs.
