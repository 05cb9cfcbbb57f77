//! A gate before an engine: passes what is asked, or does to it what an ill engine or network would do.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::words::{Language, Lie, Question};

/// How an engine is, as seen through its gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// Nobody listens.
    Down,
    /// Every connection is reset.
    Reset,
    /// Hears every question, answers none, does nothing.
    Silent,
    /// Does what it is asked; the answer is lost whole.
    Lost,
    /// Does what it is asked; half of the answer is lost.
    Half,
    /// Does nothing, and says this.
    Says(Lie),
}

impl fmt::Display for Mood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Mood::Well => "well",
            Mood::Down => "down",
            Mood::Reset => "reset",
            Mood::Silent => "silent",
            Mood::Lost => "answer lost",
            Mood::Half => "half an answer",
            Mood::Says(Lie::Fails) => "says 500",
            Mood::Says(Lie::Refuses) => "refuses us",
            Mood::Says(Lie::WrongJson) => "wrong JSON",
            Mood::Says(Lie::CutJson) => "cut JSON",
            Mood::Says(Lie::Busy) => "says busy",
            Mood::Says(Lie::Unavailable) => "says unavailable",
            Mood::Says(Lie::Garbage) => "garbage",
        })
    }
}

/// Says of a question whether the fault begins with it.
type Beginning = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// A TCP gate before an engine. A change of mood ends the connections that are open.
pub struct Gate {
    pub at: SocketAddr,
    inside: Arc<Inside>,
    _stop: DropGuard,
}

struct Inside {
    engine: String,
    language: Language,
    mood: watch::Sender<Mood>,
    waiting: Mutex<Option<(Beginning, Mood)>>,
}

impl Gate {
    pub async fn before(url: &str) -> Self {
        let language = if url.starts_with("ldap:") { Language::Ldap } else { Language::Http };
        let engine = url.rsplit('/').next().unwrap().to_owned();
        let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = first.local_addr().unwrap();
        let (mood, now) = watch::channel(Mood::Well);
        let inside = Arc::new(Inside { engine, language, mood, waiting: Mutex::default() });
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(inside.clone().stand(first, now)));
        Self { at, inside, _stop: stop.drop_guard() }
    }

    pub fn is(&self, mood: Mood) {
        *self.inside.waiting.lock().unwrap() = None;
        self.inside.mood.send_replace(mood);
    }

    /// Is well until this is asked: from that question on it is of this mood.
    pub fn from(&self, asked: impl Fn(&str) -> bool + Send + Sync + 'static, mood: Mood) {
        *self.inside.waiting.lock().unwrap() = Some((Box::new(asked), mood));
    }

    /// Whether the question that a fault was to begin with has come.
    pub fn has_begun(&self) -> bool {
        self.inside.waiting.lock().unwrap().is_none()
    }
}

impl Inside {
    async fn stand(self: Arc<Self>, first: TcpListener, mut now: watch::Receiver<Mood>) {
        let at = first.local_addr().unwrap();
        let mut listener = Some(first);
        loop {
            if *now.borrow_and_update() == Mood::Down {
                listener = None;
                now.changed().await.unwrap();
                continue;
            }
            let Some(open) = &listener else {
                // The port may be somebody's for a moment.
                listener = TcpListener::bind(at).await.ok();
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            tokio::select! {
                gone = now.changed() => if gone.is_err() { return },
                taken = open.accept() => {
                    let Ok((client, _)) = taken else { continue };
                    let (inside, later) = (self.clone(), now.clone());
                    // A connection that breaks has told its client already.
                    tokio::spawn(async move { drop(inside.pass(client, later).await) });
                }
            }
        }
    }

    /// The mood that a question meets. The change that the question itself makes is seen by all other connections.
    fn meets(&self, asked: &Question, now: &mut watch::Receiver<Mood>) -> Mood {
        let mut waiting = self.waiting.lock().unwrap();
        if waiting.as_ref().is_some_and(|(begins, _)| begins(&asked.text))
            && let Some((_, mood)) = waiting.take()
        {
            self.mood.send_replace(mood);
        }
        *now.borrow_and_update()
    }

    async fn pass(&self, mut client: TcpStream, mut now: watch::Receiver<Mood>) -> std::io::Result<()> {
        let mut engine: Option<TcpStream> = None;
        let (mut heard, mut told) = (BytesMut::new(), BytesMut::new());
        if *now.borrow_and_update() == Mood::Reset {
            return client.set_zero_linger();
        }
        loop {
            while let Some(asked) = self.language.take(&mut heard) {
                let mood = self.meets(&asked, &mut now);
                match mood {
                    Mood::Down | Mood::Reset => return client.set_zero_linger(),
                    Mood::Silent => {
                        let _ = now.changed().await;
                        return Ok(());
                    }
                    Mood::Says(lie) => {
                        client.write_all(&asked.answered(lie)).await?;
                        continue;
                    }
                    Mood::Well | Mood::Lost | Mood::Half => {}
                }
                let engine = match &mut engine {
                    Some(engine) => engine,
                    none => none.insert(TcpStream::connect(&self.engine).await?),
                };
                engine.write_all(&asked.bytes).await?;
                if mood == Mood::Well {
                    continue;
                }
                // Once it answers it has done it.
                tokio::select! {
                    answered = engine.read_buf(&mut told) => { answered?; }
                    _ = now.changed() => return Ok(()),
                }
                if mood == Mood::Half {
                    client.write_all(&told[..half(&told)]).await?;
                }
                return Ok(());
            }
            let answer = async {
                match &mut engine {
                    Some(engine) => engine.read_buf(&mut told).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = now.changed() => return Ok(()),
                n = client.read_buf(&mut heard) => if n? == 0 { return Ok(()) },
                n = answer => {
                    if n? == 0 {
                        return Ok(());
                    }
                    client.write_all(&told).await?;
                    told.clear();
                }
            }
        }
    }
}

/// HTTP's head and half of what came of the body; of LDAP half of the bytes.
fn half(told: &[u8]) -> usize {
    let head = told.windows(4).position(|w| w == b"\r\n\r\n").map_or(0, |at| at + 4);
    head + (told.len() - head) / 2
}
