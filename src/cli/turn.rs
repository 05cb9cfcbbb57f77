//! Waiting for one's turn: one change of an app at a time is carried out; who comes second waits until it has ended, and
//! then asks again.
//!
//! Every command that changes an app asks through [`take`]:
//!
//! ```ignore
//! // In the Args: `#[command(flatten)] pub turn: TurnArgs`
//! let it: Accepted = turn::take(cx, &client, args.turn, async || {
//!     client.call(Method::POST, &app_path(&app, "/scale"), &request).await
//! })
//! .await?;
//! ```
//! What is asked must be harmless to ask again: nothing has happened where the answer is that somebody else is at it.
//! Must never ask in a hot loop: it follows the other operation by its events, and pauses before each new try.

use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

use super::args::TurnArgs;
use super::client::{Client, escaped};
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, harmless};
use super::{follow, operations};
use crate::model::wire::OperationView;

/// How long it is waited in all.
const LONGEST: Duration = Duration::from_hours(1);
/// How often it is looked what the other operation waits for, until it does.
const LOOK: Duration = Duration::from_secs(2);
/// The pause before the first new try, and the longest one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));

/// What the operation that is waited for waits for itself, as soon as there is something to be said: it may be its app's
/// healthy deadline, for nothing.
async fn waits_for(client: &Client, id: &str) -> Vec<String> {
    loop {
        let Ok(view) = client.get::<OperationView>(&format!("/v1/operations/{}", escaped(id))).await else {
            return Vec::new();
        };
        if view.waits.is_some() || view.end.is_some() {
            return operations::waits(view.waits.as_ref(), id);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Asks for a change; where somebody else's is under way it names them, waits until that has ended, and asks again.
/// Ctrl-C ends the waiting: nothing was changed then.
pub async fn take<T>(
    cx: &Context,
    client: &Client,
    turn: TurnArgs,
    mut ask: impl AsyncFnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let begun = Instant::now();
    let mut said = String::new();
    let mut pause = PAUSES.0;
    // From the first waiting on, so that a Ctrl-C between two waits is not lost.
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let failure = match ask().await {
            Err(failure) if failure.busy.is_some() => failure,
            done => return done,
        };
        let holder = harmless(failure.busy.as_deref().unwrap_or_default());
        if turn.no_wait {
            return Err(failure);
        }
        if begun.elapsed() > LONGEST {
            let waited = format!("waited for it for {} minutes", LONGEST.as_secs() / 60);
            return Err(failure.because(waited));
        }
        let is_new = said != holder;
        if is_new {
            cx.printer.say(format!("{}, waiting", harmless(&failure.message)));
            cx.printer.hint(format!("`terreau operations cancel {holder}` turns it back, or gives it up"));
            said.clone_from(&holder);
            pause = PAUSES.0;
        }
        let news = async { if is_new { waits_for(client, &holder).await } else { Vec::new() } };
        let wait = async {
            follow::until_over(cx, client, (&holder, &failure.message), news).await?;
            // Others wait as well: they shall not all come back at once.
            tokio::time::sleep(pause.mul_f64(rand::rng().random_range(0.5..1.5))).await;
            Ok::<_, Failure>(())
        };
        tokio::select! {
            biased;
            _ = &mut interrupted => {
                return Err(Failure::new(ExitStatus::Conflict, "no longer waiting: nothing was changed")
                    .hint(follow::how_to(&holder)));
            }
            waited = wait => waited?,
        }
        pause = (pause * 2).min(PAUSES.1);
    }
}
