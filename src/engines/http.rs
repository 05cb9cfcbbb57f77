//! What the HTTP engines share: one client, time limits, errors.
