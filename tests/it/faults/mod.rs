//! Engines that are away: a clear error or a wait, nothing lost, nothing half, and a retry that works.
//!
//! Each engine of one stack stands behind a gate of this test's own, which is shut and opened, lies, or loses answers.

mod abandoned;
mod agent;
mod gate;
mod long;
mod outside;
mod starts;
mod table;
mod words;

use std::time::Duration;

use terreau::deploy::{Accepted, DeployInput, Error};
use terreau::model::Placement;
use terreau::model::head::Outcome;
use terreau::operation::{Progress, leader};
use terreau::store::keys;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::agent::Gates;
use self::gate::Mood;
use crate::harness::{Part, Stack, StackOptions, eventually};
use crate::mechanism::{Addresses, Bare, app, me};

/// An agent with a gate before each engine, which leads.
struct Gated {
    bare: Bare,
    gates: Gates,
    _stop: DropGuard,
}

impl Gated {
    async fn on(stack: &Stack) -> Self {
        let gates = Gates::before(stack).await;
        let at = Addresses {
            consul: gates.url("consul"),
            nomad: gates.url("nomad"),
            ldap: gates.url("directory"),
            garage_admin: gates.url("garage"),
            s3: gates.url("s3"),
        };
        let bare = Bare::through(stack, &at).await;
        let stop = CancellationToken::new();
        leader::start(bare.deployer.runner(), "127.0.0.1:1".into(), stop.clone());
        Self { bare, gates, _stop: stop.drop_guard() }
    }

    async fn begin(&self, app: &Placement, text: &str) -> Result<Accepted, Error> {
        let input = DeployInput { descriptor: text.to_owned(), ..DeployInput::default() };
        self.bare.deployer.deploy(&me(), app, &input).await
    }

    /// Once every engine is well: no operation is left open, the lock is free, and nothing is in the way.
    async fn at_rest(&self, case: &str, app: &Placement) {
        let store = self.bare.deployer.runner().store();
        eventually(&format!("{case}: at rest"), Duration::from_secs(45), async || {
            let open = store.operations().await.ok()?;
            let lock = store.consul().kv_get(&keys::lock(app)).await.ok()?;
            let head = store.head(app).await.ok()?;
            let idle = !open.iter().any(|o| o.value.app == *app)
                && lock.is_none_or(|l| l.session.is_none())
                && head.is_none_or(|h| h.value.operation.is_none());
            idle.then_some(())
        })
        .await;
    }

    /// Deploys until it is done, which must not take more than a person's few tries.
    async fn done_in_the_end(&self, case: &str, app: &Placement, text: &str) {
        let mut said = Vec::new();
        for _ in 0..4 {
            match self.bare.deploy(app, text).await {
                Ok((Outcome::Done, _)) => {
                    let input = DeployInput { descriptor: text.to_owned(), ..DeployInput::default() };
                    let plan = self.bare.deployer.plan(&me(), app, &input).await.unwrap();
                    assert!(plan.is_empty(), "{case}: {:?}", plan.changes);
                    return;
                }
                Ok((outcome, why)) => said.push(format!("{outcome:?}: {why:?}")),
                Err(e) => said.push(e.to_string()),
            }
            // The lock stays shut for a second after it was given back by force.
            tokio::time::sleep(Duration::from_millis(1_100)).await;
        }
        panic!("{case}: not done: {said:#?}");
    }
}

/// Something that touches every engine, and is healthy at once.
fn descriptor(app: &Placement, note: &str) -> String {
    format!(
        r#"project "{app}" {{
  process "web" {{ command = ["/usr/bin/sleep", "1000"] }}
  uses "ldap" {{}}
  uses "bucket" "media" {{}}
  secret "session" {{ type = "generated" }}
  env = {{ A = "${{secret.session}}", B = "${{uses.ldap.password}}", C = "${{uses.media.secret_access_key}}", N = "{note}" }}
}}
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_outlasts_a_consul_that_is_away_longer_than_the_fence() {
    let stack = Stack::start(StackOptions::engines()).await;
    let gated = Gated::on(&stack).await;
    let app = app("fence");
    let text = descriptor(&app, "first");
    let Accepted::Operation(id) = gated.begin(&app, &text).await.unwrap() else { panic!() };
    gated.gates.of("consul").is(Mood::Down);
    // The fence shuts after 6 s without a renewal; the session lives for 20 s, and the lock with it.
    let shut = async || gated.bare.session.lease().is_none().then_some(());
    eventually("the fence is shut", Duration::from_secs(9), shut).await;
    let refused = gated.begin(&app, &text).await.unwrap_err();
    assert!(matches!(refused, Error::Unready(_)), "{refused}");
    gated.gates.of("consul").is(Mood::Well);
    let (outcome, why) = gated.bare.end_of(id).await;
    assert_eq!(outcome, Outcome::Done, "{why:?}");
    gated.at_rest("fence", &app).await;
    gated.done_in_the_end("fence", &app, &text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn df_07_without_garage_status_goes_on_and_a_deploy_says_what_is_missing_or_waits() {
    let stack = Stack::start(StackOptions::engines()).await;
    let bare = Bare::on(&stack).await;
    let app = app("bytes");
    // Of Garage it needs its records only.
    let text = |note: &str| {
        format!(
            "project \"{app}\" {{\n  process \"web\" {{ command = [\"/usr/bin/sleep\", \"1000\"] }}\n  env = {{ N = \"{note}\" }}\n}}\n"
        )
    };
    assert_eq!(bare.deploy(&app, &text("1")).await.unwrap().0, Outcome::Done);
    let input = DeployInput { descriptor: text("2"), ..DeployInput::default() };
    let Accepted::Operation(id) = bare.deployer.deploy(&me(), &app, &input).await.unwrap() else { panic!() };
    stack.kill(Part::Sandbox).await;

    let status = bare.deployer.status(&app).await.unwrap();
    assert_eq!(status.processes[0].running, 1, "{status:?}");
    assert!(status.why.as_ref().is_some_and(|w| w.contains("garage")), "{status:?}");
    let other = crate::mechanism::app("bytes");
    let refused = bare.deploy(&other, &text("3").replace(app.project.as_str(), other.project.as_str())).await;
    let refused = refused.unwrap_err();
    let names = matches!(&refused, Error::Engine(e) if e.engine == terreau::engines::Engine::Garage);
    assert!(names, "{refused}");

    stack.start_part(Part::Sandbox).await;
    let (outcome, why) = bare.end_of(id.clone()).await;
    assert_eq!(outcome, Outcome::Done, "what was under way has waited: {why:?}");
    assert_eq!(bare.deploy(&app, &text("2")).await.unwrap().1, ["unchanged"]);
    let course: Vec<Progress> = futures::StreamExt::collect(bare.deployer.follow(id, 0)).await;
    assert!(matches!(course.last(), Some(Progress::End { outcome: Outcome::Done, .. })), "{course:?}");
}
