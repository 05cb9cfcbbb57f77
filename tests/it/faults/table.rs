//! Every engine in every mood: what a person who deploys then reads, and that a later try makes the app whole.
//!
//! A cell is one app. First the engine is ill when the person comes: the deploy ends at once, with exit code 7 and
//! nothing changed. Then it falls ill in the middle of a deploy, at a step of its own, and gets well when the person has
//! been told. Each cell prints a line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use terreau::model::Placement;

use super::agent::{Agent, stack};
use super::gate::Mood;
use super::outside::Outside;
use super::words::Lie;
use crate::harness::{Stack, StackOptions, eventually};
use crate::mechanism::app;

/// How long a person waits for an error, or to be told of a wait.
const SOON: Duration = Duration::from_secs(25);
/// How long an operation may take once its engines are well.
const DONE: Duration = Duration::from_secs(90);

/// What an HTTP engine can be.
const HTTP: [Mood; 9] = [
    Mood::Down,
    Mood::Reset,
    Mood::Silent,
    Mood::Lost,
    Mood::Half,
    Mood::Says(Lie::Fails),
    Mood::Says(Lie::Refuses),
    Mood::Says(Lie::WrongJson),
    Mood::Says(Lie::CutJson),
];

/// What a directory can be.
const LDAP: [Mood; 9] = [
    Mood::Down,
    Mood::Reset,
    Mood::Silent,
    Mood::Lost,
    Mood::Half,
    Mood::Says(Lie::Busy),
    Mood::Says(Lie::Unavailable),
    Mood::Says(Lie::Refuses),
    Mood::Says(Lie::Garbage),
];

/// How a deploy ends whose engine fell ill and got well again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It waited, and is done.
    Done,
    /// It was taken back, because the engine refused the agent. The way back waited for it.
    BackAfterWaiting,
    /// The same, and the way back did not need it.
    Back,
}

/// Says of a question whether the fault begins with it.
type Step = Box<dyn Fn(&str) -> bool + Send + Sync>;

fn is_txn(asked: &str, about: &str) -> bool {
    asked.starts_with("PUT /v1/txn") && asked.contains(about)
}

struct Engine {
    /// Its gate.
    gate: &'static str,
    /// How people know it.
    name: &'static str,
    /// What to correct when it refuses the agent.
    setting: &'static str,
    /// The question at which it falls ill.
    step: fn(&str) -> bool,
    /// How it ends when it refuses the agent.
    refused: End,
}

struct Table<'a> {
    agent: Agent<'a>,
    outside: Outside,
    dir: tempfile::TempDir,
}

/// Something that touches every engine, and is healthy at once.
fn descriptor(app: &Placement) -> String {
    format!(
        r#"project "{app}" {{
  process "web" {{
    command = ["/usr/bin/sleep", "1000"]
    update {{ min_healthy_time = "50ms" }}
  }}
  uses "ldap" {{}}
  uses "bucket" "media" {{ max_objects = 10 }}
  secret "session" {{ type = "generated" }}
  env = {{ A = "${{secret.session}}", B = "${{uses.ldap.password}}", C = "${{uses.media.secret_access_key}}" }}
}}
"#
    )
}

impl<'a> Table<'a> {
    async fn start(stack: &'a Stack) -> Self {
        let agent = Agent::start(stack).await;
        let outside = Outside::of(agent.stack);
        Self { agent, outside, dir: tempfile::tempdir().unwrap() }
    }

    /// Two agents share the moods: a cell mostly waits.
    async fn of(engine: &Engine, moods: &[Mood]) {
        let (some, others) = moods.split_at(moods.len() / 2);
        let half = async |moods: &[Mood]| {
            let table = Table::start(stack().await).await;
            for mood in moods {
                table.cell(engine, *mood).await;
            }
        };
        tokio::join!(Box::pin(half(some)), Box::pin(half(others)));
    }

    /// An app that nobody had, in the person's folder.
    fn another(&self) -> Placement {
        let app = app("ill");
        std::fs::write(self.dir.path().join("terreau.hcl"), descriptor(&app)).unwrap();
        app
    }

    async fn cell(&self, engine: &Engine, mood: Mood) {
        let app = self.another();
        let case = format!("{:9} {mood:16}", engine.gate);
        self.at_the_door(engine, mood, &app, &case).await;
        self.midway(engine, mood, &app, &case).await;
        self.again(&app, &case).await;
        let secrets = self.outside.assert_whole(&app, &case).await;
        self.agent.has_said_no_secret(&secrets);
        self.outside.stop(&app).await;
    }

    async fn deploys(&self) -> crate::harness::person::Ended {
        self.agent.runs(self.dir.path(), &["deploy"], DONE).await
    }

