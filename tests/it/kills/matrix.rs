//! Apps that live: each of their changes is asked of an agent that dies at one of its points.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use terreau::engines::consul::Instance;
use terreau::engines::nomad::JobView;
use terreau::model::Placement;
use terreau::model::head::{AppState, Head};
use terreau::operation::sweep;

use super::apps::{Change, first, page, second};
use super::world::World;
use super::{PATIENCE, PREFIX, points};
use crate::harness::{Part, StackOptions, eventually};
use crate::mechanism::{Bare, app};

/// Lives at once: more only wait for each other.
const AT_ONCE: usize = 5;
/// What CI takes: of each kind of point one.
const SOME: usize = 4;
/// The changes of a life, in order.
const CHANGES: usize = 4;

/// What an app is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// A process with everything that a process can use.
    Web,
    /// Files.
    Site,
}

/// What a release holds.
#[derive(Debug, Clone)]
struct Content {
    /// A process's descriptor, or what a site's page says.
    text: String,
    /// A deploy of it, as it is asked.
    body: Value,
}

/// One app and its two contents.
struct Life<'a> {
    world: &'a World,
    sort: Sort,
    app: Placement,
    contents: [Content; 2],
}

impl<'a> Life<'a> {
    async fn of(world: &'a World, sort: Sort) -> Self {
        let app = app(PREFIX);
        let contents = match sort {
            Sort::Web => {
                [first(&app), second(&app)].map(|text| Content { body: json!({"descriptor": text}), text })
            }
            Sort::Site => {
                let text = |n: u32| format!("release {n} of {app}");
                let one = Content { body: body(page(world, &app, &text(1)).await), text: text(1) };
                // The second is uploaded once the app is there: until then its place is not known.
                let two = Content { body: Value::Null, text: text(2) };
                [one, two]
            }
        };
        Self { world, sort, app, contents }
    }

    async fn change(&mut self, n: usize) -> Change {
        match n {
            0 | 1 => {
                if self.contents[n].body.is_null() {
                    self.contents[n].body = body(page(self.world, &self.app, &self.contents[n].text).await);
                }
                Change::Deploy(self.app.clone(), self.contents[n].body.clone())
            }
            2 => Change::Rollback(self.app.clone()),
            _ => Change::Delete(self.app.clone()),
        }
    }

    /// The app is as the first `changes` changes leave it, and whole.
    async fn assert_after(&self, changes: usize, head: Option<Head>, after: &str) {
        let world = self.world;
        let content = match changes {
            0 => return assert_eq!(head, None, "{after}: nothing was opened, so nothing is there"),
            CHANGES => {
                assert_eq!(head.unwrap().state, AppState::Deleted, "{after}");
                if self.sort == Sort::Web {
                    let job = world.nomad.job("default", &self.app.flat()).await.unwrap().unwrap();
                    assert!(JobView::of(&job).unwrap().is_stopped(), "{after}");
                } else {
                    let bucket = world.garage.bucket_by_alias(&super::apps::host(&self.app)).await.unwrap();
                    assert_eq!(bucket.unwrap().website, None, "{after}");
                }
                return;
            }
            // The third goes back to the first.
            n => &self.contents[(n + 1) % 2],
        };
        let number = u64::try_from(changes).unwrap();
        match self.sort {
            Sort::Web => world.assert_runs(&self.app, head, number, &content.text, after).await,
            Sort::Site => {
                world.assert_serves(&self.app, head, number, (&content.text, &content.body), after).await;
            }
        }
    }

    /// Lives: each change by an agent that dies at its point, or by the leader where it has none; none after the last
    /// point. Gives the number of looks at the app's health.
    async fn live(mut self, fates: [Option<&str>; CHANGES]) -> Lived<'a> {
        let mut looks = 0;
        let mut changes = 0;
        let last = fates.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        for (n, fate) in fates.into_iter().take(last).enumerate() {
            let change = self.change(n).await;
            let point = fate.unwrap_or("nobody's death");
            let work = async {
                match fate {
                    Some(point) => self.world.killed(point, &change).await,
                    None => self.world.done(&change).await,
                }
            };
            let is_watched = self.sort == Sort::Web && (n == 1 || n == 2);
            let mut head = if is_watched {
                let (head, seen, dark) = watched(self.world, &self.app, work).await;
                assert_eq!(dark, 0, "{point}: of {seen} looks {dark} found nothing healthy");
                looks += seen;
                head
            } else {
                work.await
            };
            // Whoever died before the opening has begun nothing: the old, and then the leader is asked.
            if point.contains(".open.before") {
                self.assert_after(n, head, point).await;
                head = self.world.done(&change).await;
            }
            self.assert_after(n + 1, head, point).await;
            changes = n + 1;
        }
        Lived { life: self, changes, looks }
    }
}

/// An app at the end of its kills.
struct Lived<'a> {
    life: Life<'a>,
    changes: usize,
    looks: usize,
}

fn body(change: Change) -> Value {
    match change {
        Change::Deploy(_, body) => body,
        other => panic!("{other:?} is no deploy"),
    }
}

