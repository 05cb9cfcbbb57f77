//! Whole-system tests, on the real engines. One binary, rooms by topic.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs)]
// Pedantry that makes tests longer and no clearer.
#![allow(
    clippy::format_push_string,
    clippy::format_collect,
    clippy::duration_suboptimal_units,
    clippy::naive_bytecount,
    clippy::unchecked_time_subtraction,
    clippy::filter_next
)]

mod access;
mod acl;
mod api;
mod artifacts;
mod audit;
mod book;
mod bounds;
mod cli;
mod config;
mod contract;
mod contract_garage;
mod descriptor;
mod dev;
mod dev_proxy;
mod directory;
mod doctor;
mod drift;
mod examples;
mod exits;
mod faults;
mod folder;
mod harness;
mod history;
mod house;
mod kills;
mod login;
mod loops;
mod main_job;
mod mechanism;
mod people;
mod render;
mod running;
mod sandbox;
mod screens;
mod slips;
mod streams;
mod terminal;
mod told;
mod tour;
