//! A WebSocket of an engine, over the same connection settings, credentials and errors as every other call.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::call::Opened;
use super::lanes::Lane;
use super::{Call, Place, Reply, chain};
use crate::engines::{EngineError, Fault};
use crate::model::wire::accept_of;

/// An open WebSocket.
pub type Socket = WebSocketStream<reqwest::Upgraded>;

/// What is written at once, and what waits to be written, at most.
const WRITE: (usize, usize) = (64 << 10, 1 << 20);
/// A longer message is no message of an engine's.
const LONGEST: usize = 1 << 20;

impl Call<'_> {
    /// Makes the call a WebSocket. Any answer but 101 is an error, as for a plain call. The place is to be held as long
    /// as the socket.
    pub async fn socket(mut self) -> Result<(Socket, Place), EngineError> {
        self.lane = Lane::Long;
        let key = STANDARD.encode(rand::random::<[u8; 16]>());
        self.request = self
            .request
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", &key);
        let Opened { mut response, http, doing, until, place } = self.open().await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let status = response.status();
            let mut body = bytes::BytesMut::new();
            while let Ok(Ok(Some(chunk))) = tokio::time::timeout_at(until, response.chunk()).await {
                body.extend_from_slice(&chunk);
                if body.len() > super::reply::SHOWN {
                    break;
                }
            }
            let headers = std::mem::take(response.headers_mut());
            let reply = Reply { engine: http.engine, doing, status, headers, body: body.freeze() };
            return Err(reply.refusal());
        }
        let accepted = response.headers().get("sec-websocket-accept").and_then(|v| v.to_str().ok());
        if accepted != Some(accept_of(&key).as_str()) {
            return Err(http.error(Fault::Broken, &doing, "the answer is no WebSocket's"));
        }
        let upgraded = response.upgrade().await.map_err(|e| http.error(Fault::Broken, &doing, chain(&e)))?;
        let config = WebSocketConfig::default()
            .write_buffer_size(WRITE.0)
            .max_write_buffer_size(WRITE.1)
            .max_message_size(Some(LONGEST))
            .max_frame_size(Some(LONGEST));
        Ok((WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await, place))
    }
}
