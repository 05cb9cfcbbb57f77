//! Whether an app crashes again and again, and whether it has come back: by the one judgement that status shows, looked
//! at over a while. Pure: no call, no clock.
//!
//! A loop is over once the app has been well for twice as long as it took from one bad end to the next, and for
//! [`SHORTEST`] at least: what crashes each minute is told once, and not each minute.

use std::time::Duration;

use super::message::Looping;
use crate::deploy::instances::{self, Seen};
use crate::engines::nomad::{Allocation, TaskEvent};
use crate::model::Head;
use crate::model::head::{AppState, Wanted};
use crate::resources::crash::{NEAR, bad_ends, is_loop, main_task};
use crate::store::hooks::Crash;

/// The shortest time without a bad end that is a recovery.
const SHORTEST: Duration = Duration::from_secs(20);
/// So soon after a bad end nobody knows whether what runs again goes on running.
const SOON: Duration = Duration::from_secs(10);

/// What is to be told, or kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Nothing,
    /// It crashes again and again; quiet for so long is a recovery.
    Loops(Looping, Duration),
    /// It does, as was told; a recovery takes longer than was thought.
    Slower(Duration),
    /// It runs again.
    Recovered,
    /// Nobody wants it to run any more.
    Forget,
}

/// What the ends of one process say.
struct Ends<'a> {
    process: &'a str,
    is_well: bool,
    /// Since the last bad one.
    since: Option<Duration>,
    loops: bool,
    quiet: Duration,
    last: Option<&'a TaskEvent>,
}