    /// The engine is ill when the person comes.
    async fn at_the_door(&self, engine: &Engine, mood: Mood, app: &Placement, case: &str) {
        let gate = self.agent.gates.of(engine.gate);
        gate.is(mood);
        let ended = self.deploys().await;
        gate.is(Mood::Well);
        let error = ended.line("error: ");
        println!("faults: {case} at the door, after {:4.1} s: {error}", ended.took.as_secs_f32());
        assert_eq!(ended.code, 7, "{case}: {ended:?}");
        assert!(ended.took < SOON, "{case}: {ended:?}");
        assert!(error.contains(engine.name) && error.contains('('), "{case}: who, and at what? {ended:?}");
        let hint = ended.line("hint: ");
        assert!(hint.contains("try again"), "{case}: and now? {ended:?}");
        if mood == Mood::Says(Lie::Refuses) {
            assert!(hint.contains(engine.setting), "{case}: {ended:?}");
        }
        self.agent.ready().await;
        self.outside.assert_nothing(app, case).await;
    }

    /// The engine falls ill in the middle.
    async fn midway(&self, engine: &Engine, mood: Mood, app: &Placement, case: &str) {
        let end = if mood == Mood::Says(Lie::Refuses) { engine.refused } else { End::Done };
        self.agent.gates.of(engine.gate).from(engine.step, mood);
        self.midway_of(engine.gate, engine.name, end, engine.setting, app, case).await;
    }

    /// The fault was told where to begin.
    async fn midway_of(&self, gate: &str, name: &str, end: End, setting: &str, app: &Placement, case: &str) {
        let gate = self.agent.gates.of(gate);
        let (person, told, after) = eventually(&format!("{case}: it begins"), DONE, async || {
            let begun = Instant::now();
            let mut person = self.agent.begins(self.dir.path(), &["deploy"]);
            let told = person.until(SOON, |line| line.contains("waiting: ")).await;
            // Refused once more: a lock, or the knowledge of who is who, came back a moment late.
            gate.has_begun().then(|| (person, told, begun.elapsed()))
        })
        .await;
        gate.is(Mood::Well);
        let well = Instant::now();
        let ended = self.agent.heard(person.end(DONE).await);
        let said = told.clone().unwrap_or_else(|| ended.line("turning back: "));
        println!(
            "faults: {case} midway, after {:4.1} s: {said}; well again: {} after {:.1} s",
            after.as_secs_f32(),
            if ended.code == 0 { "done" } else { "taken back" },
            well.elapsed().as_secs_f32(),
        );
        assert!(said.contains(name), "{case}: {ended:?}");
        assert_eq!(told.is_some(), end != End::Back, "{case}: {ended:?}");
        assert_eq!(ended.code, i32::from(end != End::Done), "{case}: {ended:?}");
        if end == End::Done {
            return;
        }
        let all = ended.said.join("\n");
        assert!(all.contains(setting), "{case}: {all}");
        assert!(all.contains("nothing has changed") && !all.contains("left behind"), "{case}: {all}");
        self.outside.assert_nothing(app, case).await;
    }

