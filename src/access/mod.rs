//! Login, sessions, groups, and what a person may do.
