//! The least of a WebSocket (RFC 6455) that can echo: the handshake, text and binary frames, ping and close.

use std::io::{Read, Write};

use crate::sha1;

const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// No frame is larger than this.
const MAX_FRAME: u64 = 16 << 20;

/// The answer to a client's key.
pub fn accept(key: &str) -> String {
    base64(&sha1::digest(format!("{key}{GUID}").as_bytes()))
}

/// Shakes hands, then sends every frame back until the other side closes.
pub fn echo(key: &str, from: &mut impl Read, to: &mut impl Write) -> std::io::Result<()> {
    write!(
        to,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        accept(key)
    )?;
    loop {
        let mut head = [0; 2];
        from.read_exact(&mut head)?;
        let length = match head[1] & 0x7f {
            126 => {
                let mut n = [0; 2];
                from.read_exact(&mut n)?;
                u64::from(u16::from_be_bytes(n))
            }
            127 => {
                let mut n = [0; 8];
                from.read_exact(&mut n)?;
                u64::from_be_bytes(n)
            }
            n => u64::from(n),
        };
        if length > MAX_FRAME || head[1] & 0x80 == 0 {
            return Ok(());
        }
        let mut mask = [0; 4];
        from.read_exact(&mut mask)?;
        let mut body = vec![0; usize::try_from(length).unwrap_or(0)];
        from.read_exact(&mut body)?;
        for (i, byte) in body.iter_mut().enumerate() {
            *byte ^= mask[i % 4];
        }
        let opcode = head[0] & 0x0f;
        // A ping is answered by a pong, everything else by itself.
        let first = (head[0] & 0xf0) | if opcode == 9 { 10 } else { opcode };
        let mut frame = vec![first];
        match length {
            n @ 0..=125 => frame.push(u8::try_from(n).unwrap_or(0)),
            n @ 126..=0xffff => {
                frame.push(126);
                frame.extend_from_slice(&u16::try_from(n).unwrap_or(0).to_be_bytes());
            }
            n => {
                frame.push(127);
                frame.extend_from_slice(&n.to_be_bytes());
            }
        }
        frame.extend_from_slice(&body);
        to.write_all(&frame)?;
        if opcode == 8 {
            return Ok(());
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let n = three.iter().fold(0_u32, |n, b| (n << 8) | u32::from(*b)) << (8 * (3 - three.len()));
        for i in 0..4 {
            let letter = if i <= three.len() { LETTERS[(n >> (18 - 6 * i)) as usize & 63] } else { b'=' };
            out.push(char::from(letter));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_handshake_is_that_of_the_rfc() {
        assert_eq!(super::accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
