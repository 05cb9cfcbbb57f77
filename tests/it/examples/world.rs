//! Where the examples are run: a cluster with an app `carnet` in production and preproduction, people, an editor.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use terreau::engines::directory::{Directory, DirectoryConfig, hash};

use super::schema::Schema;
use super::table::{How, Special, json_line};
use crate::cli::{Home, Ran, run};
use crate::harness::{Stack, StackOptions, terreau};
use crate::terminal::Terminal;
use crate::tour::{Person, Project};

/// What stands in the examples for things that are different here.
const SERVER: &str = "https://terreau.example.org";
const OPERATION: &str = "01jc5zxq6e1v2m3n4p5q6r7s8t";
const BEGINNING: &str = "01jc5zxq";
const INSTANCE: &str = "1a2b3c4d";
const TOKEN: &str = "tokens revoke 3f9a";
const TOLD: &str = "https://example.org/told";
const SIGNED: &str = "https://example.org/signed";
const HOOK: &str = " 3f9a";
const AGENT: &str = "/etc/terreau/agent.toml";
/// They need a change under way: `tests/it/history` looks at what they print.
const CAUGHT: [&str; 2] = ["operations cancel", "operations abandon"];
/// How long an example may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn descriptor(host: &str, update: &str) -> String {
    format!(
        r#"project "carnet" {{
  build "archive" {{
    dir = "app"
  }}
  process "web" {{
    command = ["python3", "server.py"]
    port "http" {{}}
    check "http" {{
      path = "/"
    }}
    route "{host}" {{}}
    {update}
    env {{
      PORT          = port.http
      API_KEY       = secret.api_key
      SMTP_PASSWORD = secret.smtp_password
    }}
  }}
  process "worker" {{
    command = ["python3", "server.py"]
    port "metrics" {{}}
    env {{
      PORT = port.metrics
    }}
  }}
  secret "api_key" {{
    type = "user"
  }}
  secret "smtp_password" {{
    type = "user"
  }}
}}
"#
    )
}

pub struct World {
    person: Person,
    app: Project,
    /// Programs that stand before those of the machine.
    bin: tempfile::TempDir,
    /// Where hooks are sent to.
    told: String,
    /// Of `terreau dev`: short, since Nomad makes a socket far below it.
    dev: tempfile::TempDir,
}

impl World {
    pub async fn new() -> Self {
        let stack: &'static Stack = Box::leak(Box::new(Stack::start(StackOptions::with_agent()).await));
        people(stack).await;
        let person = Person::of(stack);
        let app = Project::named("carnet");
        let write = |file: &str, text: &str| std::fs::write(app.path().join(file), text).unwrap();
        let plain = descriptor("carnet.example.org", "");
        write("terreau.hcl", &plain);
        write("plain.hcl", &plain);
        write("held.hcl", &descriptor("carnet.example.org", "update {\n      promote = \"manual\"\n    }"));
        write("preproduction.hcl", &descriptor("carnet.preproduction.example.org", ""));
        write("app/report.csv", "a,b\n");
        std::fs::create_dir(app.path().join("app/notes")).unwrap();
        write("app/notes/today", "a\n");
        for program in ["manage", "reindex"] {
            write(&format!("app/{program}"), "#!/bin/sh\necho done\n");
            executable(&app.path().join("app").join(program));
        }
        let it = Self {
            person,
            app,
            bin: tempfile::tempdir().unwrap(),
            told: receiver(),
            dev: tempfile::Builder::new().prefix("td-").tempdir().unwrap(),
        };
        it.program("pass", "echo canary-of-alice");
        it.program("nano", "sed -i \"\\$s/=.*/=typed-at-$(date +%N)/\" \"$1\"");
        std::os::unix::fs::symlink(terreau(), it.bin.path().join("terreau")).unwrap();
        for (more, host) in
            [("", "carnet"), ("carnet@preproduction --file preproduction.hcl", "carnet@preproduction")]
        {
            let mut terminal =
                Terminal::run(&it.person.home, it.app.path(), &format!("terreau deploy {more}"));
            tokio::task::block_in_place(|| {
                terminal.answer("(the value of api_key): ", "first-api-key\n");
                terminal.answer("(the value of smtp_password): ", "first-password\n");
            });
            let shown = tokio::task::block_in_place(|| terminal.end());
            assert!(shown.contains("exit=0"), "{host}: {shown}");
        }
        it
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.bin.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        executable(&path);
    }

