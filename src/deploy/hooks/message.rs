//! What is told, as it is sent: small JSON, of which nothing is secret. Pure.

use serde::Serialize;

use crate::model::Placement;
use crate::model::head::Outcome;
use crate::model::wire::HookEvent;
use crate::store::hooks::{Message, News};

/// What every message holds; `type` says what else is in `data`.
#[derive(Debug, Serialize)]
struct Body<'a, T> {
    #[serde(rename = "type")]
    kind: &'a str,
    timestamp: &'a str,
    data: Data<'a, T>,
}

#[derive(Debug, Serialize)]
struct Data<'a, T> {
    app: String,
    cluster: &'a str,
    summary: &'a str,
    #[serde(flatten)]
    more: T,
}

#[derive(Debug, Serialize)]
struct Change<'a> {
    operation: &'a str,
    verb: &'a str,
    by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<u64>,
    outcome: Outcome,
    why: &'a [String],
    urls: &'a [String],
}

/// What a loop looks like from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Looping {
    /// The process that ends.
    pub(super) process: String,
    /// How it ended last.
    pub(super) exit_code: i64,
    /// True where it was ended for its memory.
    pub(super) oom_killed: bool,
}

#[derive(Debug, Serialize)]
struct Recovered<'a> {
    process: &'a str,
    since: &'a str,
}

#[derive(Debug, Serialize)]
struct Nothing {}

fn message<T: Serialize>(
    id: String,
    kind: &str,
    at: &str,
    (app, cluster): (&Placement, &str),
    summary: &str,
    more: T,
) -> Message {
    let data = Data { app: app.to_string(), cluster, summary, more };
    // Plain data of ours: serialising it cannot fail.
    let body = serde_json::to_string(&Body { kind, timestamp: at, data }).unwrap_or_default();
    Message { id, kind: kind.to_owned(), body }
}

/// How a change ended. Its id is the operation's: the same for every hook, however often it is told.
pub(super) fn of_news(news: &News, cluster: &str) -> Message {
    let more = Change {
        operation: news.id.as_str(),
        verb: &news.verb,
        by: &news.by,
        release: news.release,
        outcome: news.outcome,
        why: &news.why,
        urls: &news.urls,
    };
    let id = format!("msg_{}", news.id);
    message(id, news.event.kind(), &news.at, (&news.app, cluster), &news.summary, more)
}

/// That a process ends again and again.
pub(super) fn of_loop(id: &str, at: &str, of: (&Placement, &str), it: &Looping) -> Message {
    let summary = if it.oom_killed {
        format!("{} ends again and again: it uses more memory than its limit", it.process)
    } else {
        format!("{} ends again and again, with exit code {}", it.process, it.exit_code)
    };
    message(format!("msg_{id}"), HookEvent::CrashLoop.kind(), at, of, &summary, it)
}

/// That it runs again.
pub(super) fn of_recovery(id: &str, at: &str, of: (&Placement, &str), process: &str, since: &str) -> Message {
    let summary = format!("{} runs again", of.0);
    message(format!("msg_{id}"), HookEvent::Recovery.kind(), at, of, &summary, Recovered { process, since })
}

/// That somebody wants to see whether anything arrives.
pub(super) fn of_test(id: &str, at: &str, of: (&Placement, &str), by: &str) -> Message {
    let summary = format!("a test by {by}");
    message(format!("msg_{id}"), "app.test", at, of, &summary, Nothing {})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_happened_to_which_app() {
        let app: Placement = "carnet@test".parse().unwrap();
        let it = Looping { process: "web".into(), exit_code: 3, oom_killed: false };
        let made = of_loop("01", "2026-01-02T03:04:05Z", (&app, "prod"), &it);
        assert_eq!((made.id.as_str(), made.kind.as_str()), ("msg_01", "app.crash_loop"));
        assert_eq!(
            made.body,
            r#"{"type":"app.crash_loop","timestamp":"2026-01-02T03:04:05Z","data":{"app":"carnet@test","cluster":"prod","summary":"web ends again and again, with exit code 3","process":"web","exit_code":3,"oom_killed":false}}"#
        );
    }
}
