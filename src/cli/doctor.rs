//! `terreau doctor`: what is wrong with the cluster, and the mending of what is nobody's.

use reqwest::Method;

use super::args::DoctorArgs;
use super::client::Client;
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran, harmless};
use super::waiting;
use crate::model::wire::{Checkup, Finding, Isolation, MendRequest, Mended};

/// So many are asked for at once.
const AT_ONCE: usize = 50;

/// Runs it.
pub fn run(args: &DoctorArgs, cx: &Context) -> Ran {
    let client = cx.client()?;
    let found: Checkup = waiting(client.get("/v1/doctor"))?;
    if args.json {
        cx.printer.json(&found)?;
    } else {
        for finding in &found.findings {
            cx.printer.data(line(finding))?;
        }
        if found.findings.is_empty() && found.unseen.is_empty() {
            cx.printer.say("nothing is wrong");
        }
        if let (Some(isolation), false) = (&found.isolation, args.fix) {
            cx.printer.data(apart(isolation))?;
        }
    }
    for what in &found.unseen {
        cx.printer.warn(format!("not looked at: {}", harmless(what)));
    }
    if args.fix {
        return fix(args, found.findings, &client, cx);
    }
    match (found.findings.is_empty(), found.unseen.is_empty()) {
        (false, _) => Ok(ExitStatus::Changes),
        (true, true) => Ok(ExitStatus::Done),
        (true, false) => Err(Failure::new(ExitStatus::EngineAway, "not everything could be looked at")),
    }
}

fn line(finding: &Finding) -> String {
    format!("{}\n  {}", harmless(&finding.text), harmless(&finding.remedy))
}

fn apart(isolation: &Isolation) -> String {
    let switch = |on: bool| if on { "on" } else { "off" };
    let mut lines = vec![format!(
        "Isolation (Nomad's ACLs {}, Consul's {})",
        switch(isolation.nomad_acl),
        switch(isolation.consul_acl)
    )];
    lines.extend(isolation.holds.iter().map(|l| format!("  holds          {}", harmless(l))));
    lines.extend(isolation.does_not_hold.iter().map(|l| format!("  does not hold  {}", harmless(l))));
    lines.join("\n")
}

fn fix(args: &DoctorArgs, findings: Vec<Finding>, client: &Client, cx: &Context) -> Ran {
    let count = findings.len();
    let targets: Vec<String> = findings.into_iter().filter(|f| f.fixable).map(|f| f.target).collect();
    if targets.is_empty() {
        cx.printer.say("there is nothing that --fix could mend");
        return Ok(if count == 0 { ExitStatus::Done } else { ExitStatus::Changes });
    }
    if !args.yes {
        let question = format!(
            "Mend {} of these? What is nobody's is stopped now, and deleted an hour from now. [y/N] ",
            targets.len()
        );
        cx.printer.confirmed(&question, |answer| matches!(answer, "y" | "Y" | "yes"))?;
    }
    let mut is_whole = true;
    for some in targets.chunks(AT_ONCE) {
        let request = MendRequest { targets: some.to_vec() };
        let done: Mended = waiting(client.call(Method::POST, "/v1/doctor", &request))?;
        done.done.iter().for_each(|what| cx.printer.say(harmless(what)));
        done.left.iter().for_each(|what| cx.printer.warn(harmless(what)));
        is_whole &= done.left.is_empty();
    }
    if is_whole { Ok(ExitStatus::Done) } else { Ok(ExitStatus::Failed) }
}
