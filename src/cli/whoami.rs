//! `terreau whoami`: who is logged in, where, and for how long.

use super::args::JsonArgs;
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Ran, harmless};
use super::shapes::Me;
use super::waiting;
use crate::model::wire::WhoAmI;

/// Runs it.
pub fn run(args: &JsonArgs, cx: &Context) -> Ran {
    let client = cx.client()?;
    waiting(async {
        let me: WhoAmI = client.get("/v1/whoami").await?;
        let left = me
            .expires_at
            .parse::<jiff::Timestamp>()
            .map_or(0, |end| end.as_second().saturating_sub(jiff::Timestamp::now().as_second()).max(0));
        if args.json {
            cx.printer.json(&Me {
                user: me.user,
                groups: me.groups,
                admin: me.admin,
                server: client.server().to_string(),
                version: me.server,
                cluster: me.cluster,
                expires_at: me.expires_at,
                seconds_left: left,
                scope: me.scope,
            })?;
            return Ok(ExitStatus::Done);
        }
        let role = if me.admin { " (admin)" } else { "" };
        let user = harmless(&me.user);
        cx.printer.data(format!("{user}{role} at {}, {} left", client.server(), words(left)))?;
        if let Some(scope) = &me.scope {
            cx.printer.data(format!("by a token for {}", harmless(scope)))?;
        }
        let groups = if me.groups.is_empty() { "none".to_owned() } else { me.groups.join(", ") };
        cx.printer.data(format!("groups: {}", harmless(&groups)))?;
        cx.printer.data(format!("cluster: {} ({})", harmless(&me.cluster), harmless(&me.server)))?;
        Ok(ExitStatus::Done)
    })
}

/// A span of time in the two largest units that matter.
pub fn words(seconds: i64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds % 86_400 / 3_600, seconds % 3_600 / 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{} s", seconds.max(0)),
        (0, 0, m) => format!("{m} min"),
        (0, h, 0) => format!("{h} h"),
        (0, h, m) => format!("{h} h {m} min"),
        (d, 0, _) => format!("{d} d"),
        (d, h, _) => format!("{d} d {h} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_said_in_their_largest_units() {
        let said: Vec<String> = [0, 59, 60, 3_600, 43_140, 86_400, 90_061].into_iter().map(words).collect();
        assert_eq!(said, ["0 s", "59 s", "1 min", "1 h", "11 h 59 min", "1 d", "1 d 1 h"]);
    }
}