    fn stack(&self) -> &'static Stack {
        self.person.stack
    }

    /// With what is really here in the place of the examples' names.
    async fn real(&self, line: &str) -> String {
        let api = self.stack().api();
        let mut line = line.replace(SERVER, &api);
        line = line.replace("terreau.example.org", api.trim_start_matches("http://"));
        line = line.replace(AGENT, &self.stack().agent_config().display().to_string());
        if line.contains(BEGINNING) {
            let list = self.json(&["operations", "list", "carnet", "--json"]);
            let id = list["ended"][0]["id"].as_str().unwrap();
            // Operations of one run begin alike: a beginning is longer here.
            line = line.replace(OPERATION, id).replace(BEGINNING, &id[..25]);
        }
        if line.contains(INSTANCE) {
            let all = crate::tour::running(self.stack(), "carnet").await;
            let id = all.iter().find(|a| a["TaskGroup"] == "web").unwrap()["ID"].as_str().unwrap();
            line = line.replace(INSTANCE, &id[..8]);
        }
        if line.contains(TOKEN) {
            let list = self.json(&["tokens", "list", "--json"]);
            line = line.replace("3f9a", list["tokens"][0]["id"].as_str().unwrap());
        }
        line = line.replace(TOLD, &self.told).replace(SIGNED, &format!("{}/signed", self.told));
        if line.contains("terreau hook ") && line.contains(HOOK) {
            let app = if line.contains('@') { "carnet@preproduction" } else { "carnet" };
            let list = self.json(&["hook", "list", app, "--json"]);
            line = line.replace(HOOK, &format!(" {}", list["hooks"][0]["id"].as_str().unwrap()));
        }
        if line.contains("8080:") {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            line = line.replace("8080:", &format!("{free}:"));
        }
        line
    }

    fn json(&self, args: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.person.expect(0, self.app.path(), args).out).unwrap()
    }

    /// Runs an example; says what went wrong.
    pub async fn tries(&self, line: &str, special: Special) -> Result<String, String> {
        let line = self.real(line).await;
        let folder = if line.contains("terreau dev") { self.dev.path() } else { self.app.path() };
        let mut home = &self.person.home;
        let apart;
        if special.how == How::Apart {
            apart = Person::of(self.stack());
            home = &apart.home;
        }
        let script =
            |text: &str| if text.is_empty() { String::new() } else { format!("{text} || exit 99\n") };
        let (before, after) = (script(special.before), script(special.after));
        let ran = match special.how {
            How::Shell | How::Apart => {
                self.shell(home, folder, &format!("set -o pipefail\n{before}{line}"), special.typed)
            }
            How::Until(said) => {
                tokio::task::block_in_place(|| self.until(home, folder, &format!("{before}{line}"), said))
            }
            How::Terminal(question) => {
                let alone = Home::new();
                let home = if line.contains(" login ") { &alone } else { home };
                tokio::task::block_in_place(|| {
                    let mut terminal = Terminal::run(home, folder, &line);
                    terminal.answer(question, special.typed);
                    let shown = terminal.end();
                    let code = i32::from(!shown.contains("exit=0"));
                    Ran { code, out: shown, err: String::new() }
                })
            }
        };
        if !after.is_empty() {
            let ran = self.shell(home, folder, &after, "");
            if ran.code != 0 {
                return Err(format!("what follows it ended with {}\n{}{}", ran.code, ran.out, ran.err));
            }
        }
        if ran.code == special.code && !ran.err.contains("panicked") {
            return Ok(ran.out);
        }
        Err(format!("ended with {}, not {}\n{}{}", ran.code, special.code, ran.out, ran.err))
    }

    /// Runs every command of these with `--json`; says what is not as documented.
    pub async fn prints(&self, schema: &Schema, commands: &[String]) -> Vec<String> {
        let mut wrong = Vec::new();
        for path in commands.iter().filter(|c| !CAUGHT.contains(&c.as_str())) {
            let Some(line) = json_line(path) else {
                wrong.push(format!(
                    "{path}: tests/it/examples/table.rs does not say how it is run with --json"
                ));
                continue;
            };
            let line = self.real(line).await;
            let folder = if path.starts_with("dev") { self.dev.path() } else { self.app.path() };
            let begun = std::time::Instant::now();
            let ran = if path == "proxy" {
                tokio::task::block_in_place(|| {
                    let quiet = format!("exec 2>/dev/null\n{line}");
                    self.until(&self.person.home, folder, &quiet, "}")
                })
            } else {
                self.shell(&self.person.home, folder, &line, "alice\n")
            };
            println!("{:>6} ms  {line}", begun.elapsed().as_millis());
            let done = match ran.code {
                // 10: a plan with changes.
                0 | 10 => schema.check(path, &ran.out),
                code => Err(format!("ended with {code}: {}{}", ran.out, ran.err)),
            };
            wrong.extend(done.err().map(|why| format!("{line}: {why}")));
        }
        wrong
    }

    fn bash(&self, home: &Home, folder: &Path, script: &str) -> Command {
        let path = std::env::var_os("PATH").unwrap();
        let path = [PathBuf::from(self.bin.path())].into_iter().chain(std::env::split_paths(&path));
        let mut shell = Command::new("timeout");
        shell.arg(PATIENCE.as_secs().to_string()).args(["bash", "--norc", "-c", script]).env_clear();
        shell.envs(home.command(folder, &[]).get_envs().filter_map(|(k, v)| Some((k, v?))));
        // Another agent beside the one that is there listens elsewhere.
        shell.env("TERREAU_LISTEN", "127.0.0.1:0").env("PATH", std::env::join_paths(path).unwrap());
        shell.current_dir(folder);
        shell
    }

    fn shell(&self, home: &Home, folder: &Path, script: &str, typed: &str) -> Ran {
        tokio::task::block_in_place(|| run(self.bash(home, folder, script), typed))
    }

    /// Until it says something; then Ctrl-C.
    fn until(&self, home: &Home, folder: &Path, line: &str, said: &str) -> Ran {
        use std::io::Read;
        let mut shell = self.bash(home, folder, &format!("exec 2>&1\n{line}"));
        shell.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
        let mut child = shell.spawn().unwrap();
        let mut out = Vec::new();
        let mut some = [0; 4096];
        let mut pipe = child.stdout.take().unwrap();
        let mut is_told = false;
        loop {
            match pipe.read(&mut some) {
                Ok(0) | Err(_) => break,
                Ok(n) => out.extend_from_slice(&some[..n]),
            }
            if !is_told && String::from_utf8_lossy(&out).contains(said) {
                is_told = true;
                let group = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
                kill_process_group(group, Signal::INT).unwrap();
            }
        }
        child.wait().unwrap();
        let out = String::from_utf8_lossy(&out).into_owned();
        // How a shell ends by Ctrl-C is the shell's; what counts is that it came that far, and ended.
        Ran { code: i32::from(!is_told), out, err: String::new() }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let mut reset = self.bash(&self.person.home, self.dev.path(), "terreau dev reset --yes");
        let _ = reset.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// Takes whatever comes, for ever; gives its URL.
fn receiver() -> String {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/told", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            // Who is cut off here tries again.
            let _ = stream.read(&mut vec![0; 64 << 10]);
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
        }
    });
    url
}

