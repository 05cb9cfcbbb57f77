//! A value that breaks the app, and the way from it to a good one: nobody waits for a deadline.

use std::time::{Duration, Instant};

use super::{PATIENCE, Person, Project, stack};
use crate::harness::eventually;

/// The app gives a release up after so long by itself: nomad's own default.
const DEADLINE: Duration = Duration::from_mins(5);

/// The operation that is under way on an app.
fn under_way(person: &Person, app: &Project) -> String {
    let listed = person.json(app.path(), &["operations", "list", &app.name, "--json"]);
    let [one] = listed["open"].as_array().unwrap().as_slice() else { panic!("{listed}") };
    one["id"].as_str().unwrap().to_owned()
}

/// Waits until what runs has this value.
async fn runs_with(person: &Person, app: &Project, wanted: &str) {
    eventually(&format!("it runs with {wanted}"), PATIENCE, async || {
        let says = person.asks(app.path(), &["exec", "--", "/bin/sh", "-c", "echo $MODE"]);
        (says.out.trim() == wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_value_that_breaks_the_app_to_a_good_one_nobody_waits_for_a_deadline() {
    let stack = stack().await;
    let (ann, bob) = (Person::of(stack), Person::of(stack));
    let app = Project::new("value");
    let dir = app.path();
    app.writes_program("", "", "test x$MODE != xbad || sleep 3600");
    ann.expect(0, dir, &["deploy"]);
    ann.expect(0, dir, &["env", "set", "MODE=first"]);

    // It is given up, and the old value runs and is what is set.
    let begun = Instant::now();
    let mut breaks = ann.begins(dir, &["env", "set", "MODE=bad"]);
    breaks.until(PATIENCE, |l| l.contains("not healthy yet")).await.unwrap();
    let gave = ann.expect(0, dir, &["operations", "cancel", &app.name]);
    assert!(
        gave.err.contains("was given up by me") && gave.err.contains("the old release serves on"),
        "{}",
        gave.err
    );
    assert_eq!(breaks.end(PATIENCE).await.code, 1);
    runs_with(&ann, &app, "first").await;
    let set = ann.json(dir, &["env", "list", "--json"]);
    let mode = set["env"].as_array().unwrap().iter().find(|v| v["name"] == "MODE").unwrap();
    assert_eq!((&mode["staged"], &mode["version"]), (&false.into(), &1.into()), "{set}");

    // Whoever changes it meanwhile is told for whom they wait, for what, and what ends it; also who only stages a value.
    let mut breaks = ann.begins(dir, &["env", "set", "MODE=bad"]);
    breaks.until(PATIENCE, |l| l.contains("not healthy yet")).await.unwrap();
    let id = under_way(&ann, &app);
    let mut good = bob.begins(dir, &["env", "set", "MODE=good"]);
    let mut staged = bob.begins(dir, &["env", "set", "--stage", "OTHER=1"]);
    for waits in [&mut good, &mut staged] {
        let holder = format!("configure of {} by me is under way (operation {id}), waiting", app.name);
        waits.until(PATIENCE, |l| l == holder).await.unwrap();
        waits.until(PATIENCE, |l| l.starts_with("  waits: web: 0 of 1 new instances healthy")).await.unwrap();
        let ends = format!("terreau operations cancel {id} gives it up at once");
        waits.until(PATIENCE, |l| l.starts_with("  given up at ") && l.ends_with(&ends)).await.unwrap();
    }
    let refused = bob.expect(5, dir, &["env", "set", "--stage", "OTHER=2", "--no-wait"]);
    let ends = format!("`terreau operations cancel {id}` turns it back, or gives it up; then try again");
    assert!(refused.err.contains(&ends), "{}", refused.err);
    bob.expect(0, dir, &["operations", "cancel"]);
    assert_eq!(breaks.end(PATIENCE).await.code, 1);
    for waits in [good, staged] {
        let ended = waits.end(PATIENCE).await;
        assert_eq!(ended.code, 0, "{ended:?}");
    }
    runs_with(&ann, &app, "good").await;
    let took = begun.elapsed();
    assert!(took < DEADLINE / 2, "{took:?}: it was waited for");
    println!("history: from a breaking value to a good one, twice, in {:.1} s", took.as_secs_f32());
}
