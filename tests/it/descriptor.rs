//! The descriptor: right ones become projects, wrong ones get their exact answer, hostile ones an answer at all.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use terreau::descriptor::{self, Faults, Paint, Severity, code};
use terreau::model::project::{Build, CheckKind, Logs, Owner, RestartMode, SecretKind, UseKind};
use terreau::model::text::{Piece, Reference};

mod cases;

const FULL: &str = include_str!("descriptor/full.hcl");

/// Repository's folder, at compile time.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn faults(text: &str) -> Faults {
    descriptor::check("terreau.hcl", text).faults
}

/// `line:column-end code`
fn places(faults: &Faults) -> Vec<String> {
    faults.iter().map(|f| format!("{}:{}-{} {}", f.line, f.column, f.end_column, f.code)).collect()
}

#[test]
fn a_full_descriptor_says_what_it_says() {
    let checked = descriptor::check("terreau.hcl", FULL);
    assert!(checked.faults.is_empty(), "{}", checked.faults);
    assert!(checked.warnings.is_empty(), "{}", checked.warnings);
    let project = checked.project.unwrap();
    assert_eq!(project.name.as_str(), "carnet");
    assert!(matches!(project.owners.as_slice(), [Owner::User(_), Owner::Group(g)] if g.as_str() == "devs"));
    assert_eq!(project.build, Some(Build::Archive { dir: "dist".to_owned() }));
    let web = &project.processes[0];
    assert_eq!((web.instances, web.cpu, web.memory), (2, 200, 256));
    assert_eq!(web.stop_timeout, Duration::from_secs(20));
    assert_eq!(web.command[2].0, [Piece::Ref(Reference::Port("http".parse().unwrap()))]);
    assert_eq!(web.checks.len(), 2);
    assert_eq!(web.checks[0].kind, CheckKind::Http { path: "/healthz".to_owned() });
    assert_eq!(web.checks[0].grace, Some(Duration::from_secs(60)));
    assert_eq!(web.routes[0].port.as_str(), "http");
    assert_eq!(web.routes[1].path.as_deref(), Some("/api"));
    assert_eq!(web.routes[1].headers[1].1, "default-src 'self'; img-src *");
    assert_eq!(web.restart.as_ref().unwrap().mode, RestartMode::Fail);
    assert_eq!(web.update.as_ref().unwrap().min_healthy_time, Some(Duration::from_millis(1500)));
    assert_eq!(web.logs, Some(Logs { max_files: 20, max_file_size: 50 }));
    let store = &project.processes[1];
    assert_eq!(store.volumes[0].node.as_deref(), Some("piranha"));
    assert_eq!(store.ports[0].fixed, Some(5232));
    assert_eq!(store.driver.as_ref().unwrap().config["ports"], serde_json::json!(["dav_port"]));
    // A port and no check: a TCP check.
    assert_eq!(store.checks[0].kind, CheckKind::Tcp);
    assert_eq!(project.secrets[0].kind, SecretKind::Generated { length: 64 });
    let UseKind::Bucket { max_size, max_objects } = project.uses[1].kind else { panic!() };
    assert_eq!((max_size, max_objects), (Some(50 << 20), Some(10_000)));
    let file = &project.files[0];
    assert_eq!(file.mode, "0640");
    let text: Vec<&Reference> = file.content.references().collect();
    assert_eq!(text.len(), 3);
    // `<<-` takes the indentation away; `$${` and `%%{` are literal.
    let Piece::Literal(first) = &file.content.0[0] else { panic!() };
    assert!(first.starts_with("[auth]\n"), "{first:?}");
    let last = format!("{:?}", file.content.0.last());
    assert!(last.contains("${literal} %{too}"), "{last}");
}