fn executable(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// alice and bob, who may log in, and a group of gardeners.
async fn people(stack: &Stack) {
    let config = DirectoryConfig::new(
        stack.ldap(),
        stack.base_dn(),
        stack.service_dn(),
        stack.service_password().into(),
    );
    let directory = Directory::new(config).unwrap();
    let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<String>>();
    let (mut members, login) = (Vec::new(), directory.group_dn("login").unwrap());
    for who in ["alice", "bob", "carol"] {
        let dn = directory.people_dn(who).unwrap();
        let password = hash::ssha512_fresh(&format!("canary-of-{who}").into());
        let attrs = [
            ("objectclass", strings(&["inetOrgPerson", "organizationalPerson", "person", "top"])),
            ("structuralobjectclass", strings(&["inetOrgPerson"])),
            ("sn", strings(&[who])),
            ("displayname", strings(&[who])),
            ("userpassword", vec![password]),
        ];
        directory.add(&dn, &attrs).await.unwrap();
        members.push(dn);
    }
    directory.modify(&login, &[crate::access::join("member".to_owned(), members.clone())]).await.unwrap();
    let attrs = [
        ("objectclass", strings(&["groupOfNames", "top"])),
        ("structuralobjectclass", strings(&["groupOfNames"])),
        ("member", members),
    ];
    directory.add(&directory.group_dn("gardeners").unwrap(), &attrs).await.unwrap();
}
