//! What Consul's own web pages show of an app.

use super::{AGENT, Person, Project, stack};
use crate::harness::browser::Browser;

#[tokio::test(flavor = "multi_thread")]
async fn consuls_own_pages_show_the_app_healthy_and_its_tree_of_keys() {
    let _here = AGENT.read().await;
    let stack = stack().await;
    let person = Person::of(stack);
    let app = Project::new();
    person.deploys(app.path());
    let (ui, name) = (format!("{}/ui/{}", stack.consul(), stack.cluster()), app.name.clone());
    tokio::task::block_in_place(|| {
        let mut browser = Browser::start();
        let page = browser.text(&format!("{ui}/services/{name}/instances"), |t| t.contains("_nomad-task-"));
        // Its own check, and the node's.
        assert!(
            page.contains("All service checks passing") && page.contains("All node checks passing"),
            "{page}"
        );
        let tags = browser.text(&format!("{ui}/services/{name}/tags"), |t| t.contains("tricot "));
        assert!(tags.contains(&format!("tricot {}", app.host())), "{tags}");
        let keys = browser.text(&format!("{ui}/kv/secrets/{name}/"), |t| t.contains("Create"));
        assert!(keys.lines().any(|l| l.trim() == "key") && keys.contains(".v"), "{keys}");
        let versions = browser.text(&format!("{ui}/kv/secrets/{name}/.v/key/"), |t| t.contains("Create"));
        assert!(versions.lines().any(|l| l.trim() == "1"), "{versions}");
    });
    person.expect(0, app.path(), &["delete", "--yes"]);
}
