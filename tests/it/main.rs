//! Whole-system tests, on the real engines. One binary, rooms by topic.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod access;
mod api;
mod artifacts;
mod cli;
mod contract;
mod contract_garage;
mod descriptor;
mod dev;
mod dev_proxy;
mod directory;
mod harness;
mod house;
mod mechanism;
mod render;
mod sandbox;
