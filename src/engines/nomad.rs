//! Nomad's HTTP API.
