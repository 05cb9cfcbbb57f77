//! Start, stop, scale, restart: plans of one step. Needs nothing of Garage, so that it works while that is away; but for the
//! start of an app whose job is gone, which is an operation like a deploy.

use std::collections::BTreeMap;

use super::config::notes::staged;
use super::held::none_held;
use super::prepare::unfinished;
use super::source::Source;
use super::{Accepted, Deployer, Error, no_part, no_such, to_the_second};
use crate::engines::nomad::{Allocation, JobView};
use crate::model::head::{AppState, Intent, Kind, Wanted};
use crate::model::wire::ScaleRequest;
use crate::model::{Head, Placement, ProcessName, Uid};
use crate::operation::intended::{counts_of, set_counts};
use crate::operation::run::fresh_uid;
use crate::operation::{Begun, IntentVerb, Intention, Lock, restart};
use crate::store::Versioned;
use crate::store::records::{By, Verb};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Brings a stopped app back.
    Start,
    /// Ends every instance; it stays so until somebody starts or deploys it.
    Stop,
    /// Sets how many instances processes have.
    Scale(BTreeMap<String, u32>),
    /// Restarts instances, one after the other.
    Restart {
        /// Only this process.
        process: Option<String>,
        /// Only the instance whose allocation begins so.
        alloc: Option<String>,
    },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Its id; `None`: there was nothing to do, or it is an operation.
    pub id: Option<Uid>,
    /// The operation that registers a job anew which was gone.
    pub operation: Option<Uid>,
    /// One line for people.
    pub summary: String,
    /// How many instances each process shall have now.
    pub counts: BTreeMap<ProcessName, u32>,
}

/// What a change comes to, once the app was looked at.
enum Decided {
    Nothing(String),
    Intend(Intent),
    /// The job is gone: the release that ran is made once again, which registers it anew.
    Anew,
}

impl Change {
    fn verb(&self) -> IntentVerb {
        match self {
            Self::Start => IntentVerb::Start,
            Self::Stop => IntentVerb::Stop,
            Self::Scale(_) => IntentVerb::Scale,
            Self::Restart { .. } => IntentVerb::Restart,
        }
    }
}

impl Deployer {
    /// Starts, stops, scales or restarts an app. Answers when Nomad has taken the calls.
    pub async fn change(&self, by: &By, app: &Placement, what: &Change) -> Result<Changed, Error> {
        let verb = what.verb();
        let id = fresh_uid(self.runner.now());
        let lock = self.runner.lock_for(app, id.clone(), by, verb.as_str()).await?;
        let (head, decided) = match self.decide(by, app, what, &id).await {
            Ok(decided) => decided,
            Err(e) => {
                self.runner.unlock(lock).await;
                return Err(e);
            }
        };
        match decided {
            Decided::Nothing(summary) => {
                self.runner.unlock(lock).await;
                let counts = shall_have(&head.value);
                Ok(Changed { id: None, operation: None, summary, counts })
            }
            Decided::Intend(intent) => self.intend(lock, head, intent, by).await,
            Decided::Anew => self.anew(lock, head.value, by).await,
        }
    }

    /// Registers a job anew that is gone: by a release with the content and the configuration of the one that ran. Must
    /// change nothing else: who starts it has not seen what is staged.
    async fn anew(&self, lock: Lock, head: Head, by: &By) -> Result<Changed, Error> {
        let app = &head.app;
        let opening = async {
            let Some(release) = self.current(&head).await? else { return Err(no_such(app)) };
            let source = Source::as_it_ran(app, &release)?;
            let staged = staged(&head, Some(&release), &source.project, |_| true);
            let opening = self.prepare_opening(by, app, &source, Verb::Deploy, lock.operation()).await?;
            Ok((release.number, staged, opening))
        };
        let (number, staged, opening) = match Box::pin(opening).await {
            Ok(found) => found,
            Err(e) => {
                self.runner.unlock(lock).await;
                return Err(e);
            }
        };
        let mut summary = format!("nomad has no job of {app} any more: release {number} is made once again");
        if let Some(names) = staged {
            summary = format!("{summary}; what is staged stays so ({names})");
        }
        let counts = counts_of(&head);
        Ok(match self.opened(lock, Ok(opening)).await? {
            Accepted::Operation(id) => Changed { id: None, operation: Some(id), summary, counts },
            Accepted::Unchanged(_) => {
                Changed { id: None, operation: None, summary: format!("{app} is not stopped"), counts }
            }
        })
    }

