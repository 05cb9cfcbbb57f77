//! What a plan ends with: 0 where nothing would change, 10 where something would, 5 where anything is in the way; and a
//! deploy that cannot be is refused before anything is uploaded.

use serde_json::Value;

use crate::harness::{Stack, StackOptions};
use crate::tour::{Person, Project};

/// What stands in the way, by `plan --json`.
fn in_the_way(person: &Person, project: &Project) -> Vec<String> {
    let plan = person.expect(5, project.path(), &["plan", "--json"]);
    let plan: Value = serde_json::from_str(&plan.out).unwrap();
    plan["obstacles"].as_array().unwrap().iter().map(|o| o["code"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_ends_with_5_whatever_is_in_the_way_and_its_deploy_is_refused_before_the_upload() {
    let stack: &'static Stack = Box::leak(Box::new(Stack::start(StackOptions::with_agent()).await));
    let person = Person::of(stack);
    let first = Project::new();
    person.expect(10, first.path(), &["plan"]);
    person.deploys(first.path());
    person.expect(0, first.path(), &["plan"]);

    let add = |project: &Project, block: &str| {
        let file = project.path().join("terreau.hcl");
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.trim_end().strip_suffix('}').unwrap().to_owned();
        std::fs::write(file, format!("{text}  {block}\n}}\n")).unwrap();
    };
    let host = Project::new();
    host.describe(&first.host(), "");
    let service = Project::new();
    service.describe(&service.host(), "SEARCH = service.nowhere-at-all");
    let secret = Project::new();
    add(
        &secret,
        "secret \"smtp\" {\n    type        = \"user\"\n    description = \"of the mail service\"\n  }",
    );
    let both = Project::new();
    both.describe(&first.host(), "SEARCH = service.nowhere-at-all");
    for (project, codes, exit, words) in [
        (&host, &["name_not_available"][..], 5, "is not available"),
        (&service, &["missing"], 1, "needs the service nowhere-at-all"),
        (&secret, &["missing"], 1, "needs secrets that have no value yet"),
        (&both, &["name_not_available", "missing"], 5, "needs the service nowhere-at-all"),
    ] {
        assert_eq!(in_the_way(&person, project), codes);
        let said = person.expect(5, project.path(), &["plan"]);
        assert!(said.out.contains("in the way: "), "{}", said.out);
        let refused = person.expect(exit, project.path(), &["deploy"]);
        assert!(refused.err.contains(words), "{}", refused.err);
        assert!(!refused.err.contains("uploaded") && !refused.err.contains("artifact"), "{}", refused.err);
    }
    // In the words of the deploy itself.
    let refused = person.expect(5, host.path(), &["deploy"]).err;
    let plan = person.asks(host.path(), &["plan", "--out", "it.plan"], "");
    assert_eq!(plan.code, 5, "{}", plan.err);
    let late = person.expect(5, host.path(), &["deploy", "--plan", "it.plan"]).err;
    assert_eq!(refused, late);

    // While a change of it is under way, whoever asks; and nothing is kept from a deploy that waits for its turn.
    first.version("slow-8");
    person.expect(0, first.path(), &["deploy", "--detach"]);
    let under_way = person.expect(5, first.path(), &["plan"]);
    assert!(
        under_way.err.contains("is under way") && under_way.err.contains("operations follow"),
        "{}",
        under_way.err
    );
    first.version("two");
    let waited = person.expect(0, first.path(), &["deploy"]);
    assert!(waited.err.contains("is under way"), "{}", waited.err);

    // A name that rests.
    let gone = first.host();
    person.expect(0, first.path(), &["delete", "--yes"]);
    for args in [&["plan"][..], &["deploy"]] {
        let rests = person.expect(5, first.path(), args);
        assert!(rests.err.contains("rests until") && !rests.err.contains("uploaded"), "{}", rests.err);
    }
    // Its host rests as well, and is nobody else's until then.
    host.describe(&gone, "");
    let rests = person.expect(5, host.path(), &["deploy"]);
    assert!(rests.err.contains(&format!("host {gone} is not available")), "{}", rests.err);
    assert!(!rests.err.contains("uploaded"), "{}", rests.err);
}