#[test]
fn the_shortest_descriptor_gets_the_defaults() {
    let text = "project \"a\" {\n  process \"web\" {\n    command = [\"/bin/x\"]\n  }\n}\n";
    let project = descriptor::parse("terreau.hcl", text).unwrap();
    let web = &project.processes[0];
    assert_eq!((web.instances, web.cpu, web.memory), (1, 100, 128));
    assert_eq!(web.stop_timeout, Duration::from_secs(10));
    assert!(web.checks.is_empty() && project.build.is_none());
}

#[test]
fn every_wrong_descriptor_gets_its_exact_answer() {
    let cases = cases::all();
    assert!(cases.len() >= 40, "only {} cases", cases.len());
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path("snapshots");
    settings.bind(|| {
        for (name, text) in cases {
            let checked = descriptor::check("terreau.hcl", &text);
            assert!(checked.project.is_none() && !checked.faults.is_empty(), "{name} was accepted");
            insta::assert_snapshot!(name, checked.faults.pretty(Paint::Plain));
        }
    });
}

#[test]
fn warnings_do_not_refuse() {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path("snapshots");
    settings.bind(|| {
        for (name, text) in cases::suspicious() {
            let checked = descriptor::check("terreau.hcl", &text);
            assert!(checked.project.is_some(), "{name}: {}", checked.faults);
            assert!(checked.warnings.iter().all(|w| w.severity == Severity::Warning));
            insta::assert_snapshot!(name, checked.warnings.pretty(Paint::Plain));
        }
    });
}

#[test]
fn all_faults_come_at_once_in_the_order_of_the_file_and_none_twice() {
    let text = "project \"a\" {\n  owner = 3\n  process \"web\" {\n    command = [\"x\", \"${secret.no}\"]\n    cpu = \"100\"\n    replicas = 2\n    port \"http\" {}\n    route \"A.example.org\" {}\n  }\n  secret \"k\" {}\n}\n";
    let found = faults(text);
    assert_eq!(
        places(&found),
        [
            "2:3-8 unknown",
            "4:22-34 secret",
            "4:22-34 reference",
            "5:11-16 type",
            "6:5-13 unknown",
            "8:11-26 name",
            "10:3-13 missing",
        ]
    );
    let mut seen = std::collections::BTreeSet::new();
    for f in &found {
        assert!(seen.insert((f.line, f.column, f.message.clone())), "twice: {f}");
    }
}

#[test]
fn a_syntax_fault_does_not_hide_the_others() {
    let text = "project \"a\" {\n  process \"web\" {\n    command = [\"x\" \"y\"]\n    cpu = = 3\n    memory = 64\n    memory = 65\n    memory = 66\n    replicas = 2\n  }\n}\n";
    assert_eq!(
        places(&faults(text)),
        ["3:20-21 syntax", "4:11-12 syntax", "6:5-11 duplicate", "7:5-11 duplicate", "8:5-13 unknown"]
    );
}

#[test]
fn columns_count_characters_whatever_the_bytes() {
    let text = "project \"a\" {\n  process \"web\" {\n    command = [\"é日本🌱\", nope]\n  }\n}\n";
    let found = faults(text);
    assert_eq!(places(&found), ["3:24-28 reference"]);
    let printed = found.0[0].pretty(Paint::Plain);
    let lines: Vec<&str> = printed.lines().collect();
    let caret = lines[4].chars().position(|c| c == '^').unwrap();
    let word = lines[3].split("nope").next().unwrap().chars().count();
    assert_eq!(caret, word, "{printed}");
}

#[test]
fn crlf_and_byte_order_marks_change_nothing() {
    let crlf = format!("\u{feff}{}", FULL.replace('\n', "\r\n"));
    assert_eq!(descriptor::parse("x", &crlf).unwrap(), descriptor::parse("x", FULL).unwrap());
    let wrong = "project \"a\" {\r\n  owner = 1\r\n}\r\n";
    assert_eq!(places(&faults(&format!("\u{feff}{wrong}"))), places(&faults(&wrong.replace('\r', ""))));
    assert!(!faults(wrong).0[0].source_line.contains('\r'));
}