    async fn intend(
        &self,
        lock: Lock,
        head: Versioned<Head>,
        intent: Intent,
        by: &By,
    ) -> Result<Changed, Error> {
        let id = intent.id.clone();
        let after = crate::operation::intended::fulfil(
            &head.value,
            &intent,
            &crate::operation::intended::Fulfilled::Done(None),
            "",
        );
        let mut summary = crate::operation::intended::words_before(&head.value, &intent);
        match self.runner.intend(lock, Intention { head, intent, by: by.clone() }).await? {
            Begun::Accepted => {}
            Begun::Waiting => {
                summary = format!("{summary}: nomad has not answered yet; it goes on by itself");
            }
        }
        Ok(Changed { id: Some(id), operation: None, summary, counts: shall_have(&after) })
    }

    /// Under the lock: what is to be done, from the head and what Nomad holds.
    async fn decide(
        &self,
        by: &By,
        app: &Placement,
        what: &Change,
        id: &Uid,
    ) -> Result<(Versioned<Head>, Decided), Error> {
        let mut head = self.head(app).await?;
        unfinished(&head.value)?;
        if let Some(operation) = &head.value.operation {
            let why = format!("operation {operation} is being taken over; try again in a moment");
            return Err(Error::Moved(why, None));
        }
        runs_processes(&head.value, what.verb())?;
        if what.verb() != IntentVerb::Restart {
            // Nomad takes no counts while a rollout waits.
            none_held(&head.value)?;
        }
        let nomad = &self.runner.hands().nomad;
        let Some(stored) = nomad.job(app.namespace(), &app.flat()).await? else {
            let decided = without_job(&head.value, what)?;
            return Ok((head, decided));
        };
        let view = JobView::of(&stored)?;
        let live: BTreeMap<ProcessName, u32> = view
            .counts()
            .into_iter()
            .filter_map(|(g, c)| Some((ProcessName::new(g).ok()?, u32::try_from(c).ok()?)))
            .collect();
        if head.value.processes.is_empty() {
            // An older agent deployed it: what Nomad holds is what the descriptor said.
            head.value.processes.clone_from(&live);
        }
        let intent = |counts: BTreeMap<ProcessName, u32>, restarts| Intent {
            id: id.clone(),
            verb: what.verb().as_str().to_owned(),
            counts,
            restarts,
            actor: by.login.clone(),
            address: by.address.clone(),
            at: self.runner.now().to_string(),
        };
        let is_stopped = head.value.wanted == Wanted::Stopped;
        let nothing_lives = view.is_stopped() || live.values().all(|c| *c == 0);
        let is_live = |counts: &BTreeMap<ProcessName, u32>| {
            !view.is_stopped() && counts.iter().all(|(n, c)| live.get(n) == Some(c))
        };
        let decided = match what {
            Change::Start => {
                let counts = counts_of(&head.value);
                if !is_stopped && is_live(&counts) {
                    Decided::Nothing(format!("{app} is not stopped"))
                } else {
                    Decided::Intend(intent(counts, BTreeMap::new()))
                }
            }
            Change::Stop if is_stopped && nothing_lives => Decided::Nothing(stopped_already(&head.value)),
            Change::Stop => {
                let none = live.keys().map(|name| (name.clone(), 0)).collect();
                Decided::Intend(intent(none, BTreeMap::new()))
            }
            Change::Scale(asked) => {
                let counts = scaled(app, &head.value, asked)?;
                let same = set_counts(&head.value, &counts) == head.value.counts;
                if same && (is_stopped || is_live(&counts)) {
                    Decided::Nothing(format!("{app} is scaled so already"))
                } else {
                    Decided::Intend(intent(counts, BTreeMap::new()))
                }
            }
            Change::Restart { .. } if is_stopped => return Err(nothing_to_restart(app)),
            Change::Restart { process, alloc } => {
                let all = nomad.allocations(app.namespace(), &app.flat()).await?;
                let chosen = chosen(app, &head.value, &all, process.as_deref(), alloc.as_deref())?;
                Decided::Intend(intent(BTreeMap::new(), chosen))
            }
        };
        Ok((head, decided))
    }
}

/// What is to be done where Nomad has no job of the app: it was purged by hand, or taken by Nomad's garbage collection.
fn without_job(head: &Head, what: &Change) -> Result<Decided, Error> {
    let app = &head.app;
    let is_stopped = head.wanted == Wanted::Stopped;
    match what {
        Change::Start => Ok(Decided::Anew),
        Change::Stop if is_stopped => Ok(Decided::Nothing(stopped_already(head))),
        Change::Restart { .. } if is_stopped => Err(nothing_to_restart(app)),
        Change::Stop | Change::Scale(_) | Change::Restart { .. } => Err(Error::Refused {
            why: format!(
                "nomad has no job of {app} any more, so there is nothing to {}",
                what.verb().as_str()
            ),
            hint: format!("`terreau start {app}` brings it back"),
        }),
    }
}