fn ends<'a>(process: &'a str, is_well: bool, all: &[&'a Allocation], now: i64) -> Ends<'a> {
    let mine = || all.iter().filter(|a| a.task_group == process);
    // What an older release did is over.
    let newest = mine().filter_map(|a| a.version()).max();
    let mut bad: Vec<&TaskEvent> = mine()
        .filter(|a| a.version() == newest)
        .filter_map(|a| main_task(a))
        .flat_map(bad_ends)
        .filter(|e| since(now, e.time) <= NEAR)
        .collect();
    bad.sort_by_key(|e| e.time);
    let times: Vec<i64> = bad.iter().map(|e| e.time).collect();
    let longest = times.windows(2).map(|w| Duration::from_nanos(w[1].abs_diff(w[0]))).max();
    Ends {
        process,
        is_well,
        since: times.last().map(|t| since(now, *t)),
        loops: is_loop(&times),
        quiet: (longest.unwrap_or_default() * 2).clamp(SHORTEST, NEAR),
        last: bad.last().copied(),
    }
}

/// The clocks of nodes and agents differ: what is to come is now.
fn since(now: i64, then: i64) -> Duration {
    Duration::from_nanos(u64::try_from(now.saturating_sub(then)).unwrap_or(0))
}

/// Judges. `now`: nanoseconds since 1970. `told`: what was told of it before.
pub(super) fn judge(head: &Head, seen: &Seen<'_>, now: i64, told: Option<&Crash>) -> Verdict {
    let forget = || if told.is_some() { Verdict::Forget } else { Verdict::Nothing };
    if head.wanted == Wanted::Stopped || head.state != AppState::Live {
        return forget();
    }
    if head.operation.is_some() {
        // How it ends is told by itself.
        return Verdict::Nothing;
    }
    let processes = instances::processes(head, seen);
    let wanted: Vec<Ends<'_>> = processes
        .iter()
        .filter(|p| p.wanted > 0)
        .map(|p| ends(&p.name, p.all_healthy() >= p.wanted, seen.allocations, now))
        .collect();
    if wanted.is_empty() {
        return forget();
    }
    let Some(told) = told else {
        // It is told when it ends, not when something else keeps it from being well.
        let just = |e: &&Ends<'_>| if e.is_well { SOON } else { SHORTEST };
        let is_bad = |e: &&Ends<'_>| e.loops && e.since.is_some_and(|s| s < just(e));
        let Some(worst) = wanted.iter().find(is_bad) else { return Verdict::Nothing };
        let looping = Looping {
            process: worst.process.to_owned(),
            exit_code: worst.last.map_or(0, |e| e.exit_code),
            oom_killed: worst.last.is_some_and(TaskEvent::is_oom),
        };
        return Verdict::Loops(looping, worst.quiet);
    };
    let slowest = wanted.iter().filter(|e| e.loops).map(|e| e.quiet).max().unwrap_or_default();
    if slowest.as_secs() > told.quiet {
        return Verdict::Slower(slowest);
    }
    let quiet = Duration::from_secs(told.quiet);
    if wanted.iter().all(|e| e.is_well && e.since.is_none_or(|s| s >= quiet)) {
        return Verdict::Recovered;
    }
    Verdict::Nothing
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::engines::nomad::{AllocDeploymentStatus, TaskState};
    use crate::model::{Placement, ProcessName, ProjectName, Uid};
    use crate::resources::health::Health;

    const SECOND: i64 = 1_000_000_000;

    fn head() -> Head {
        let uid = Uid::new("01hzzzzzzzzzzzzzzzzzzzzzzz").unwrap();
        let app = Placement::production(ProjectName::new("carnet").unwrap());
        let mut head = Head::new(app, uid, String::new(), vec![]);
        head.state = AppState::Live;
        head.processes = BTreeMap::from([(ProcessName::new("web").unwrap(), 1)]);
        head
    }

    fn alloc(version: u64, client: &str, ends: &[i64]) -> Allocation {
        let event = |at: &i64| TaskEvent {
            kind: "Terminated".into(),
            exit_code: 3,
            time: at * SECOND,
            ..TaskEvent::default()
        };
        let task = TaskState {
            state: client.into(),
            events: ends.iter().map(event).collect(),
            ..TaskState::default()
        };
        Allocation {
            task_group: "web".into(),
            client_status: client.into(),
            desired_status: "run".into(),
            job_version: Some(version),
            deployment_status: Some(AllocDeploymentStatus { healthy: Some(true), canary: false }),
            task_states: BTreeMap::from([("web".into(), task)]),
            ..Allocation::default()
        }
    }

    fn told(quiet: u64) -> Crash {
        let head = head();
        Crash { v: 1, app: head.app, uid: head.uid, since: String::new(), process: "web".into(), quiet }
    }

    fn said(head: &Head, allocations: &[Allocation], now: i64, told: Option<&Crash>) -> Verdict {
        let all: Vec<&Allocation> = allocations.iter().collect();
        let health = Health::of(&[]);
        judge(head, &Seen { allocations: &all, health: &health }, now * SECOND, told)
    }

    #[test]
    fn one_bad_end_is_no_loop_and_two_are_told_with_how_it_ended() {
        assert_eq!(said(&head(), &[alloc(1, "pending", &[100])], 101, None), Verdict::Nothing);
        let twice = [alloc(1, "pending", &[100, 102])];
        let it = Looping { process: "web".into(), exit_code: 3, oom_killed: false };
        assert_eq!(said(&head(), &twice, 103, None), Verdict::Loops(it, SHORTEST));
        // A process without checks looks well whenever it runs.
        assert!(matches!(said(&head(), &[alloc(1, "running", &[100, 102])], 103, None), Verdict::Loops(..)));
        assert_eq!(said(&head(), &[alloc(1, "running", &[100, 102])], 120, None), Verdict::Nothing);
        let restarted = said(&head(), &[alloc(1, "pending", &[100, 102])], 130, None);
        assert_eq!(restarted, Verdict::Nothing, "what it is not well for now is something else");
        let mut deploying = head();
        deploying.operation = Some(deploying.uid.clone());
        assert_eq!(said(&deploying, &twice, 103, None), Verdict::Nothing);
    }

    #[test]
    fn instances_that_nomad_gave_up_and_placed_again_are_one_loop() {
        let two = [alloc(1, "failed", &[100]), alloc(1, "pending", &[160])];
        assert!(matches!(said(&head(), &two, 161, None), Verdict::Loops(_, q) if q.as_secs() == 120));
        let newer = [alloc(1, "failed", &[100]), alloc(2, "pending", &[160])];
        assert_eq!(said(&head(), &newer, 161, None), Verdict::Nothing, "another release is another matter");
    }

    #[test]
    fn it_has_come_back_once_it_is_well_for_longer_than_it_took_to_end_again() {
        let it = [alloc(1, "running", &[100, 160])];
        assert_eq!(said(&head(), &it, 161, Some(&told(20))), Verdict::Slower(Duration::from_mins(2)));
        assert_eq!(said(&head(), &it, 270, Some(&told(120))), Verdict::Nothing);
        assert_eq!(said(&head(), &it, 280, Some(&told(120))), Verdict::Recovered);
        assert_eq!(
            said(&head(), &[alloc(1, "pending", &[100, 160])], 999, Some(&told(120))),
            Verdict::Nothing
        );
        let mut stopped = head();
        stopped.wanted = Wanted::Stopped;
        assert_eq!(said(&stopped, &it, 270, Some(&told(120))), Verdict::Forget);
    }
}
