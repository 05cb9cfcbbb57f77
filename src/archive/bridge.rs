//! An asynchronous reader, read from a blocking thread.

use std::io::{self, Read};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::runtime::Handle;

/// Made within a runtime, read outside of it (`spawn_blocking`).
pub(super) struct Bridge<R> {
    from: R,
    runtime: Handle,
}

impl<R> Bridge<R> {
    /// Takes the runtime that this is called in.
    pub fn new(from: R) -> Self {
        Self { from, runtime: Handle::current() }
    }
}

impl<R: AsyncRead + Unpin> Read for Bridge<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.runtime.block_on(self.from.read(buffer))
    }
}
