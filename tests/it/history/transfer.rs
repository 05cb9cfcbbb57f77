//! A release taken out as a file and brought in again: verified, compared, deployed; and files that lie.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use terreau::deploy::transfer::Exported;
use terreau::model::{canonical_json, sha256_hex};
use terreau::store::keys;

use super::{Person, Project, stack};

fn describe(app: &Project, says: &str, content: &str) {
    std::fs::create_dir_all(app.path().join("app")).unwrap();
    std::fs::write(app.path().join("app/file"), content).unwrap();
    let project = format!(
        "build \"archive\" {{\n    dir = \"app\"\n  }}\n  secret \"key\" {{ type = \"generated\" }}\n  env = {{ SAYS = \"{says}\", KEY = secret.key }}"
    );
    app.writes(&project, "", 0);
}

/// The job's hash as a file's own content renders it: what somebody who lies consistently would write.
fn rendered(it: &Exported) -> Exported {
    let project = terreau::descriptor::parse("terreau.hcl", &it.descriptor).unwrap();
    let desired = terreau::render::render(&project, &it.app, &it.bindings).unwrap();
    Exported { job: desired.job.map(|j| sha256_hex(canonical_json(&j.json))), ..it.clone() }.sealed()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_release_comes_back_as_the_same_job_and_a_file_that_lies_is_refused() {
    let stack = stack().await;
    let person = Person::of(stack);
    let app = Project::new("moved");
    let dir = app.path();
    describe(&app, "one", "one");
    person.expect(0, dir, &["deploy", "--message", "as it was"]);
    let file = person.expect(0, dir, &["release", "export", "1"]).out;
    let same = person.expect(0, dir, &["release", "export"]);
    assert_eq!(same.out, file, "the one that runs, where none is named: {}", same.err);
    let path = dir.join("one.json");
    std::fs::write(&path, &file).unwrap();
    let path = path.to_str().unwrap();

    // Nothing of it opens anything.
    let url = format!("{}/v1/kv/{}?raw", stack.consul(), keys::head(&app.name.parse().unwrap()));
    let head: Value = super::json(stack, url).await;
    assert!(!file.contains(head["capability"].as_str().unwrap()));
    let secret = format!("{}/v1/kv/secrets/{}/key?raw", stack.consul(), app.name);
    let secret = stack.http().get(secret).send().await.unwrap().text().await.unwrap();
    assert!(secret.len() >= 16 && !file.contains(&secret));

    describe(&app, "two", "two, and longer");
    person.expect(0, dir, &["deploy"]);
    let looked = person.expect(0, dir, &["release", "import", path]);
    assert!(looked.err.contains("its hashes hold, and it renders to the same job"), "{}", looked.err);
    assert!(looked.out.contains("env SAYS\n") && looked.out.contains("artifact ("), "{}", looked.out);
    // What it takes away is said before anything is changed.
    let text = std::fs::read_to_string(dir.join("terreau.hcl")).unwrap();
    let more = text.replace("SAYS = ", "MORE = \"1\", SAYS = ");
    std::fs::write(dir.join("terreau.hcl"), more).unwrap();
    person.expect(0, dir, &["deploy"]);
    let back = person.expect(0, dir, &["release", "import", path, "--deploy"]);
    assert!(back.err.contains("release 4 runs"), "{}", back.err);
    let (said, done) =
        (back.err.find("takes away what the app has now: env MORE removed"), back.err.find("[1/"));
    assert!(said.is_some() && said < done, "{}", back.err);
    assert!(back.err.contains("\n  env SAYS\n"), "{}", back.err);
    let same = person.expect(0, dir, &["diff", "1", "4", "--job"]);
    assert!(same.out.is_empty() && same.err.contains("nothing differs"), "{}{}", same.out, same.err);
    let again: Value = serde_json::from_str(&person.expect(0, dir, &["release", "export", "4"]).out).unwrap();
    let first: Value = serde_json::from_str(&file).unwrap();
    for field in ["job", "descriptor", "bindings"] {
        assert_eq!(again[field], first[field], "{field}");
    }
    let listed = person.json(dir, &["releases", "--json"]);
    assert_eq!(listed["releases"][0]["message"], "as it was", "{listed}");
    let none = person.expect(0, dir, &["release", "import", path, "--deploy"]);
    assert!(none.err.contains("no changes: release 4"), "{}", none.err);

    // Files that lie.
    let good: Exported = serde_json::from_str(&file).unwrap();
    let mut of_others = good.clone();
    of_others.app = "somebody".parse().unwrap();
    let mut other_job = good.clone();
    other_job.bindings.cluster.volumes_root = "/elsewhere".into();
    other_job.bindings.cluster.proxy_reaction = Duration::from_secs(77);
    let mut climbs = good.clone();
    climbs.bindings.artifact.as_mut().unwrap().parts[0].ext = "../../../x".into();
    let mut huge = good.clone();
    huge.bindings.artifact.as_mut().unwrap().parts[0].entries = u32::MAX;
    let mut absent = good.clone();
    absent.bindings.artifact.as_mut().unwrap().parts[0].sha256 = sha256_hex("nowhere");
    let text = |it: &Exported| serde_json::to_string(it).unwrap();
    let lies = [
        ("changed", file.replace("SAYS = \\\"one\\\"", "SAYS = \\\"lie\\\""), "it was changed"),
        ("of others", text(&of_others.sealed()), "its descriptor is of"),
        ("another job", text(&other_job.clone().sealed()), "rendered again, its job is another one"),
        ("climbs", text(&climbs.sealed()), "are not taken"),
        ("huge", text(&huge.sealed()), ""),
        ("absent", text(&rendered(&absent)), ""),
        ("a field more", file.replacen('{', "{\"more\": 1,", 1), "no exported release"),
        ("cut", file[..file.len() / 2].to_owned(), "no exported release"),
        ("newer", file.replace("\"v\": 1", "\"v\": 2"), "no exported release"),
        ("nothing", String::new(), "no exported release"),
        ("large", "x".repeat((1 << 20) + 1), "larger than any exported release"),
    ];
    for (what, text, why) in lies {
        let lie: PathBuf = dir.join("lie.json");
        std::fs::write(&lie, text).unwrap();
        let refused = person.asks(dir, &["release", "import", lie.to_str().unwrap(), "--deploy"]);
        assert_eq!(refused.code, 1, "{what}: {}{}", refused.out, refused.err);
        assert!(refused.err.contains(why), "{what}: {}", refused.err);
        assert!(!refused.err.contains(&secret), "{what}");
    }
    assert_eq!(person.json(dir, &["releases", "--json"])["releases"].as_array().unwrap().len(), 4);

    // One of a cluster with other settings says which.
    let elsewhere = dir.join("elsewhere.json");
    std::fs::write(&elsewhere, text(&rendered(&other_job))).unwrap();
    let looked = person.expect(0, dir, &["release", "import", elsewhere.to_str().unwrap()]);
    for setting in ["proxy_reaction", "volumes_root"] {
        assert!(looked.err.contains(&format!("another setting: {setting}")), "{}", looked.err);
    }
    person.expect(6, dir, &["release", "export", "9"]);
}

/// An app of one process that nobody reaches: nothing of it stands in the way of another one's.
fn describe_worker(app: &Project, says: &str) {
    let text = format!(
        "project \"{}\" {{\n  process \"worker\" {{\n    command = [\"/bin/sleep\", \"infinity\"]\n  }}\n  env = {{ SAYS = \"{says}\" }}\n}}\n",
        app.name
    );
    std::fs::write(app.path().join("terreau.hcl"), text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_another_app_is_refused_and_of_another_environment_its_content_alone_comes() {
    let stack = stack().await;
    let person = Person::of(stack);
    let (from, to) = (Project::new("given"), Project::new("taken"));
    for app in [&from, &to] {
        describe_worker(app, "there");
        person.expect(0, app.path(), &["deploy"]);
    }
    person.expect(0, from.path(), &["env", "set", "MODE=canary-there"]);
    let file = person.expect(0, from.path(), &["release", "export"]).out;
    assert!(!file.contains("canary-there"), "{file}");
    let write = |app: &Project, text: &str| {
        let path = app.path().join("release.json");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };

    // Another project's is not this one's, whatever is written over its name.
    let path = write(&to, &file);
    for args in [&["release", "import", &path][..], &["release", "import", &path, "--deploy"]] {
        let refused = person.expect(1, to.path(), args);
        let why = format!("it is a release of {}, and the request names {}", from.name, to.name);
        assert!(
            refused.err.contains(&why) && refused.err.contains("its own project alone"),
            "{}",
            refused.err
        );
    }
    let path = write(&to, &file.replace(&from.name, &to.name));
    let refused = person.expect(1, to.path(), &["release", "import", &path, "--deploy"]);
    assert!(refused.err.contains("it was changed"), "{}", refused.err);
    assert_eq!(person.json(to.path(), &["releases", "--json"])["releases"].as_array().unwrap().len(), 1);

    // Of the same project elsewhere the content comes, verified, and what is set here stays.
    let here = format!("{}@test", from.name);
    describe_worker(&from, "here");
    person.expect(0, from.path(), &["deploy", &here]);
    person.expect(0, from.path(), &["env", "set", "MODE=canary-here", "--app", &here]);
    let path = write(&from, &file);
    let looked = person.expect(0, from.path(), &["release", "import", &path, "--app", &here]);
    let verified = format!("release 2 of {}: its hashes hold, and it renders to the same job", from.name);
    assert!(looked.err.contains(&verified), "{}", looked.err);
    assert_eq!(looked.out, "env SAYS\n");
    let came = person.expect(0, from.path(), &["release", "import", &path, "--app", &here, "--deploy"]);
    assert!(came.err.contains("release 3 runs"), "{}", came.err);
    crate::harness::eventually("it runs with both", super::PATIENCE, async || {
        let says = person.asks(from.path(), &["exec", &here, "--", "/bin/sh", "-c", "echo $SAYS $MODE"]);
        (says.out.trim() == "there canary-here").then_some(())
    })
    .await;
    assert!(file.contains("\\\"there\\\""), "{file}");
    let lie = write(&from, &file.replace("\\\"there\\\"", "\\\"lie\\\""));
    let refused = person.expect(1, from.path(), &["release", "import", &lie, "--app", &here, "--deploy"]);
    assert!(refused.err.contains("it was changed"), "{}", refused.err);
}
