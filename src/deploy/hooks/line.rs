//! The line of those that wait to be told to one hook: what comes, what was tried, when the next try comes. Pure.
//!
//! The order is kept: while the first is tried again, the others wait behind it. A line is short: where too many wait, the
//! oldest are dropped, and counted.

use std::time::Duration;

use jiff::Timestamp;

use super::courier::Sent;
use crate::model::wire::{DeliveryResult, DeliveryView};
use crate::store::hooks::{HookQueue, Message};

/// So many wait, with so many bytes together: the lines of all hooks of an app fit into one transaction of Consul's.
const WAITING: usize = 20;
const BYTES: usize = 24 << 10;
/// The pauses after tries that did not arrive, in seconds; after the last one it is given up.
const PAUSES: [u64; 6] = [5, 30, 120, 600, 3_600, 21_600];
/// The longest that a receiver may ask to be left alone.
const LONGEST_PAUSE: Duration = Duration::from_hours(6);
/// A receiver that says it is gone for good is not tried again (Standard Webhooks, *Delivery success and failure*).
const GONE: u16 = 410;

/// Puts a message at the end, once.
pub(super) fn push(queue: &mut HookQueue, message: Message) {
    if queue.pending.iter().any(|m| m.id == message.id) {
        return;
    }
    queue.pending.push_back(message);
    let bytes = |q: &HookQueue| q.pending.iter().map(|m| m.body.len()).sum::<usize>();
    while queue.pending.len() > WAITING || (queue.pending.len() > 1 && bytes(queue) > BYTES) {
        queue.pending.pop_front();
        (queue.tries, queue.next) = (0, None);
        queue.lost += 1;
    }
}

/// The first, where it is to be tried now.
pub(super) fn due(queue: &HookQueue, now: Timestamp) -> Option<&Message> {
    let waits = queue.next.as_ref().and_then(|at| at.parse::<Timestamp>().ok()).is_some_and(|at| at > now);
    queue.pending.front().filter(|_| !waits)
}

/// Writes down what came of a try of the first. `luck` from 0 to 1 spreads the tries.
pub(super) fn tried(queue: &mut HookQueue, message: &Message, sent: &Sent, now: Timestamp, luck: f64) {
    // Dropped meanwhile, or told by another agent.
    if queue.pending.front().is_none_or(|m| m.id != message.id) {
        return;
    }
    let pause = PAUSES.get(queue.tries as usize).filter(|_| sent.status != Some(GONE));
    let result = match (&sent.error, pause) {
        (None, _) => DeliveryResult::Delivered,
        (Some(_), Some(_)) => DeliveryResult::Failed,
        (Some(_), None) => DeliveryResult::GivenUp,
    };
    if let (DeliveryResult::Failed, Some(seconds)) = (result, pause) {
        let own = Duration::from_secs(*seconds).mul_f64(0.8 + 0.4 * luck);
        let pause = own.max(sent.pause.unwrap_or_default().min(LONGEST_PAUSE));
        let pause = jiff::SignedDuration::try_from(pause).unwrap_or_default();
        queue.tries += 1;
        queue.next = now.saturating_add(pause).ok().map(|at| at.to_string());
    } else {
        queue.pending.pop_front();
        (queue.tries, queue.next) = (0, None);
        queue.lost += u64::from(result == DeliveryResult::GivenUp);
    }
    queue.last = Some(DeliveryView {
        id: message.id.clone(),
        kind: message.kind.clone(),
        at: now.to_string(),
        result,
        status: sent.status,
        error: sent.error.clone(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> HookQueue {
        HookQueue {
            v: 1,
            hook: "h".into(),
            app: "carnet".parse().unwrap(),
            pending: std::collections::VecDeque::new(),
            tries: 0,
            next: None,
            last: None,
            lost: 0,
            leaving: None,
        }
    }

    fn message(n: usize, size: usize) -> Message {
        Message { id: format!("msg_{n}"), kind: "app.deploy".into(), body: "x".repeat(size) }
    }

    fn sent(status: u16) -> Sent {
        let error = (status != 200).then(|| format!("it answered {status}"));
        Sent { status: Some(status), error, took: Duration::ZERO, pause: None }
    }

    #[test]
    fn what_does_not_arrive_is_tried_again_in_order_with_growing_pauses_and_then_given_up() {
        let mut q = queue();
        push(&mut q, message(1, 1));
        push(&mut q, message(1, 1));
        push(&mut q, message(2, 1));
        assert_eq!(q.pending.len(), 2, "told twice is told once");
        let mut now = Timestamp::UNIX_EPOCH;
        let mut pauses = Vec::new();
        for _ in 0..6 {
            assert_eq!(due(&q, now).unwrap().id, "msg_1");
            tried(&mut q, &message(1, 1), &sent(500), now, 0.5);
            let next: Timestamp = q.next.clone().unwrap().parse().unwrap();
            assert_eq!(due(&q, next - jiff::SignedDuration::from_secs(1)), None);
            pauses.push(next.duration_since(now).as_secs());
            now = next;
        }
        assert_eq!(pauses, [5, 30, 120, 600, 3_600, 21_600]);
        tried(&mut q, &message(1, 1), &sent(500), now, 0.5);
        assert_eq!((q.lost, q.last.as_ref().unwrap().result), (1, DeliveryResult::GivenUp));
        assert_eq!(due(&q, now).unwrap().id, "msg_2", "the next one is not held up any longer");
        tried(&mut q, &message(2, 1), &sent(200), now, 0.5);
        assert_eq!((q.pending.len(), q.lost, q.last.unwrap().result), (0, 1, DeliveryResult::Delivered));
    }

    #[test]
    fn a_receiver_may_ask_for_a_longer_pause_or_say_that_it_is_gone() {
        let (mut q, now) = (queue(), Timestamp::UNIX_EPOCH);
        push(&mut q, message(1, 1));
        let pause = Some(Duration::from_secs(100));
        tried(&mut q, &message(1, 1), &Sent { pause, ..sent(503) }, now, 0.0);
        assert_eq!(q.next.as_deref(), Some("1970-01-01T00:01:40Z"));
        let pause = Some(Duration::MAX);
        tried(&mut q, &message(1, 1), &Sent { pause, ..sent(503) }, now, 0.0);
        assert_eq!(q.next.as_deref(), Some("1970-01-01T06:00:00Z"));
        tried(&mut q, &message(1, 1), &sent(410), now, 0.0);
        assert_eq!((q.pending.len(), q.lost), (0, 1));
    }

    #[test]
    fn a_line_stays_short_and_counts_what_it_drops() {
        let mut q = queue();
        (0..30).for_each(|n| push(&mut q, message(n, 10)));
        assert_eq!((q.pending.len(), q.lost, q.pending[0].id.as_str()), (20, 10, "msg_10"));
        (30..40).for_each(|n| push(&mut q, message(n, 20 << 10)));
        assert_eq!((q.pending.len(), q.pending[0].id.as_str()), (1, "msg_39"));
        // What was tried meanwhile and dropped changes nothing.
        tried(&mut q, &message(38, 1), &sent(200), Timestamp::UNIX_EPOCH, 0.5);
        assert_eq!(q.pending.len(), 1);
    }
}