#[test]
fn bytes_that_are_not_utf8_are_a_fault_at_their_place() {
    let found = descriptor::parse_bytes("terreau.hcl", b"project \"a\" {\n  x = \"\xff\"\n}\n").unwrap_err();
    assert_eq!(places(&found), ["2:8-9 syntax"]);
}

#[test]
fn a_hostile_line_cannot_steer_the_terminal() {
    let text = "project \"a\" {\n  \"\u{1b}[2J\u{202e}\" = 1\n  own\u{e9}rs = \"\u{1b}]0;x\u{7}\"\n}\n";
    let printed = descriptor::parse("evil\u{1b}[31m", text).unwrap_err().pretty(Paint::Plain);
    assert!(!printed.chars().any(|c| c == '\u{1b}' || c == '\u{7}' || c == '\u{202e}'), "{printed:?}");
}

#[test]
fn faults_are_data_for_programs() {
    let found =
        faults("project \"a\" {\n  process \"web\" {\n    command  = [\"x\"]\n    replicas = 2\n  }\n}\n");
    assert_eq!(
        serde_json::to_value(&found).unwrap(),
        serde_json::json!([{
            "severity": "error", "code": "unknown", "message": "process has no setting `replicas`",
            "file": "terreau.hcl", "line": 4, "column": 5, "end_column": 13, "source_line": "    replicas = 2",
            "help": null, "suggestion": "instances",
        }])
    );
}

#[test]
fn hostile_nesting_is_refused_on_a_small_stack() {
    let mut texts: Vec<String> = Vec::new();
    // Just what the bounds let through, and far more.
    for n in [3, 6, 9, 11, 12, 13, 20, 23, 24, 25, 1000] {
        for (open, close) in [
            ("[", "]"),
            ("(", ")"),
            ("{a=", "}"),
            ("\"${", "}\""),
            ("!", ""),
            ("-", ""),
            ("b?", ":1"),
            ("b?1:", ""),
            ("f(", ")"),
            ("x[", "]"),
            ("(!-!-!-!-", ")"),
            ("[for x in ", ": x]"),
            ("<<E\n${", "}\nE\n"),
            ("\"%{if a}", "%{endif}\""),
            ("\"%{if a}${", "}%{endif}\""),
        ] {
            texts.push(format!("a = {}1{}", open.repeat(n), close.repeat(n)));
            texts.push(format!("a = {}", open.repeat(n)));
        }
        texts.push(format!("{}{}", "a {\n".repeat(n), "}\n".repeat(n)));
    }
    texts.extend([
        "a {".repeat(100_000),
        "a {\n".repeat(60_000),
        format!("a = {}", "[".repeat(250_000)),
        format!("a = {}", "(".repeat(250_000)),
        format!("a = {}", "{a=".repeat(80_000)),
        format!("a = {}", "\"${".repeat(80_000)),
        format!("a = {}1", "!".repeat(250_000)),
        format!("a = {}1", "-".repeat(250_000)),
        format!("a = 1{}", "+1".repeat(120_000)),
        format!("a = b{}", ".b".repeat(120_000)),
        format!("a = b{}", "[0]".repeat(80_000)),
        format!("a = {}", "b?".repeat(120_000)),
        format!("a = {}", "b?c:".repeat(60_000)),
        format!("a = <<E\n{}", "%{if a}".repeat(30_000)),
        format!("a = <<E\n{}", "${<<E\n".repeat(30_000)),
        format!("a = [{}]", "1,".repeat(120_000)),
        format!("a = {{{}}}", (0..40_000).map(|n| format!("a{n}=1,")).collect::<String>()),
        format!("a = \"{}\"", "$".repeat(250_000)),
        format!("a = <<E\n{}E\n", "\n  ".repeat(80_000)),
        "a = 1\n".repeat(40_000),
        "a {}\n".repeat(50_000),
        "a = = 1\n".repeat(30_000),
        "\"".repeat(250_000),
        "/*".repeat(120_000),
        "<<".repeat(120_000),
        "\u{feff}".repeat(80_000),
        "\0".repeat(250_000),
    ]);
    for text in texts {
        let begin: String = text.chars().take(20).collect();
        let start = Instant::now();
        // Half of what a worker thread of the agent has; frames are largest without optimisation.
        let found = std::thread::Builder::new()
            .stack_size(1024 * 1024)
            .spawn(move || faults(&text))
            .unwrap()
            .join()
            .unwrap();
        assert!(!found.is_empty(), "{begin}");
        assert!(found.len() <= 4_100, "{begin}: {} faults", found.len());
        assert!(start.elapsed() < Duration::from_secs(5), "{begin}: {:?}", start.elapsed());
    }
}

