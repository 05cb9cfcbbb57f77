//! `terreau audit`: who changed what, and whether the log of it is whole.

use super::args::{AuditCommand, AuditListArgs, AuditVerifyArgs};
use super::client::{Client, escaped};
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran, harmless};
use super::printer::{DIM, when};
use super::waiting;
use crate::model::wire::{AuditLine, AuditPage, AuditVerified};

/// How many entries are asked for at once.
const AT_ONCE: u64 = 1_000;

/// Runs it.
pub fn run(command: &AuditCommand, cx: &Context) -> Ran {
    let client = cx.client()?;
    match command {
        AuditCommand::List(args) => waiting(list(args, &client, cx)),
        AuditCommand::Verify(args) => waiting(verify(args, &client, cx)),
    }
}

async fn list(args: &AuditListArgs, client: &Client, cx: &Context) -> Ran {
    let app = args.app.app.as_ref().map(ToString::to_string);
    let given = [
        ("app", app),
        ("login", args.login.as_ref().map(ToString::to_string)),
        ("since", args.since.clone()),
    ];
    let given = given.into_iter().filter_map(|(name, value)| Some(format!("&{name}={}", escaped(&value?))));
    let query: String = given.collect();
    let mut left = args.limit;
    let mut from: Option<String> = None;
    let (mut all, mut torn) = (Vec::new(), None);
    loop {
        let at = from.as_deref().map(|f| format!("&from={}", escaped(f))).unwrap_or_default();
        let page: AuditPage =
            client.get(&format!("/v1/audit?limit={}{query}{at}", left.min(AT_ONCE))).await?;
        let some = page.entries.into_iter().take(usize::try_from(left).unwrap_or(usize::MAX));
        let before = all.len();
        all.extend(some);
        left -= (all.len() - before) as u64;
        torn = torn.or(page.torn);
        from = page.next;
        if from.is_none() || left == 0 {
            break;
        }
    }
    if args.json {
        cx.printer.json(&AuditPage { entries: all, next: None, torn: torn.clone() })?;
    } else if all.is_empty() {
        cx.printer.say(nothing(args));
    } else {
        all.iter().try_for_each(|l| cx.printer.data(line(l)))?;
        if all.iter().any(|l| !l.chained) {
            cx.printer.hint("what `(waits)` is not in the chain in Garage yet: that takes some ten minutes");
        }
    }
    match torn {
        Some(why) => Err(torn_here(&why)),
        None => Ok(ExitStatus::Done),
    }
}

/// What is said of an empty list.
fn nothing(args: &AuditListArgs) -> String {
    match (&args.app.app, &args.login, &args.since) {
        (Some(app), None, None) => {
            format!("nothing is known of an app {app}: the log has no entry of that name")
        }
        (None, Some(login), None) => {
            format!("nothing is known of {login}: the log has no entry by or about somebody of that name")
        }
        _ => "nothing of that kind was done".to_owned(),
    }
}

fn line(l: &AuditLine) -> String {
    let about = l.app.as_ref().or(l.person.as_ref()).map(|a| format!(" {a}")).unwrap_or_default();
    let waits = if l.chained { "" } else { "  (waits)" };
    let who = if l.address.is_empty() { l.login.clone() } else { format!("{} from {}", l.login, l.address) };
    let what = harmless(&format!("{}{about}  by {who}  {}", l.verb, l.summary)).replace('\n', " ");
    format!("{DIM}{}{DIM:#}  {what}{DIM}{waits}{DIM:#}", when(&l.at))
}

async fn verify(args: &AuditVerifyArgs, client: &Client, cx: &Context) -> Ran {
    let mut whole: AuditVerified = client.get("/v1/audit/verify").await?;
    while let Some(from) = whole.next.take() {
        let page: AuditVerified = client.get(&format!("/v1/audit/verify?from={}", escaped(&from))).await?;
        whole.segments.extend(page.segments);
        whole.breaks.extend(page.breaks);
        whole.torn = page.torn;
        whole.next = page.next;
    }
    if args.json {
        cx.printer.json(&whole)?;
    }
    if let Some(why) = &whole.torn {
        return Err(torn_here(why));
    }
    if !whole.breaks.is_empty() {
        let what = whole.breaks.iter().map(|b| harmless(b)).collect::<Vec<_>>().join("\n  ");
        return Err(Failure::failed(format!("the audit log has a break: {what}")).hint(
            "what stood in those segments is not in the log; they are still in Terreau's bucket, below chain/audit/. After a restore of Consul \
             that is what is to be expected",
        ));
    }
    if let Some(wanted) = &args.contains {
        let Some(found) = whole.segments.iter().find(|s| s.sha256 == wanted.as_str()) else {
            return Err(Failure::failed(format!("no segment of the chain has the hash {wanted}")).hint(
                "the chain was written anew since that was noted, or the hash is not of this cluster",
            ));
        };
        if !args.json {
            cx.printer.data(format!(
                "segment {} is as it was noted, written at {}",
                found.seq,
                when(&found.at)
            ))?;
        }
    }
    if args.json {
        return Ok(ExitStatus::Done);
    }
    let waiting = match whole.waiting {
        0 => String::new(),
        n => format!("; {n} wait for their export"),
    };
    match &whole.head {
        None => cx.printer.data(format!("nothing stands in the chain yet{waiting}"))?,
        Some(head) => {
            let segments = whole.segments.len();
            cx.printer.data(format!("{} entries in {segments} segments are whole{waiting}", head.entries))?;
            cx.printer.data(format!("head: {}", harmless(&head.sha256)))?;
            cx.printer.hint("note the head elsewhere: `terreau audit verify --contains` finds it again as long as nothing before it was changed");
        }
    }
    Ok(ExitStatus::Done)
}

fn torn_here(why: &str) -> Failure {
    Failure::failed(format!("the audit log is torn: {}", harmless(why))).hint(
        "what is newer is whole; of what is older nobody can say. Look who may write to Terreau's bucket and to \
         terreau/v1/chain/, and take the missing object from a backup of Garage",
    )
}