fn stopped_already(head: &Head) -> String {
    let app = &head.app;
    match &head.stopped {
        Some(s) => format!("{app} was stopped by {} at {}", s.by, to_the_second(&s.at)),
        None => format!("{app} is stopped already"),
    }
}

fn nothing_to_restart(app: &Placement) -> Error {
    Error::Refused {
        why: format!("{app} is stopped, so there is nothing to restart"),
        hint: format!("`terreau start {app}` starts it"),
    }
}

fn shall_have(head: &Head) -> BTreeMap<ProcessName, u32> {
    let mut counts = counts_of(head);
    if head.wanted == Wanted::Stopped {
        counts = counts.into_keys().map(|name| (name, 0)).collect();
    }
    counts
}

/// Only what has processes can be started and stopped.
fn runs_processes(head: &Head, verb: IntentVerb) -> Result<(), Error> {
    let (app, word) = (&head.app, verb.as_str());
    if head.state == AppState::Failed {
        return Err(Error::Invalid(format!(
            "no release of {app} has run yet, so there is nothing to {word}: mend it, then terreau deploy"
        )));
    }
    if head.release.is_none() {
        return Err(no_such(app));
    }
    if head.owned.iter().any(|o| o.kind == Kind::Job) {
        return Ok(());
    }
    let instead = match word {
        "stop" => "; `terreau maintenance on` puts a page in its place, `terreau delete` takes it offline",
        _ => "",
    };
    Err(Error::Invalid(format!(
        "{app} is a static site: its files are served as they are, and it has no process to {word}{instead}"
    )))
}

/// The counts that were asked for, of processes that there are.
fn scaled(
    app: &Placement,
    head: &Head,
    asked: &BTreeMap<String, u32>,
) -> Result<BTreeMap<ProcessName, u32>, Error> {
    if asked.is_empty() {
        return Err(Error::Invalid("name a process and its count, as web=2".to_owned()));
    }
    let mut counts = BTreeMap::new();
    for (name, count) in asked {
        let name = known(app, head, name)?;
        if *count > ScaleRequest::MOST {
            let most = ScaleRequest::MOST;
            return Err(Error::Invalid(format!("{name}={count}: a process has at most {most} instances")));
        }
        counts.insert(name, *count);
    }
    Ok(counts)
}

/// A process by its name; where there is none of it, the nearest one is suggested.
fn known(app: &Placement, head: &Head, name: &str) -> Result<ProcessName, Error> {
    if let Some(found) = head.processes.keys().find(|p| p.as_str() == name) {
        return Ok(found.clone());
    }
    let all: Vec<&str> = head.processes.keys().map(ProcessName::as_str).collect();
    Err(no_part(app, "process", name, &all))
}

/// The instances that a restart means, and when the task of each began.
fn chosen(
    app: &Placement,
    head: &Head,
    all: &[Allocation],
    process: Option<&str>,
    alloc: Option<&str>,
) -> Result<BTreeMap<String, String>, Error> {
    let process = process.map(|p| known(app, head, p)).transpose()?;
    let live: Vec<&Allocation> = all.iter().filter(|a| !a.is_terminal()).collect();
    if let Some(prefix) = alloc {
        let found = live.iter().filter(|a| a.id.starts_with(prefix)).count();
        let short: String = prefix.chars().take(40).collect();
        match found {
            0 => {
                return Err(Error::NotFound(format!(
                    "{app} has no living instance {short}; see terreau ps {app}"
                )));
            }
            1 => {}
            n => {
                return Err(Error::Invalid(format!(
                    "{n} instances of {app} begin with {short}: give more of its id"
                )));
            }
        }
    }
    let meant = live
        .iter()
        .filter(|a| process.as_ref().is_none_or(|p| a.task_group == p.as_str()))
        .filter(|a| alloc.is_none_or(|prefix| a.id.starts_with(prefix)));
    let chosen: BTreeMap<String, String> =
        meant.filter_map(|a| Some((a.id.clone(), restart::began(a)?.to_owned()))).collect();
    if chosen.is_empty() {
        return Err(Error::Refused {
            why: format!("{app} has no instance that runs, so there is nothing to restart"),
            hint: format!("`terreau status {app}` says why"),
        });
    }
    Ok(chosen)
}
