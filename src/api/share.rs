//! What one person may follow or hold open at once, so that there is room for others: each answer that goes on, and each
//! tunnel, takes a place of its person's share, and gives it back however it ends.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures::{Stream, StreamExt};

use super::Api;
use super::caller::Caller;
use super::problem::{Answer, Fail};
use crate::model::wire::ProblemCode;

/// Proxies close what is silent for longer.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How many places a person has: followed logs and events, programs, runs.
const SHARE: usize = 12;
/// The courses of operations and apps are counted apart: each deploy of a program's has one, and they take no call of
/// their own to an engine.
const COURSES: usize = 64;
/// Connections of `terreau proxy` are counted apart: a browser alone opens six, and none of them is a call to an engine.
const CONNECTIONS: usize = 128;

/// What of a person's share something is counted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// Logs or events, a program, a run.
    Followed,
    /// The course of an operation or an app.
    Course,
    /// A connection to a port.
    Connection,
}

impl Kind {
    fn most(self) -> usize {
        match self {
            Self::Followed => SHARE,
            Self::Course => COURSES,
            Self::Connection => CONNECTIONS,
        }
    }
}

type Taken = Arc<Mutex<HashMap<(String, Kind), usize>>>;

/// Who holds how many places.
#[derive(Debug, Clone, Default)]
pub struct Shares {
    taken: Taken,
}

/// A place in somebody's share; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    whose: (String, Kind),
    taken: Taken,
}

impl Shares {
    /// A place for this caller, or why there is none.
    pub(super) fn take(&self, caller: &Caller, kind: Kind) -> Answer<Place> {
        self.take_for(caller.session.subject.login.as_str(), kind)
    }

    fn take_for(&self, login: &str, kind: Kind) -> Answer<Place> {
        let whose = (login.to_owned(), kind);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(whose.clone()).or_default();
        if *count >= kind.most() {
            tracing::info!(login, ?kind, "over the share of one person");
            let what = match kind {
                Kind::Followed => "logs, events, programs and runs that one person may have open",
                Kind::Course => "operations that one person may follow",
                Kind::Connection => "connections to ports that one person may have open",
            };
            let why = format!("you have {count} open already: the most {what} at once");
            return Err(Fail::new(ProblemCode::TooMany, why).hint("end some of them, then try again"));
        }
        *count += 1;
        Ok(Place { whose, taken: self.taken.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.whose) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.whose);
            }
        }
    }
}

/// What goes on for a caller: it ends with their right to it, and holds their place until then.
pub(super) fn lasting<S, P>(
    api: &Api,
    caller: &Caller,
    place: P,
    stream: S,
) -> impl Stream<Item = S::Item> + Send + use<S, P>
where
    S: Stream + Send + 'static,
    P: Send + Unpin,
{
    Holding { stream: Box::pin(stream.take_until(Box::pin(caller.until_refused(api)))), _held: place }
}

/// The same as server-sent events, with a sign of life where nothing happens.
pub(super) fn events<S>(
    api: &Api,
    caller: &Caller,
    place: Place,
    stream: S,
) -> Sse<impl Stream<Item = Result<Event, Infallible>> + Send + use<S>>
where
    S: Stream<Item = Event> + Send + 'static,
{
    let events = lasting(api, caller, place, stream.map(Ok));
    Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT).text("alive"))
}

/// A stream that holds something until it is dropped.
#[derive(Debug)]
struct Holding<S, P> {
    stream: S,
    _held: P,
}

impl<S: Stream + Unpin, P: Unpin> Stream for Holding<S, P> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        Pin::new(&mut self.stream).poll_next(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_one_persons_and_a_place_comes_back_when_it_is_dropped() {
        let shares = Shares::default();
        let take = |login| shares.take_for(login, Kind::Followed);
        let mut held: Vec<_> = (0..SHARE).map(|_| take("alice").unwrap()).collect();
        let refused = take("alice").unwrap_err();
        assert_eq!(refused.problem().code, ProblemCode::TooMany);
        assert!(refused.problem().detail.contains("12 open already"), "{refused:?}");
        assert!(take("bob").is_ok() && shares.take_for("alice", Kind::Connection).is_ok());
        held.pop();
        held.push(take("alice").unwrap());
        assert!(take("alice").is_err());
        held.clear();
        assert!(shares.taken.lock().unwrap().is_empty(), "nothing is remembered of who is gone");
    }
}
