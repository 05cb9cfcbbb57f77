//! The maintenance page: visitors see it in the place of an app, and nothing else changes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use terreau::model::Placement;

use super::{App, PATIENCE, stack};
use crate::harness::{Part, StackOptions, eventually};
use crate::kills::apps::{Change, host};
use crate::kills::points;
use crate::kills::world::World;
use crate::mechanism::{app, web};

const DOORS: &str = "terreau-maintenance";
/// Within how long all visitors see another thing.
const SOON: Duration = Duration::from_secs(3);

/// What a visitor was told: when, the status, whether they may come back, the words.
struct Visit {
    at: Instant,
    status: u16,
    retry: bool,
    body: String,
}

/// A visitor who comes every 10 ms, by the proxy, each time with a connection of their own.
struct Visitor {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Vec<Result<Visit, String>>>,
}

impl Visitor {
    fn of(app: &App) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, client, proxy) = (stop.clone(), app.stack.http(), app.stack.proxy());
        let host = format!("{}.example.org.localhost", app.name);
        let task = tokio::spawn(async move {
            let mut all = Vec::new();
            let mut tick = tokio::time::interval(Duration::from_millis(10));
            while !told.load(Ordering::Relaxed) {
                tick.tick().await;
                let at = Instant::now();
                let request = client.get(&proxy).header("host", &host).header("connection", "close");
                all.push(match request.send().await {
                    Err(e) => Err(format!("{e:?}")),
                    Ok(reply) => {
                        let (status, retry) =
                            (reply.status().as_u16(), reply.headers().contains_key("retry-after"));
                        reply
                            .text()
                            .await
                            .map(|body| Visit { at, status, retry, body })
                            .map_err(|e| format!("{e:?}"))
                    }
                });
            }
            all
        });
        Self { stop, task }
    }

    async fn end(self) -> Vec<Visit> {
        self.stop.store(true, Ordering::Relaxed);
        let all = self.task.await.unwrap();
        let broken: Vec<&String> = all.iter().filter_map(|v| v.as_ref().err()).collect();
        assert!(broken.is_empty(), "{} of {} visits broke off: {broken:?}", broken.len(), all.len());
        all.into_iter().map(Result::unwrap).collect()
    }
}

async fn doors(stack: &crate::harness::Stack) -> Vec<Value> {
    let url = format!("{}/v1/catalog/service/{DOORS}", stack.consul());
    stack.http().get(url).send().await.unwrap().json().await.unwrap()
}

