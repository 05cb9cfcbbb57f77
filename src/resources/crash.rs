//! Whether an instance ends again and again by itself: the one judgement, for rollouts, restarts, status and those who
//! are told of it. Pure: no call, no clock.

use std::time::Duration;

use crate::engines::nomad::{Allocation, TaskEvent, TaskState};

/// So many bad ends near each other are a loop.
pub const CRASHES: usize = 2;
/// How near: what ends once a week does not loop.
pub const NEAR: Duration = Duration::from_mins(10);
/// So many events of a task Nomad keeps: of a whole list, what came before the first is not known.
const KEPT: usize = 10;

/// The task that an instance is about: the process's own, or the one that began last.
pub fn main_task(a: &Allocation) -> Option<&TaskState> {
    let named = a.task_states.get(&a.task_group);
    named.or_else(|| a.task_states.values().max_by_key(|t| t.started_at.clone()))
}

/// True where the event before an end is somebody's order to end. That its check fails is nobody's order.
fn is_order(e: &TaskEvent) -> bool {
    match e.kind.as_str() {
        "Killing" | "Signaling" => true,
        "Restart Signaled" => !e.display_message.contains("healthcheck"),
        _ => false,
    }
}

/// True of what Nomad tells between an order to end and the end.
fn is_delay(e: &TaskEvent) -> bool {
    matches!(e.kind.as_str(), "Waiting for shutdown delay" | "Skipping shutdown delay")
}

/// The ends of a task that nobody ordered, oldest first, with their places among its events. Whether an end was ordered of which Nomad has
/// forgotten what came before it is not known: it is none of these.
pub fn own_ends(task: &TaskState) -> impl Iterator<Item = (usize, &TaskEvent)> {
    let ordered = |n: usize| {
        let before = task.events[..n].iter().rfind(|e| !is_delay(e));
        before.map_or(task.events.len() >= KEPT, is_order)
    };
    task.events.iter().enumerate().filter(move |(n, e)| e.kind == "Terminated" && !ordered(*n))
}

/// The bad ones among them: with an exit code, or by a signal.
pub fn bad_ends(task: &TaskState) -> impl Iterator<Item = &TaskEvent> {
    own_ends(task).map(|(_, e)| e).filter(|e| e.exit_code != 0 || e.signal != 0)
}

/// True where so many of these times (nanoseconds, in order) are near each other.
pub fn is_loop(times: &[i64]) -> bool {
    times.windows(CRASHES).any(|w| Duration::from_nanos(w[CRASHES - 1].abs_diff(w[0])) <= NEAR)
}

/// True where a task ends badly again and again.
pub fn loops(task: &TaskState) -> bool {
    is_loop(&bad_ends(task).map(|e| e.time).collect::<Vec<_>>())
}

/// True where an instance ends again and again, or waits after a bad end.
pub fn is_crashing(a: &Allocation) -> bool {
    let Some(task) = main_task(a) else { return false };
    let waits = task.state != "running" && bad_ends(task).next().is_some();
    a.client_status == "failed" || loops(task) || waits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, exit_code: i64, minutes: i64) -> TaskEvent {
        TaskEvent { kind: kind.into(), exit_code, time: minutes * 60_000_000_000, ..TaskEvent::default() }
    }

    fn task(events: Vec<TaskEvent>) -> TaskState {
        TaskState { state: "running".into(), events, ..TaskState::default() }
    }

    #[test]
    fn two_bad_ends_near_each_other_are_a_loop_and_far_apart_they_are_not() {
        let ends = |at: &[i64]| task(at.iter().map(|m| event("Terminated", 3, *m)).collect());
        assert!(loops(&ends(&[1, 11])));
        assert!(!loops(&ends(&[1, 12])));
        assert!(loops(&ends(&[1, 30, 31])));
        assert!(!loops(&ends(&[1])) && !loops(&task(vec![])));
        assert!(!loops(&task(vec![event("Terminated", 0, 1), event("Terminated", 0, 2)])), "it had its end");
    }

    #[test]
    fn an_end_that_was_ordered_is_none_of_its_own_and_a_failing_check_orders_nothing() {
        let order =
            |words: &str| TaskEvent { display_message: words.into(), ..event("Restart Signaled", 0, 1) };
        let twice = |order: TaskEvent| {
            let end = event("Terminated", 143, 1);
            loops(&task(vec![order.clone(), end.clone(), order, end]))
        };
        assert!(!twice(order("User requested task to restart")));
        assert!(!twice(event("Killing", 0, 1)));
        assert!(twice(order("healthcheck: check \"http\" unhealthy")));
    }

    #[test]
    fn an_end_after_the_delay_of_a_routed_app_was_ordered_before_it() {
        let ends = |kinds: &[&str]| {
            let events =
                kinds.iter().map(|k| event(k, if *k == "Terminated" { 143 } else { 0 }, 1)).collect();
            bad_ends(&task(events)).count()
        };
        for delay in ["Waiting for shutdown delay", "Skipping shutdown delay"] {
            assert_eq!(ends(&["Started", "Killing", delay, "Terminated", "Killed"]), 0, "{delay}");
        }
        assert_eq!(ends(&["Started", "Terminated"]), 1);
    }

    #[test]
    fn an_end_whose_order_nomad_has_forgotten_is_not_called_its_own() {
        let restart =
            || ["Terminated", "Restarting", "Started", "Restart Signaled"].map(|k| event(k, 143, 1));
        let mut events: Vec<TaskEvent> = (0..3).flat_map(|_| restart()).collect();
        events.truncate(KEPT);
        assert_eq!(own_ends(&task(events.clone())).count(), 0);
        events.pop();
        assert_eq!(own_ends(&task(events)).count(), 1, "a list that is not full has its beginning");
    }
}