/// Counts looks at an app's health, and those that found no healthy instance.
async fn watched<T>(world: &World, app: &Placement, work: impl Future<Output = T>) -> (T, usize, usize) {
    let (looks, dark) = (AtomicUsize::new(0), Mutex::new(0));
    let watch = async {
        loop {
            let healthy = world.consul().health(&app.flat()).await.unwrap();
            looks.fetch_add(1, Ordering::Relaxed);
            if !healthy.iter().any(Instance::is_passing) {
                *dark.lock().unwrap() += 1;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let done = tokio::select! {
        done = work => done,
        () = watch => unreachable!("it looks for ever"),
    };
    let dark = *dark.lock().unwrap();
    (done, looks.load(Ordering::Relaxed), dark)
}

/// The points of each change of a life in which nobody dies.
async fn points_of(world: &World, sort: Sort) -> [Vec<String>; CHANGES] {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("points");
    let agent = world.agent(&[("TERREAU_POINTS", file.to_str().unwrap())]).await;
    let mut life = Life::of(world, sort).await;
    let mut lists: [Vec<String>; CHANGES] = Default::default();
    for (n, list) in lists.iter_mut().enumerate() {
        let change = life.change(n).await;
        world.change(&agent.url, &change).await;
        let head = world.rest(&life.app, "nobody's death").await;
        *list = points::passed(&file);
        life.assert_after(n + 1, head, "nobody's death").await;
    }
    lists
}

/// Every `n`th point of each kind, of the changes of both sorts of apps.
async fn matrix(n: usize) {
    let begun = Instant::now();
    let mut world = World::start(StackOptions::engines().with(Part::Agent)).await;
    let leader = world.leader.clone();
    world.login(&leader).await;
    println!("kills: the stack is there after {:.1} s", begun.elapsed().as_secs_f32());
    let (web, site) = tokio::join!(points_of(&world, Sort::Web), points_of(&world, Sort::Site));
    println!("kills: the points are known after {:.1} s", begun.elapsed().as_secs_f32());
    for (list, at_least) in web.iter().zip([20, 14, 14, 10]).chain(site.iter().zip([6, 6, 6, 6])) {
        assert!(list.len() >= at_least, "{list:?}");
    }

    let mut lives: Vec<(Sort, [Option<&str>; CHANGES])> = Vec::new();
    let mut kills = 0;
    for (sort, lists) in [(Sort::Web, &web), (Sort::Site, &site)] {
        let mut offset = 0;
        let chosen = lists.each_ref().map(|list| {
            offset += 1;
            points::every(list, n, offset)
        });
        kills += chosen.iter().map(Vec::len).sum::<usize>();
        let longest = chosen.iter().map(Vec::len).max().unwrap_or(0);
        lives.extend((0..longest).map(|i| (sort, chosen.each_ref().map(|list| list.get(i).copied()))));
    }
    let all = web.iter().chain(&site).map(Vec::len).sum::<usize>();
    let apps = lives.len();
    let world = &world;
    let ending =
        lives.into_iter().map(|(sort, fates)| async move { Life::of(world, sort).await.live(fates).await });
    let ended: Vec<Lived<'_>> = stream::iter(ending).buffer_unordered(AT_ONCE).collect().await;
    assert_eq!(world.orphans().await, Vec::<String>::new());
    println!("kills: nothing is nobody's after {:.1} s", begun.elapsed().as_secs_f32());

    // An hour later the sweep takes what waits for it, and nothing else.
    let bare = Bare::on(&world.stack).await;
    bare.clock.advance(Duration::from_secs(2 * 3600));
    // A lock that was just given back is shut for a second: then the next pass takes it.
    eventually("all that is doomed is swept", PATIENCE, async || {
        let lease = bare.session.lease()?;
        sweep::sweep(bare.deployer.runner(), &lease).await.unwrap();
        world.store.doomed().await.unwrap().is_empty().then_some(())
    })
    .await;
    assert_eq!(world.orphans().await, Vec::<String>::new(), "after the sweep");
    for l in ended.iter().filter(|l| l.changes < CHANGES) {
        let head = world.rest(&l.life.app, "the sweep").await;
        l.life.assert_after(l.changes, head, "the sweep").await;
    }
    let looks: usize = ended.iter().map(|l| l.looks).sum();
    println!(
        "kills: {kills} of {all} points in {apps} lives; {looks} looks at health, none without a healthy instance; {:.1} s",
        begun.elapsed().as_secs_f32()
    );
}

/// Of each kind of point one (`TERREAU_KILLS_EVERY=n`: every nth point of each kind).
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_at_a_point_of_each_kind_leaves_the_old_or_the_new_and_nothing_of_nobodys() {
    matrix(std::env::var("TERREAU_KILLS_EVERY").ok().and_then(|n| n.parse().ok()).unwrap_or(SOME)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: every point there is"]
async fn an_agent_killed_at_any_point_leaves_the_old_or_the_new_and_nothing_of_nobodys() {
    matrix(1).await;
}