async fn doors_of(stack: &crate::harness::Stack, app: &str) -> Vec<Value> {
    doors(stack).await.into_iter().filter(|d| d["ServiceMeta"]["app"] == app).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_maintenance_page_is_all_that_visitors_see_while_the_app_runs_on_and_is_deployed() {
    let it = App::new(stack().await, "mend");
    it.expect(0, &["deploy"]);
    it.until_page(200).await;
    let before: Vec<String> =
        it.allocations().await.iter().map(|a| a["ID"].as_str().unwrap().to_owned()).collect();
    let visitor = Visitor::of(&it);
    tokio::time::sleep(Duration::from_millis(200)).await;

    let on = Instant::now();
    let said = it.expect(0, &["maintenance", "on", "--message", "Back at <14:00>."]);
    assert!(said.out.contains(&format!("{}.example.org", it.name)), "{}", said.out);
    it.until_page(503).await;
    let now: Vec<String> =
        it.allocations().await.iter().map(|a| a["ID"].as_str().unwrap().to_owned()).collect();
    assert_eq!(before, now, "the very same instances run on");
    let status = it.status();
    assert_eq!(
        (&status["status"], &status["maintenance"]["by"]),
        (&json!("running"), &json!("me")),
        "{status}"
    );
    assert!(it.expect(0, &["status"]).out.contains("visitors see a maintenance page"));
    let events = it.expect(0, &["events"]).out;
    assert!(events.contains("maintenance page up"), "{events}");
    // Twice is once, with the new words.
    it.expect(0, &["maintenance", "on", "--message", "Back at <14:00>."]);
    assert_eq!(doors_of(it.stack, &it.name).await.len(), 1);
    // Without words it says what it said.
    let said = it.expect(0, &["maintenance", "on"]);
    assert!(said.err.contains("it says: Back at <14:00>."), "{}", said.err);
    let said: Value = serde_json::from_str(&it.expect(0, &["maintenance", "on", "--json"]).out).unwrap();
    assert_eq!(said["message"], "Back at <14:00>.");

    it.describe("two", "");
    it.expect(0, &["deploy"]);
    it.expect(0, &["stop"]);
    it.expect(0, &["start"]);
    assert_eq!(it.page("/any/path").await.0, 503);
    it.until_known().await;
    let off = Instant::now();
    it.expect(0, &["maintenance", "off"]);
    it.until_page(200).await;
    let again = it.expect(0, &["maintenance", "off"]);
    assert!(again.err.contains("there is no maintenance page"), "{}", again.err);
    assert!(doors_of(it.stack, &it.name).await.is_empty());
    assert_eq!(it.status()["maintenance"], json!(null));
    tokio::time::sleep(Duration::from_millis(200)).await;

    let visits = visitor.end().await;
    let (mut seen, mut pages) = ([0, 0, 0], 0);
    for v in &visits {
        let what = match v.status {
            200 if v.body.starts_with("one ") => 0,
            503 => {
                // The page goes a moment before the proxy has heard of it: then no words are left.
                let is_ours = v.body.contains("<p>Back at &lt;14:00&gt;.</p>")
                    || v.at >= off && v.body.contains("<title>Down for maintenance</title>");
                assert!(v.retry && is_ours, "{}", v.body);
                pages += 1;
                1
            }
            200 if v.body.starts_with("two ") => 2,
            other => panic!("{other}: {}", v.body),
        };
        assert!(seen[what + 1..].iter().all(|n| *n == 0), "{seen:?}: {what} came back");
        seen[what] += 1;
    }
    let first = visits.iter().find(|v| v.status == 503).unwrap().at - on;
    let back = visits.iter().find(|v| v.body.starts_with("two ")).unwrap().at - off;
    assert!(first < SOON && back < SOON && seen.iter().all(|n| *n > 0), "{first:?} {back:?} {seen:?}");
    println!("running: {} visits, {pages} pages; page after {first:?}, app after {back:?}", visits.len());
    it.expect(0, &["delete", "--yes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_ones_own_follows_the_apps_hosts_and_goes_with_the_app() {
    let it = App::new(stack().await, "own");
    let refused = it.expect(6, &["maintenance", "on"]);
    assert!(refused.err.contains(&it.name), "{}", refused.err);
    it.expect(0, &["deploy"]);
    it.until_page(200).await;
    std::fs::write(it.path().join("page.html"), "<h1>Our <b>own</b> page</h1>").unwrap();
    it.expect(0, &["maintenance", "on", "--page", "page.html"]);
    assert_eq!(it.until_page(503).await, "<h1>Our <b>own</b> page</h1>");
    let more = format!("{}-more.example.org", it.name);
    it.describe("two", &format!("route \"{more}\" {{}}"));
    it.expect(0, &["deploy"]);
    eventually("the page stands at the new host, too", PATIENCE, async || {
        let request = it.stack.http().get(it.stack.proxy()).header("host", &more);
        let reply = request.send().await.unwrap();
        (reply.status() == 503 && reply.text().await.unwrap().contains("Our <b>own</b>")).then_some(())
    })
    .await;
    std::fs::write(it.path().join("page.html"), "x".repeat(70_000)).unwrap();
    let large = it.expect(1, &["maintenance", "on", "--page", "page.html"]);
    assert!(large.err.contains("64 KiB"), "{}", large.err);
    it.expect(0, &["delete", "--yes"]);
    eventually("no door and no page is left", PATIENCE, async || {
        let url = format!("{}/v1/kv/terreau/v1/maintenance/?keys", it.stack.consul());
        let pages = it.stack.http().get(url).send().await.unwrap().text().await.unwrap();
        (doors_of(it.stack, &it.name).await.is_empty() && !pages.contains(&it.name)).then_some(())
    })
    .await;
}

/// The pages and the doors are as the head says, and each door is of an agent that lives and answers.
async fn agree(world: &World, app: &Placement, on: bool, after: &str) {
    eventually(&format!("{after}: page and doors are as the head says"), PATIENCE, async || {
        let head = world.store.head(app).await.unwrap().unwrap().value;
        assert_eq!(head.maintenance.is_some(), on, "{after}");
        let pages = world.store.maintenance().await.unwrap();
        let of: BTreeSet<String> = doors_of(&world.stack, &app.to_string()).await.iter().map(door).collect();
        let live: BTreeSet<String> = world
            .store
            .agents()
            .await
            .unwrap()
            .iter()
            .filter_map(|(_, a)| Some(a.pages?.to_string()))
            .collect();
        let wanted = if on { live } else { BTreeSet::new() };
        let is_kept = pages.iter().any(|p| p.value.app == *app);
        (is_kept == on && of == wanted).then_some(())
    })
    .await;
    for at in doors_of(&world.stack, &app.to_string()).await.iter().map(door) {
        let request = world.stack.http().get(format!("http://{at}/")).header("host", host(app));
        let reply = request.send().await.unwrap();
        assert_eq!(reply.status().as_u16(), 503, "{after}");
    }
}

fn door(d: &Value) -> String {
    format!("{}:{}", d["ServiceAddress"].as_str().unwrap(), d["ServicePort"])
}

/// An agent dies at each point of a page's way up and down: what was asked is whole or has not begun, and doors of the
/// dead go.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_while_a_page_goes_up_or_down_leaves_all_of_it_or_nothing() {
    let mut world = World::start(StackOptions::engines().with(Part::Agent)).await;
    let leader = world.leader.clone();
    world.login(&leader).await;
    let world = &world;
    let app = app("page");
    world.done(&Change::deploy(&app, &web(&app, ""))).await;
    let asked = |on: bool| Change::Run(app.clone(), "maintenance", json!({ "on": on }));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("points");
    let lister = world.agent(&[("TERREAU_POINTS", file.to_str().unwrap())]).await;
    let mut all = Vec::new();
    for on in [true, false] {
        world.change(&lister.url, &asked(on)).await;
        world.rest(&app, "nobody's death").await;
        agree(world, &app, on, "nobody's death").await;
        let mine = points::passed(&file).into_iter().filter(|p| p.starts_with("maintenance."));
        all.push((on, mine.collect::<Vec<_>>()));
    }
    for (on, points) in all {
        assert!(points.len() >= 2, "{points:?}");
        for point in points {
            let what = format!("on={on}, {point}");
            let agent = world.agent(&[("TERREAU_KILL_AT", &point)]).await;
            world.change(&agent.url, &asked(on)).await;
            world.dies(agent, &point).await;
            world.rest(&app, &what).await;
            let is_done = point.contains(".after");
            agree(world, &app, is_done == on, &what).await;
            // Back to what was before, or on to what was asked.
            world.change(&leader, &asked(on)).await;
            agree(world, &app, on, &what).await;
            world.change(&leader, &asked(!on)).await;
            agree(world, &app, !on, &what).await;
        }
        world.change(&leader, &asked(on)).await;
        agree(world, &app, on, "the end").await;
    }
}