#[test]
fn a_file_that_is_too_large_is_refused_before_it_is_read() {
    let text = format!("project \"a\" {{\n}}\n#{}", "x".repeat(descriptor::MAX_BYTES));
    let found = faults(&text);
    assert_eq!(found.0[0].code, code::LIMIT);
    assert_eq!(found.len(), 1);
}

#[test]
fn the_reference_names_every_setting_and_its_examples_are_accepted() {
    let doc = std::fs::read_to_string(format!("{ROOT}/docs/descriptor.md")).unwrap();
    let mut examples = 0;
    for block in doc.split("```hcl\n").skip(1) {
        let text = block.split("```").next().unwrap();
        let checked = descriptor::check("docs/descriptor.md", text);
        assert!(checked.faults.is_empty(), "{text}\n{}", checked.faults);
        assert!(checked.warnings.is_empty(), "{text}\n{}", checked.warnings);
        examples += 1;
    }
    assert!(examples >= 4, "only {examples} examples");
    for kind in descriptor::grammar::ALL {
        for key in kind.settings.iter().chain(kind.blocks) {
            assert!(
                doc.contains(&format!("`{key}`")),
                "`{key}` of {} is not in docs/descriptor.md",
                kind.name
            );
        }
    }
    for (driver, keys) in descriptor::allowed_driver_settings() {
        for key in keys {
            assert!(doc.contains(&format!("`{key}`")), "`{key}` of {driver} is not in docs/descriptor.md");
        }
    }
}

#[test]
fn every_example_of_the_repository_is_accepted() {
    let mut seen = 0;
    for entry in std::fs::read_dir(format!("{ROOT}/examples")).unwrap() {
        let path = entry.unwrap().path().join("terreau.hcl");
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let checked = descriptor::check(&path.to_string_lossy(), &text);
        assert!(checked.faults.is_empty(), "{}", checked.faults);
        if let Some(Build::Static { dir, index, error }) = &checked.project.unwrap().build {
            for page in [Some(index), error.as_ref()].into_iter().flatten() {
                assert!(path.with_file_name(dir).join(page).is_file(), "{} has no {page}", path.display());
            }
        }
        seen += 1;
    }
    assert!(seen >= 1);
}

#[test]
fn a_dozen_lines_take_well_under_a_millisecond() {
    let text = "project \"carnet\" {\n  build \"archive\" {}\n  process \"web\" {\n    command = [\"./server\", \"--port\", \"${port.http}\"]\n    port \"http\" {}\n    check \"http\" { path = \"/healthz\" }\n    route \"carnet.example.org\" {}\n    env { LDAP = uses.ldap.url }\n  }\n  uses \"ldap\" {}\n}\n";
    let mut best = Duration::MAX;
    for _ in 0..50 {
        let start = Instant::now();
        descriptor::parse("terreau.hcl", text).unwrap();
        best = best.min(start.elapsed());
    }
    // Without optimisation, on a busy machine; optimised it is a tenth of that.
    assert!(best < Duration::from_millis(2), "{best:?}");
}

