//! `terreau loops`: the agents that live, and how what they do in the background fares.

use super::args::LoopsArgs;
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Ran, harmless};
use super::printer::{age, table};
use super::waiting;
use crate::model::wire::{AgentView, Agents, LoopState, LoopView};

/// Runs it.
pub fn run(args: &LoopsArgs, cx: &Context) -> Ran {
    let client = cx.client()?;
    waiting(async {
        let found: Agents = client.get("/v1/loops").await?;
        if args.json {
            cx.printer.json(&found)?;
            return Ok(ExitStatus::Done);
        }
        let now = jiff::Timestamp::now();
        for agent in &found.agents {
            cx.printer.data(headline(agent, now))?;
            if agent.loops.is_empty() {
                cx.printer.say("  it has told nothing yet, or is of an older version");
                continue;
            }
            let rows: Vec<Vec<String>> = agent.loops.iter().map(|l| row(l, now)).collect();
            cx.printer.data(table(&["  LOOP", "STATE", "LAST", "EVERY", "DOES"], &rows))?;
            for l in &agent.loops {
                if let Some(why) = &l.error {
                    cx.printer.warn(format!(
                        "{} failed {} in a row: {}",
                        harmless(&l.name),
                        times(l.in_a_row),
                        harmless(why)
                    ));
                }
            }
        }
        Ok(ExitStatus::Done)
    })
}

fn headline(agent: &AgentView, now: jiff::Timestamp) -> String {
    let leads = if agent.leads { ", leads" } else { "" };
    let told = agent.at.as_deref().map(|at| format!(", as of {} ago", age(at, now))).unwrap_or_default();
    harmless(&format!(
        "agent {} at {}, {}, up {}{leads}{told}",
        agent.id,
        agent.address,
        agent.version,
        age(&agent.since, now)
    ))
}

fn row(l: &LoopView, now: jiff::Timestamp) -> Vec<String> {
    let state = match l.state {
        LoopState::Works => "ok",
        LoopState::Begins => "begins",
        LoopState::Rests => "rests",
        LoopState::Fails => "fails",
        LoopState::Late => "late",
    };
    let last = l.last.as_deref().map_or_else(|| "-".to_owned(), |at| format!("{} ago", age(at, now)));
    let every = jiff::SignedDuration::from_secs(i64::try_from(l.every_seconds).unwrap_or(i64::MAX));
    vec![format!("  {}", harmless(&l.name)), state.to_owned(), last, format!("{every:#}"), harmless(&l.what)]
}

fn times(n: u64) -> String {
    if n == 1 { "once".to_owned() } else { format!("{n} times") }
}
