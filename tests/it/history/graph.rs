//! The graph of components, beside what the running cluster says of itself.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{PATIENCE, Person, Project, stack};
use crate::harness::eventually;

fn ids(graph: &Value, kind: &str) -> BTreeSet<String> {
    let all = graph["nodes"].as_array().unwrap().iter().filter(|n| n["kind"] == kind);
    all.map(|n| n["id"].as_str().unwrap().to_owned()).collect()
}

fn node<'a>(graph: &'a Value, id: &str) -> &'a Value {
    graph["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|n| n["id"] == id)
        .unwrap_or_else(|| panic!("{id}: {graph}"))
}

fn has_edge(graph: &Value, from: &str, to: &str, what: &str) -> bool {
    let mut all = graph["edges"].as_array().unwrap().iter();
    all.any(|e| e["from"] == from && e["to"] == to && e["what"] == what)
}

#[tokio::test(flavor = "multi_thread")]
async fn df_11_the_graph_is_what_the_running_cluster_says_of_itself() {
    let stack = stack().await;
    let person = Person::of(stack);
    let (search, shop) = (Project::new("search"), Project::new("shop"));
    person.expect(0, search.path(), &["deploy"]);
    let url = format!(
        "env = {{ SEARCH = \"http://${{service.{}}}/\" }}\n  uses \"ldap\" {{}}\n  uses \"bucket\" \"media\" {{}}",
        search.name
    );
    shop.writes(&url, "instances = 2", 0);
    person.expect(0, shop.path(), &["deploy"]);

    let graph = person.json(shop.path(), &["graph", &shop.name, "--json"]);
    let (app, process) = (format!("app:{}", shop.name), format!("process:{}/web", shop.name));
    let (own, needed) = (format!("service:{}", shop.name), format!("service:{}", search.name));
    assert_eq!(ids(&graph, "app"), BTreeSet::from([app.clone()]), "of this app alone");
    assert_eq!(ids(&graph, "process"), BTreeSet::from([process.clone()]));
    let host = format!("host:{}.example.org", shop.name);
    assert_eq!(ids(&graph, "host"), BTreeSet::from([host.clone()]));
    let bucket = format!("bucket:{}-media", shop.name);
    for (from, to, what) in [
        (&host, &process, "routes to"),
        (&app, &process, "runs"),
        (&process, &own, "serves as"),
        (&app, &needed, "needs"),
        (&app, &bucket, "keeps"),
    ] {
        assert!(has_edge(&graph, from, to, what), "{from} {what} {to}: {graph:#}");
    }
    assert_eq!(node(&graph, &app)["state"], "release 1");

    // Each service node is what Consul's catalogue has, with as many healthy instances, on its nodes.
    for id in ids(&graph, "service") {
        let name = id.strip_prefix("service:").unwrap();
        let url = format!("{}/v1/health/service/{name}", stack.consul());
        let all = super::json(stack, url).await;
        let all = all.as_array().unwrap();
        let passing = |i: &&Value| i["Checks"].as_array().unwrap().iter().all(|c| c["Status"] == "passing");
        let healthy: Vec<&Value> = all.iter().filter(passing).collect();
        assert_eq!(node(&graph, &id)["state"], format!("{} of {} passing", healthy.len(), all.len()), "{id}");
        assert_eq!(node(&graph, &id)["well"], !healthy.is_empty(), "{id}");
        for i in healthy {
            let at = format!("node:{}", i["Node"]["Node"].as_str().unwrap());
            assert!(has_edge(&graph, &id, &at, "on"), "{id} on {at}");
        }
    }
    assert_eq!(
        ids(&graph, "engine"),
        ["engine:directory", "engine:garage", "engine:nomad"].map(str::to_owned).into()
    );

    // All of them: the other one too, and nothing that is not there.
    let all = person.json(shop.path(), &["graph", "--json"]);
    assert!(ids(&all, "app").is_superset(&BTreeSet::from([app.clone(), format!("app:{}", search.name)])));
    let jobs = super::json(stack, format!("{}/v1/jobs", stack.nomad())).await;
    let living: BTreeSet<String> =
        jobs.as_array().unwrap().iter().map(|j| format!("app:{}", j["ID"].as_str().unwrap())).collect();
    let drawn = ids(&all, "app");
    assert!(drawn.is_subset(&living), "{drawn:?} beside {living:?}");

    // Drawn twice it is the same, in both forms; each node is in both.
    for format in ["mermaid", "svg"] {
        let draw = || person.expect(0, shop.path(), &["graph", &shop.name, "--format", format]).out;
        let text = draw();
        assert_eq!(text, draw(), "{format}");
        for n in graph["nodes"].as_array().unwrap() {
            assert!(text.contains(n["label"].as_str().unwrap()), "{format}: {n}");
        }
    }

    // What is needed and gone is shown as such.
    person.expect(0, search.path(), &["delete", "--yes"]);
    let ill = eventually("the service is gone", PATIENCE, async || {
        let graph = person.json(shop.path(), &["graph", &shop.name, "--json"]);
        (node(&graph, &needed)["well"] == false).then_some(graph)
    })
    .await;
    assert!(matches!(node(&ill, &needed)["state"].as_str(), Some("missing" | "0 of 1 passing")), "{ill:#}");
    person.expect(6, shop.path(), &["graph", "nobodys"]);
}
