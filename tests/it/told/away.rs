//! Receivers that are away, or never well.

use std::collections::BTreeSet;
use std::time::Duration;

use secrecy::ExposeSecret;
use terreau::deploy::Deployer;
use terreau::deploy::hooks::{Courier, Networks, NewHook, Teller};
use terreau::model::Placement;
use terreau::model::head::Outcome;
use terreau::model::wire::{DeliveryResult, HookEvent};
use terreau::operation::leader;
use terreau::store::hooks::HookQueue;
use tokio_util::sync::CancellationToken;

use super::{PATIENCE, Receiver};
use crate::harness::{Stack, StackOptions, eventually};
use crate::mechanism::{Addresses, Bare, app, me, web};

/// An agent without doors that leads, and tells, by a clock that is moved.
pub(super) struct Telling {
    bare: Bare,
    deployer: Deployer,
    stop: CancellationToken,
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Telling {
    pub(super) async fn on(stack: &Stack) -> Self {
        Self::through(stack, &Addresses::of(stack)).await
    }

    /// That reaches the engines at these addresses.
    pub(super) async fn through(stack: &Stack, at: &Addresses) -> Self {
        let bare = Bare::through(stack, at).await;
        let courier = Courier::new(Networks::new(&["127.0.0.1"]).unwrap());
        let deployer = bare.deployer.clone().with_courier(courier.clone());
        let stop = CancellationToken::new();
        let runner = deployer.runner().clone();
        leader::start(&runner, "here".to_owned(), stop.clone());
        Teller::start(&runner, courier, stop.clone());
        Self { bare, deployer, stop }
    }

    async fn hook(&self, app: &Placement, url: String) -> (String, String) {
        let new = NewHook { url, on: BTreeSet::from([HookEvent::Deploy]), secret: None };
        let (hook, secret) = self.deployer.add_hook(&me(), app, new).await.unwrap();
        (hook.id, secret.unwrap().expose_secret().to_owned())
    }

    async fn line(&self, hook: &str) -> HookQueue {
        self.deployer.runner().store().hook_queue(hook).await.unwrap().unwrap().value
    }

    async fn until_line(&self, hook: &str, what: &str, wanted: impl Fn(&HookQueue) -> bool) -> HookQueue {
        eventually(what, PATIENCE, async || Some(self.line(hook).await).filter(|q| wanted(q))).await
    }

    async fn deploys(&self, app: &Placement, version: &str) {
        let (outcome, why) =
            self.bare.deploy(app, &web(app, &format!("env = {{ VERSION = \"{version}\" }}"))).await.unwrap();
        assert_eq!(outcome, Outcome::Done, "{why:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_was_away_gets_everything_in_order_and_holds_up_no_other() {
    let stack = Stack::start(StackOptions::engines()).await;
    let it = Telling::on(&stack).await;
    let app = app("away");
    it.deploys(&app, "one").await;
    // One that is away (nobody listens), one that always refuses, and one that is well.
    let (gone, ill, well) = (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    let port = gone.port;
    let (away, secret) = it.hook(&app, gone.url()).await;
    drop(gone);
    ill.answers(500);
    let (refusing, _) = it.hook(&app, ill.url()).await;
    it.hook(&app, well.url()).await;

    it.deploys(&app, "two").await;
    it.deploys(&app, "three").await;
    let in_time = well.until(2).await;
    let q = it
        .until_line(&away, "the first is tried, the second waits", |q| q.tries == 1 && q.pending.len() == 2)
        .await;
    assert_eq!(q.last.as_ref().map(|l| l.result), Some(DeliveryResult::Failed), "{q:?}");
    assert!(q.last.unwrap().error.unwrap().contains("cannot be reached"));
    it.until_line(&refusing, "the other one is tried too", |q| q.tries == 1 && q.pending.len() == 2).await;
    // Nothing happens before its time.
    it.bare.clock.advance(Duration::from_secs(3));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((it.line(&away).await.tries, ill.all().await.len()), (1, 1));
    for (n, pause) in [(2, 4), (3, 40)] {
        it.bare.clock.advance(Duration::from_secs(pause));
        for hook in [&away, &refusing] {
            it.until_line(hook, &format!("it is tried for the {n}th time"), |q| q.tries == n).await;
        }
    }
    let back = Receiver::at(port).await;
    it.bare.clock.advance(Duration::from_mins(3));
    let late = back.until(2).await;
    let ids = |all: &[super::Got]| all.iter().map(|g| g.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&late), ids(&in_time), "in the order in which it happened");
    assert!(late.iter().all(|g| g.is_signed(&secret)) && late[0].body == in_time[0].body);
    assert!(late[0].timestamp > in_time[0].timestamp + 180, "each try has its own time");
    let q = it.until_line(&away, "nothing waits", |q| q.pending.is_empty()).await;
    assert_eq!((q.tries, q.lost, q.next), (0, 0, None));

    // Given up after the last try; what waits behind it then has its turn.
    for (n, hours) in [(5, 1), (6, 2), (7, 8)] {
        it.until_line(&refusing, &format!("{} tries", n - 1), |q| q.tries == n - 1).await;
        it.bare.clock.advance(Duration::from_hours(hours));
        ill.until(usize::try_from(n).unwrap()).await;
    }
    let q = it.until_line(&refusing, "the first is given up", |q| q.lost == 1).await;
    assert_eq!(q.pending.len(), 1, "{q:?}");
    assert_eq!(well.all().await.len(), 2, "and nobody is told twice");
}
