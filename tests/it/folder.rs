//! What the folder itself says: whether that which is started is in it, and what `init` makes of it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::cli::Home;
use crate::login::{log_in, stack};

fn describe(dir: &Path, command: &str) {
    let text = format!(
        "project \"carnet\" {{\n  build \"archive\" {{\n    dir = \"app\"\n  }}\n  process \"web\" {{\n    command = [{command}]\n  }}\n}}\n"
    );
    std::fs::create_dir_all(dir.join("app/bin")).unwrap();
    std::fs::write(dir.join("terreau.hcl"), text).unwrap();
}

#[test]
fn validate_warns_where_what_is_started_is_not_in_the_folder() {
    let home = Home::new();
    let dir = home.dir.path().join("garden");
    describe(&dir, "\"./server\"");
    let warned = home.run_in(&dir, &["validate"], "");
    assert_eq!(warned.code, 0, "{}", warned.err);
    assert!(
        warned.err.contains("starts ./server, and there is no") && warned.err.contains("app/server"),
        "{}",
        warned.err
    );
    let json = home.run_in(&dir, &["validate", "--json"], "");
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let fault = &json["warnings"][0];
    assert_eq!(
        (&json["valid"], &fault["code"], &fault["line"], &fault["column"]),
        (&true.into(), &"suspicious".into(), &6.into(), &16.into())
    );

    std::fs::write(dir.join("app/server"), "#!/bin/sh\n").unwrap();
    let warned = home.run_in(&dir, &["validate"], "");
    assert!(warned.err.contains("may not be executed") && warned.err.contains("chmod +x"), "{}", warned.err);
    std::fs::set_permissions(dir.join("app/server"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let cases = [
        ("\"./server\"", ""),
        ("\"bin\"", ""),
        ("\"./bin\"", "is a folder"),
        ("\"python3\", \"server.py\"", "there is no ./app/server.py"),
        ("\"python3\", \"-m\", \"http.server\"", ""),
        ("\"/bin/none\"", ""),
        ("\"sleep\", \"1.5\"", ""),
        ("\"bin/tool\", \"x.y\"", "there is no ./app/bin/tool"),
    ];
    for (command, why) in cases {
        describe(&dir, command);
        let said = home.run_in(&dir, &["validate"], "");
        assert_eq!(said.code, 0, "{}", said.err);
        assert_eq!(said.err.contains("warning"), !why.is_empty(), "{command}: {}", said.err);
        assert!(said.err.contains(why), "{why} in {}", said.err);
    }
}

#[test]
fn validate_warns_where_something_private_would_be_packed() {
    let home = Home::new();
    let dir = home.dir.path().join("garden");
    describe(&dir, "\"sleep\", \"9\"");
    std::fs::create_dir_all(dir.join("app/keys")).unwrap();
    for file in ["app/.env", "app/.env.example", "app/keys/id_ed25519", "app/readme"] {
        std::fs::write(dir.join(file), "SAYS=canary-private").unwrap();
    }
    let said = home.run_in(&dir, &["validate"], "");
    assert_eq!(said.code, 0, "{}", said.err);
    for wanted in
        [".env, keys/id_ed25519 would be packed", ".terreauignore", "terreau env import", "terreau.hcl:2:"]
    {
        assert!(said.err.contains(wanted), "{wanted} in {}", said.err);
    }
    assert!(!said.err.contains("example") && !said.err.contains("canary"), "{}", said.err);
    std::fs::write(dir.join("app/.terreauignore"), ".env\nkeys\n").unwrap();
    let said = home.run_in(&dir, &["validate"], "");
    assert!(said.code == 0 && !said.err.contains("warning"), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_only_the_name_is_not_kept_back_by_a_fault_in_the_descriptor() {
    let stack = stack().await;
    let (user, password) = stack.person();
    let home = Home::new();
    assert_eq!(log_in(&home, stack, &user, password.trim_end()).code, 0);
    let dir = home.dir.path().join("garden");
    describe(&dir, "\"sleep\", \"9\"");
    let text = std::fs::read_to_string(dir.join("terreau.hcl")).unwrap().replace("carnet", "no-such-garden");
    let commands: [&[&str]; 8] = [
        &["status"],
        &["ps"],
        &["stop"],
        &["logs"],
        &["maintenance", "off"],
        &["hook", "list"],
        &["releases"],
        &["env", "list"],
    ];
    for broken in [text.replace("dir = \"app\"", "dir = 3"), text.replace("dir = \"app\"", "dir = <<X\n}}}")]
    {
        std::fs::write(dir.join("terreau.hcl"), &broken).unwrap();
        for args in commands {
            let said = home.run_in(&dir, args, "");
            assert_eq!(said.code, 6, "{args:?}: the app that is meant is not there: {}", said.err);
            assert!(said.err.contains("no-such-garden is meant"), "{args:?}: {}", said.err);
            assert_eq!(said.err.matches("warning").count(), 1, "{args:?}: {}", said.err);
        }
        for args in [&["plan"][..], &["deploy"], &["render"], &["validate"]] {
            let said = home.run_in(&dir, args, "");
            assert_eq!(said.code, 1, "{args:?}: {}", said.err);
            assert!(said.err.contains("is not valid"), "{args:?}: {}", said.err);
        }
    }
    std::fs::write(dir.join("terreau.hcl"), "proj \"no-such-garden\" {\n  x = <<X\n").unwrap();
    let said = home.run_in(&dir, &["status"], "");
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("hide the project's name") && said.err.contains("--app APP"), "{}", said.err);
    for args in [
        &["status", "-a", "no-such-garden"][..],
        &["ps", "--app", "no-such-garden"],
        &["logs", "-a", "no-such-garden"],
    ] {
        assert_eq!(home.run_in(&dir, args, "").code, 6, "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_and_deploy_warn_where_what_is_started_is_not_in_the_folder() {
    let stack = stack().await;
    let (user, password) = stack.person();
    let home = Home::new();
    assert_eq!(log_in(&home, stack, &user, password.trim_end()).code, 0);
    let dir = home.dir.path().join("garden");
    describe(&dir, "\"./server\"");
    std::fs::write(dir.join("app/readme"), "").unwrap();
    let plan = home.run_in(&dir, &["plan"], "");
    assert_eq!(plan.code, 10, "{}", plan.err);
    assert!(plan.err.contains("starts ./server, and there is no ./app/server"), "{}", plan.err);
}

#[test]
fn init_finds_an_app_in_a_folder_of_the_folder() {
    let home = Home::new();
    let garden = |name: &str, files: &[&str]| {
        let dir = home.dir.path().join(name);
        for file in files {
            std::fs::create_dir_all(dir.join(file).parent().unwrap()).unwrap();
            std::fs::write(dir.join(file), "").unwrap();
        }
        let made = home.run_in(&dir, &["init"], "");
        assert_eq!(made.code, 0, "{}", made.err);
        let checked = home.run_in(&dir, &["validate"], "");
        assert_eq!(checked.code, 0, "{}", checked.err);
        (std::fs::read_to_string(dir.join("terreau.hcl")).unwrap(), made.err + &checked.err)
    };
    let (text, said) = garden("one", &["README.md", "app/server.py", "node_modules/x/index.js"]);
    assert!(text.contains("dir = \"app\"") && text.contains("[\"python3\", \"server.py\"]"), "{text}");
    assert!(text.contains("there is server.py in app") && !said.contains("warning"), "{said}");
    let (text, said) = garden("here", &["server.js"]);
    assert!(text.contains("dir = \".\"") && text.contains("[\"node\", \"server.js\"]"), "{text}{said}");
    // Which of two nobody can know.
    let (text, said) = garden("two", &["api/server.py", "web/server.js"]);
    assert!(text.contains("./server") && said.contains("several folders may be the app: api, web"), "{said}");
}
