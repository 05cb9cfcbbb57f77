//! Source → artifact: archives, their upload and reception, what is inside them, and what a folder looks like.
//!
//! Everything that comes from outside is hostile here: sizes, names and counts are bounded before they are believed.
//! No sockets: bytes travel through the clients of `engines` that callers pass in.

pub mod archive;
mod bridge;
mod collect;
pub mod detect;
pub mod names;
pub mod receive;
pub mod scan;
pub mod site;
pub mod unpack;
pub mod upload;