    /// A later try: a few of them, if a lock is still shut for a moment.
    async fn again(&self, app: &Placement, case: &str) {
        let had = self.outside.at_rest(app, case).await.is_some();
        eventually(&format!("{case}: a later try works"), DONE, async || {
            let ended = self.deploys().await;
            match ended.code {
                0 => {
                    let unchanged = ended.said.iter().any(|l| l.starts_with("no changes"));
                    assert_eq!(unchanged, had, "{case}: {ended:?}");
                    Some(())
                }
                5 | 7 => None,
                _ => panic!("{case}: {ended:?}"),
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_consul_does_a_deploy_says_so_or_waits_and_a_later_one_works() {
    // The record of a step: the opening names the app's head too.
    let step = |asked: &str| is_txn(asked, "terreau/v1/op/") && !asked.contains("terreau/v1/app/");
    let consul =
        Engine { gate: "consul", name: "consul", setting: "consul.token_file", step, refused: End::Done };
    Table::of(&consul, &HTTP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_nomad_does_a_deploy_says_so_or_waits_and_a_later_one_works() {
    let step = |asked: &str| asked.starts_with("POST /v1/jobs?");
    let nomad =
        Engine { gate: "nomad", name: "nomad", setting: "nomad.token_file", step, refused: End::Back };
    Table::of(&nomad, &HTTP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_directory_does_a_deploy_says_so_or_waits_and_a_later_one_works() {
    let step = |asked: &str| asked.starts_with("add ");
    let directory = Engine {
        gate: "directory",
        name: "directory",
        setting: "directory.password_file",
        step,
        refused: End::BackAfterWaiting,
    };
    Table::of(&directory, &LDAP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_garages_admin_api_does_a_deploy_says_so_or_waits_and_a_later_one_works() {
    let step = |asked: &str| asked.starts_with("POST /v2/ImportKey");
    let garage = Engine {
        gate: "garage",
        name: "garage",
        setting: "garage.admin_token_file",
        step,
        refused: End::BackAfterWaiting,
    };
    Table::of(&garage, &HTTP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_s3_does_a_deploy_says_so_or_waits_and_a_later_one_works() {
    // The job is read back before it is registered.
    let step =
        |asked: &str| asked.starts_with("GET /") && asked.contains("/o/") && !asked.contains("/o/none");
    let s3 = Engine { gate: "s3", name: "garage", setting: "garage.key_file", step, refused: End::Back };
    Table::of(&s3, &HTTP).await;
}

/// Faults that begin at other steps than the table's: each is waited for, and nothing is done twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_fault_that_begins_at_any_step_is_waited_for_and_nothing_is_done_twice() {
    let table = Table::start(stack().await).await;
    let registered = Arc::new(AtomicBool::new(false));
    let read_back = move |asked: &str| {
        registered.fetch_or(asked.starts_with("POST /v1/jobs?"), Ordering::SeqCst)
            && asked.starts_with("GET /v1/job/")
    };
    let refuses = Mood::Says(Lie::Refuses);
    let cases: Vec<(&str, Mood, &str, Step)> = vec![
        ("garage", Mood::Lost, "a bucket is made", Box::new(|a| a.starts_with("POST /v2/CreateBucket"))),
        ("garage", Mood::Lost, "its quota is set", Box::new(|a| a.starts_with("POST /v2/UpdateBucket"))),
        ("garage", Mood::Lost, "a key is granted", Box::new(|a| a.starts_with("POST /v2/AllowBucketKey"))),
        ("consul", Mood::Lost, "a secret is made", Box::new(|a| is_txn(a, "\"secrets/"))),
        ("consul", Mood::Lost, "it is closed", Box::new(|a| is_txn(a, "terreau/v1/audit/"))),
        ("nomad", Mood::Down, "it is rolled out", Box::new(|a| a.contains("/deployments"))),
        ("nomad", refuses, "it is rolled out", Box::new(|a| a.contains("/deployments"))),
        ("nomad", refuses, "the job is read back", Box::new(read_back)),
    ];
    for (gate, mood, what, step) in cases {
        let app = table.another();
        let case = format!("{gate:9} {mood:16} when {what}");
        table.agent.gates.of(gate).from(step, mood);
        table.midway_of(gate, gate, End::Done, "", &app, &case).await;
        table.again(&app, &case).await;
        table.outside.assert_whole(&app, &case).await;
        table.outside.stop(&app).await;
    }
}

/// Garage away at the very end: the deploy ends all the same, and how is kept as soon as Garage is back.
#[tokio::test(flavor = "multi_thread")]
async fn how_an_operation_ended_is_kept_once_garage_is_back() {
    let table = Table::start(stack().await).await;
    let app = table.another();
    let gate = table.agent.gates.of("s3");
    gate.from(|asked| asked.starts_with("PUT /") && asked.contains("/operations/"), Mood::Down);
    let ended = table.agent.runs(table.dir.path(), &["deploy"], DONE).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(gate.has_begun());
    let head = table.outside.at_rest(&app, "kept").await.unwrap();
    let id = head.last_operation.unwrap().id.to_string();
    gate.is(Mood::Well);
    eventually("how it ended is told", DONE, async || {
        let told = table.agent.runs(table.dir.path(), &["operations", "follow", &id], DONE).await;
        (told.code == 0).then_some(())
    })
    .await;
    table.outside.stop(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_which_nobody_knows_whether_it_was_begun_goes_on_by_itself() {
    // It is an orphan for a moment, and shall be nobody's but this agent's.
    let stack = Stack::start(StackOptions::engines()).await;
    let table = Table::start(&stack).await;
    let app = app("ill");
    std::fs::write(table.dir.path().join("terreau.hcl"), descriptor(&app)).unwrap();
    let opening = |asked: &str| asked.starts_with("PUT /v1/txn") && asked.contains("terreau/v1/op/");
    let gate = table.agent.gates.of("consul");
    gate.from(opening, Mood::Lost);
    let ended = table.deploys().await;
    gate.is(Mood::Well);
    println!("faults: consul    answer lost      at the opening: {}", ended.line("error: "));
    assert_eq!(ended.code, 7, "{ended:?}");
    assert!(ended.said.iter().any(|l| l.contains("status")), "what to look at: {ended:?}");
    let head = eventually("it goes on by itself", DONE, async || {
        table.outside.store.head(&app).await.unwrap().filter(|h| h.value.operation.is_none())
    });
    head.await;
    table.again(&app, "opening").await;
    table.outside.assert_whole(&app, "opening").await;
    table.outside.stop(&app).await;
}