/// Words that the grammar, or an attacker, would put next to each other.
const WORDS: [&str; 48] = [
    "project",
    "process",
    "\"web\"",
    "\"a\"",
    "{",
    "}",
    "{\n",
    "}\n",
    "\n",
    "=",
    " = ",
    "[",
    "]",
    ",",
    "\"",
    "${",
    "%{",
    "$${",
    "}",
    "port",
    "\"http\"",
    "env",
    "secret.x",
    "uses.ldap.url",
    "<<EOT\n",
    "<<-EOT\n",
    "EOT\n",
    "#",
    "/*",
    "*/",
    "//",
    "true",
    "null",
    "-1",
    "1e999",
    "99999999999999999999",
    "\\u12",
    "\\",
    "command",
    "static",
    "route",
    "\"*\"",
    "?",
    ":",
    "for",
    "if",
    "é🌱",
    "\u{feff}",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_get_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        answered(&bytes)?;
    }

    #[test]
    fn any_words_get_an_answer(words in proptest::collection::vec(proptest::sample::select(&WORDS[..]), 0..120)) {
        answered(words.join(" ").as_bytes())?;
        answered(words.concat().as_bytes())?;
    }

    #[test]
    fn a_good_descriptor_with_mutations_gets_an_answer(
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), 0_usize..12, proptest::sample::select(&WORDS[..])), 1..6)
    ) {
        let mut text = FULL.to_owned();
        for (at, cut, word) in edits {
            let chars: Vec<usize> = text.char_indices().map(|(i, _)| i).collect();
            if chars.is_empty() { break; }
            let n = at.index(chars.len());
            let end = chars.get(n + cut).copied().unwrap_or(text.len());
            text.replace_range(chars[n]..end, word);
        }
        answered(text.as_bytes())?;
    }
}

/// What is accepted here is accepted by the renderer: `validate` must say what the server says.
fn rendered(project: &terreau::model::Project) -> Result<(), String> {
    let placement = terreau::model::Placement::production(project.name.clone());
    let cluster = terreau::model::Cluster::default();
    let (bindings, _) = terreau::render::placeholders(project, &placement, &cluster);
    terreau::render::render(project, &placement, &bindings).map(|_| ()).map_err(|e| e.to_string())
}

#[test]
fn what_is_accepted_can_be_rendered() {
    let examples = ["probe", "radicale", "static"].map(|e| format!("{ROOT}/examples/{e}/terreau.hcl"));
    let mut texts: Vec<String> = examples.iter().filter_map(|p| std::fs::read_to_string(p).ok()).collect();
    texts.push(FULL.to_owned());
    texts.extend(cases::suspicious().into_iter().map(|(_, t)| t));
    let doc = std::fs::read_to_string(format!("{ROOT}/docs/descriptor.md")).unwrap();
    texts.extend(doc.split("```hcl\n").skip(1).filter_map(|b| b.split("```").next()).map(str::to_owned));
    for text in texts {
        let project = descriptor::parse("terreau.hcl", &text).unwrap();
        assert_eq!(rendered(&project), Ok(()), "{text}");
    }
}

/// An answer: a project, or faults that point into the text; each time the same.
fn answered(bytes: &[u8]) -> Result<(), TestCaseError> {
    let start = Instant::now();
    let answer = descriptor::parse_bytes("terreau.hcl", bytes);
    prop_assert!(start.elapsed() < Duration::from_secs(2));
    if let Ok(project) = &answer {
        prop_assert_eq!(rendered(project), Ok(()));
    }
    if let Err(found) = &answer {
        prop_assert!(!found.is_empty());
        let lines = bytes.split(|b| *b == b'\n').count();
        for (n, f) in found.iter().enumerate() {
            prop_assert!(f.line >= 1 && f.line as usize <= lines && f.column >= 1 && f.end_column > f.column);
            prop_assert!(n == 0 || found.0[n - 1].line <= f.line);
        }
        let _ = found.to_string();
    }
    prop_assert_eq!(answer, descriptor::parse_bytes("terreau.hcl", bytes));
    Ok(())
}
