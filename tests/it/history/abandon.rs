//! A change that an admin leaves half-way, from the command line: what is left is said, and the next deploy mends it.

use serde_json::{Value, json};

use super::cancel::under_way;
use super::{PATIENCE, Person, Project};
use crate::kills::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_deploy_says_what_is_left_and_the_next_one_goes_through() {
    let world = World::world().await;
    let person = Person::of(&world.stack);
    let project = Project::new("left");
    let dir = project.path();
    project.says("one", 0);
    person.expect(0, dir, &["deploy"]);
    project.says("two", 3600);
    let mut second = person.begins(dir, &["deploy"]);
    let id = under_way(&world, &project).await;
    second.until(PATIENCE, |l| l.contains("not healthy yet")).await.unwrap();
    // Not by a slip.
    person.expect(2, dir, &["operations", "abandon"]);
    let left = person.expect(0, dir, &["operations", "abandon", "--force"]);
    for wanted in [&*id, "abandoned by me, half-way", "done: register job", "done or not: wait for job"] {
        assert!(left.err.contains(wanted), "{wanted} in {}", left.err);
    }
    let ended = second.end(PATIENCE).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.said.iter().any(|l| l.contains("abandoned by me")), "{ended:?}");
    let status = person.json(dir, &["status", "--json"]);
    assert!(status["why"].as_str().is_some_and(|w| w.contains("abandoned half-way")), "{status}");
    let found = person.expect(10, dir, &["doctor"]).out;
    assert!(found.contains(&format!("a change of {} was abandoned half-way", project.name)), "{found}");
    let releases = person.json(dir, &["releases", "--json"]);
    assert_eq!(releases["releases"][0]["state"], "abandoned", "{releases}");
    let again = person.expect(5, dir, &["operations", "abandon", &id, "--force"]);
    assert!(again.err.contains("has ended already: abandoned by me"), "{}", again.err);

    // For programs, and after an abandoned one.
    project.says("three", 3600);
    let mut third = person.begins(dir, &["deploy"]);
    let id = under_way(&world, &project).await;
    third.until(PATIENCE, |l| l.contains("not healthy yet")).await.unwrap();
    let end = person.expect(0, dir, &["operations", "abandon", &id, "--force", "--json"]).out;
    let end: Value = serde_json::from_str(&end).unwrap();
    assert_eq!(end["outcome"], "abandoned", "{end}");
    third.end(PATIENCE).await;
    project.says("four", 0);
    person.expect(0, dir, &["deploy"]);
    let status = person.json(dir, &["status", "--json"]);
    assert_eq!((&status["status"], &status["why"]), (&json!("running"), &Value::Null), "{status}");
    person.expect(0, dir, &["delete", "--yes"]);
}
