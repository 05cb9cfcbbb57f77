//! The examples that need something special, and what: every other one is typed into a shell as it stands, and ends with 0.

/// How an example is run.
#[derive(Debug, Clone, Copy)]
pub struct Special {
    /// The example.
    pub line: &'static str,
    /// What was done before, in the same shell.
    pub before: &'static str,
    /// What is done afterwards, so that others find what they need.
    pub after: &'static str,
    /// What is typed on its standard input.
    pub typed: &'static str,
    /// The code that it ends with.
    pub code: i32,
    pub how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By a shell, to its end.
    Shell,
    /// On a terminal of its own: this is asked, and answered by what is typed.
    Terminal(&'static str),
    /// It goes on until Ctrl-C, which is pressed once it has said this. Ends with the code.
    Until(&'static str),
    /// By a shell, and by somebody who has logged in for it alone.
    Apart,
}

const PLAIN: Special = Special { line: "", before: "", after: "", typed: "", code: 0, how: How::Shell };

/// What takes things away is run last, in this order.
pub const LATE: &[&str] =
    &["projects", "projects transfer", "owners add", "owners remove", "users remove", "delete"];

/// Another version of what is deployed.
const EDIT: &str = "date +%N > app/version";
const FRESH: &str = "d=$(mktemp -d) && cd $d && mkdir carnet && touch index.html carnet/index.html";

#[rustfmt::skip]
pub const LINES: &[Special] = &[
    // Asks for the password without showing it.
    Special { line: "terreau login --server https://terreau.example.org --user alice", how: How::Terminal(": "), typed: "canary-of-alice\n", ..PLAIN },
    // `pass` is a script here that prints the password.
    Special { line: "pass show terreau | terreau login --server https://terreau.example.org --user alice --password-stdin", how: How::Apart, ..PLAIN },
    Special { line: "terreau logout", how: How::Apart, ..PLAIN },
    Special { line: "terreau server remove terreau.example.org", how: How::Apart, ..PLAIN },
    // In a folder that has no descriptor yet.
    Special { line: "terreau init", before: FRESH, ..PLAIN },
    Special { line: "terreau init carnet --dir ./carnet", before: FRESH, ..PLAIN },
    Special { line: "terreau validate carnet/terreau.hcl --json", before: "mkdir -p carnet && cp terreau.hcl carnet/", ..PLAIN },
    // A plan with changes ends with 10.
    Special { line: "terreau plan --out review.plan", before: EDIT, code: 10, ..PLAIN },
    Special { line: "terreau plan carnet@preproduction --file preproduction.hcl --json", code: 10, ..PLAIN },
    Special { line: "terreau deploy --message \"the search is quicker\"", before: EDIT, ..PLAIN },
    Special {
        line: "terreau deploy carnet --promote",
        before: "cp held.hcl terreau.hcl && date +%N > app/version && terreau deploy", after: "cp plain.hcl terreau.hcl", ..PLAIN
    },
    Special { line: "terreau deploy --plan review.plan", before: "terreau plan --out review.plan || test $? = 10", ..PLAIN },
    Special { line: "terreau deploy --secret-file smtp_password=./smtp.txt", before: "echo a-mailbox-password > smtp.txt", ..PLAIN },
    // A shell, which is left at once.
    Special { line: "terreau exec", typed: "exit\n", ..PLAIN },
    // Ctrl-C ends what goes on.
    Special { line: "terreau logs -f", how: How::Until("serving"), ..PLAIN },
    Special { line: "terreau proxy http", how: How::Until("until Ctrl-C"), ..PLAIN },
    Special { line: "terreau proxy carnet 8080:http", how: How::Until("until Ctrl-C"), ..PLAIN },
    Special { line: "terreau proxy carnet metrics --process worker", how: How::Until("until Ctrl-C"), ..PLAIN },
    Special { line: "terreau agent --config /etc/terreau/agent.toml", how: How::Until("serving"), ..PLAIN },
    Special { line: "terreau agent --config /etc/terreau/agent.toml --set log.level=debug", how: How::Until("serving"), ..PLAIN },
    Special { line: "terreau exec carnet -- sh -c 'cat > import.csv' < import.csv", before: "echo a,b > import.csv", ..PLAIN },
    Special { line: "terreau run carnet -- sh -c 'wc -l' < import.csv", before: "echo a,b > import.csv", ..PLAIN },
    Special { line: "terreau cp ./seed.sql carnet:", before: "echo 'select 1' > seed.sql", ..PLAIN },
    Special { line: "terreau cp ./seed.sql carnet:/tmp/seed.sql", before: "echo 'select 1' > seed.sql", ..PLAIN },
    Special { line: "terreau release import carnet-3.json --deploy", before: EDIT, ..PLAIN },
    // Back to one instance: what follows replaces them one after the other.
    Special { line: "terreau scale carnet web=2 worker=1", after: "terreau scale web=1", ..PLAIN },
    Special { line: "terreau maintenance on --page maintenance.html", before: "echo '<h1>Back soon</h1>' > maintenance.html", ..PLAIN },
    // An operation that has ended can be cancelled no more: it says so, with 5.
    Special { line: "terreau operations cancel 01jc5zxq6e1v2m3n4p5q6r7s8t", code: 5, ..PLAIN },
    // Nobody has noted that hash here.
    Special { line: "terreau audit verify --contains 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", code: 1, ..PLAIN },
    // Nothing is under way: 6.
    Special { line: "terreau operations cancel", code: 6, ..PLAIN },
    Special { line: "terreau operations abandon --force", code: 6, ..PLAIN },
    Special { line: "terreau operations abandon 01jc5zxq6e1v2m3n4p5q6r7s8t --force", code: 5, ..PLAIN },
    Special { line: "terreau operations cancel carnet", code: 6, ..PLAIN },
    Special { line: "terreau operations follow", code: 6, ..PLAIN },
    Special { line: "terreau start", before: "terreau stop", ..PLAIN },
    Special { line: "terreau start carnet@preproduction --detach", before: "terreau stop carnet@preproduction", ..PLAIN },
    Special { line: "terreau stop", after: "terreau start", ..PLAIN },
    // No command of this name runs: 6.
    Special { line: "terreau stop carnet --run 1a2b3c4d", code: 6, ..PLAIN },
    Special { line: "terreau stop carnet@preproduction --no-wait", after: "terreau start carnet@preproduction", ..PLAIN },
    Special { line: "terreau env set MOTD --file motd.txt", before: "echo hello > motd.txt", ..PLAIN },
    Special { line: "terreau env import .env", before: "echo THEME=dark > .env", ..PLAIN },
    // Asks for the value without showing it.
    Special { line: "terreau secret set smtp_password", how: How::Terminal(": "), typed: "another-password\n", ..PLAIN },
    Special { line: "terreau secret set api_key --file key.txt", before: "echo 0123456789 > key.txt", ..PLAIN },
    Special { line: "terreau secret import secrets.env", before: "echo api_key=9876543210 > secrets.env", ..PLAIN },
    Special { line: "terreau hook add https://example.org/signed --secret-stdin < secret", before: "echo whsec_$(head -c 32 /dev/urandom | base64 -w0) > secret", ..PLAIN },
    // What cannot be undone asks.
    Special { line: "terreau projects transfer carnet --to group:gardeners", typed: "y\n", ..PLAIN },
    Special { line: "terreau projects transfer carnet --to alice", typed: "y\n", ..PLAIN },
    Special { line: "terreau owners remove alice --app carnet@preproduction", before: "terreau owners add alice --app carnet@preproduction", ..PLAIN },
    Special { line: "terreau users remove alice", before: "terreau projects transfer carnet --to me --yes", typed: "alice\n", ..PLAIN },
    Special { line: "terreau users remove alice --transfer-to bob", typed: "alice\n", ..PLAIN },
    Special { line: "terreau users remove alice --cascade", typed: "alice\n", ..PLAIN },
    Special { line: "terreau dev reset", typed: "yes\n", ..PLAIN },
    Special { line: "terreau delete carnet", typed: "carnet\n", ..PLAIN },
];

/// How an example is run.
pub fn special(line: &str) -> Special {
    LINES.iter().find(|s| s.line == line).copied().unwrap_or(PLAIN)
}

/// How a command is run with `--json` that has no example of it: as people would, in the folder of `carnet`, before anything
/// is taken away. `operations cancel` and `abandon` need a change under way: `tests/it/history` looks at what they print.
pub fn json_line(path: &str) -> Option<&'static str> {
    Some(match path {
        "login" => {
            "echo canary-of-alice | terreau login --server https://terreau.example.org --user alice --password-stdin --json --config-dir $(mktemp -d)"
        }
        "whoami" => "terreau whoami --json",
        "validate" => "terreau validate --json",
        "render" => "terreau render --json",
        "plan" => "date +%N > app/version; terreau plan --json",
        "deploy" => "terreau deploy --json",
        // Of an app that is there for it alone.
        "delete" => {
            "mkdir -p short && echo '<p>' > short/index.html && terreau init short --dir short > /dev/null && cd short && terreau deploy -q > /dev/null && terreau delete --yes --json"
        }
        "status" => "terreau status --json",
        "logs" => "terreau logs --json --tail 5",
        "proxy" => "terreau proxy http --json",
        "open" => "terreau open --json",
        "releases" => "terreau releases --json",
        "release import" => "terreau release export 1 > one.json && terreau release import one.json --json",
        "diff" => "terreau diff 1 2 --job --json",
        "rollback" => "terreau rollback --json",
        "ps" => "terreau ps --all --json",
        "top" => "terreau top --json",
        "events" => "terreau events --json",
        "hook add" => "terreau hook add https://example.org/told/json --json",
        "hook list" => "terreau hook list --json",
        "hook remove" => "terreau hook remove 3f9a --json",
        "start" => "terreau start --json",
        "stop" => "terreau stop carnet@preproduction --json",
        "restart" => "terreau restart --process worker --json",
        "scale" => "terreau scale worker=1 --json",
        "maintenance on" => "terreau maintenance on --json",
        "maintenance off" => "terreau maintenance off --json",
        "graph" => "terreau graph --json",
        "server list" => "terreau server list --json",
        "tokens create" => "terreau tokens create other --app carnet --verb read --json",
        "tokens list" => "terreau tokens list --json",
        "projects" => "terreau projects --json",
        "projects transfer" => "terreau projects transfer carnet --to me --yes --json",
        "owners list" => "terreau owners list --json",
        "owners add" => "terreau owners add bob --json",
        "owners remove" => "terreau owners remove bob --json",
        "users list" => "terreau users list --json",
        "users show" => "terreau users show alice --json",
        // Somebody without apps, who is gone afterwards.
        "users remove" => "terreau users remove carol --yes --json",
        "env list" => "terreau env list --json",
        "env set" => "terreau env set LANGUAGE=fr --json",
        "env unset" => "terreau env unset --stage LANGUAGE --json",
        "env import" => "echo COLOUR=red > more.env && terreau env import more.env --stage --json",
        "env export" => "terreau env export --json",
        "env edit" => "EDITOR=nano terreau env edit --stage --json",
        "env history" => "terreau env history --json",
        "secret list" => "terreau secret list --json",
        "secret set" => "echo 12345678 | terreau secret set api_key --stdin --stage --json",
        "secret import" => {
            "echo api_key=87654321 > more.env && terreau secret import more.env --stage --json"
        }
        "secret export" => "terreau secret export --json",
        "secret edit" => "EDITOR=nano terreau secret edit --stage --json",
        "secret history" => "terreau secret history --json",
        "operations list" => "terreau operations list --json",
        "drift" => "terreau drift --json",
        "doctor" => "terreau doctor --json",
        "loops" => "terreau loops --json",
        "audit list" => "terreau audit list --json",
        "audit verify" => "terreau audit verify --json",
        "operations follow" => "terreau operations follow 01jc5zxq6e1v2m3n4p5q6r7s8t --json",
        "operations show" => "terreau operations show 01jc5zxq6e1v2m3n4p5q6r7s8t --json",
        _ => return None,
    })
}
