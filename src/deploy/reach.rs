//! Reaching into a living instance: a program in it, a connection to a port of it. Which instance is meant, when nobody
//! says; what is told of it in the audit log. Who may do it was decided before.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::connects::Use;
use super::{Deployer, Error, is_missing, no_part};
use crate::engines::nomad::{
    AllocStub, Allocation, ExecOutput, ExecReader, ExecWriter, Nomad, Port, Terminal,
};
use crate::engines::{EngineError, Fault};
use crate::model::names::PartName;
use crate::model::project::port_label;
use crate::model::wire::{ConnectBegin, ExecBegin, Started, Which};
use crate::model::{Head, Placement, ProcessName, Uid};
use crate::store::records::By;

/// How long an instance's port may take to answer.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a program of ours may take.
const SHORT: Duration = Duration::from_secs(15);
/// Begins a program whose environment, and that of all that it begins, bears a mark.
const ON_TERMINAL: &str = "TERREAU_EXEC=$1; export TERREAU_EXEC; shift; exec \"$@\"";
/// The same, and says so when it has ended: where its input is a pipe, Nomad tells the end only once that is closed too
/// (tried on 1.11.1), and a person's input need not end by itself.
const ON_PIPES: &str = "TERREAU_EXEC=$1; export TERREAU_EXEC; shift; \"$@\"; code=$?; \
                        printf '\\036%s\\036' \"$TERREAU_EXEC\" >&2; exit $code";
/// Ends everything whose environment bears the mark: first as a terminal does that is hung up, then for good.
const END: &str = "for s in HUP KILL; do for p in /proc/[0-9]*; do \
                   grep -q \"TERREAU_EXEC=$1\" \"$p/environ\" 2>/dev/null && kill -$s \"${p#/proc/}\" 2>/dev/null && left=1; done; \
                   [ \"$left\" ] || break; [ $s = HUP ] && sleep 1; left=; done; true";
/// A command has at most so many bytes: it travels in an address.
const COMMAND: usize = 6 << 10;

/// An instance that something is done in.
#[derive(Debug, Clone)]
pub struct Reached {
    /// The app's identity.
    uid: Uid,
    alloc: String,
    process: String,
    task: String,
}

impl Reached {
    /// As it is told to people and programs.
    pub fn started(&self) -> Started {
        Started { instance: self.to_string(), alloc: self.alloc.clone(), run: None }
    }
}

impl std::fmt::Display for Reached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.process, self.alloc.get(..8).unwrap_or(&self.alloc))
    }
}

/// A program that runs in an instance.
#[derive(Debug)]
pub struct Program {
    /// Where.
    pub at: Reached,
    /// What its environment bears, so that it is found and ended with its session; `None` where the instance has no
    /// shell.
    mark: Option<String>,
    /// What it reads.
    pub input: ExecWriter,
    /// What it says.
    pub output: ProgramOutput,
    /// Rings once the program has ended and only its input is still open.
    pub ended: Arc<Notify>,
}

/// What a program says.
#[derive(Debug)]
pub struct ProgramOutput {
    reader: ExecReader,
    /// What our shell writes last to its errors, and what of it may have been seen.
    last: Option<Last>,
    ended: Arc<Notify>,
}

#[derive(Debug)]
struct Last {
    words: Vec<u8>,
    held: BytesMut,
}

impl ProgramOutput {
    /// What it says next.
    pub async fn next(&mut self) -> Result<ExecOutput, EngineError> {
        loop {
            let said = self.reader.next().await?;
            let (Some(last), ExecOutput::Stderr(bytes)) = (&mut self.last, &said) else { return Ok(said) };
            let (told, has_ended) = last.without(bytes);
            if has_ended {
                self.last = None;
                self.ended.notify_one();
            }
            if !told.is_empty() {
                return Ok(ExecOutput::Stderr(told));
            }
        }
    }
}

impl Last {
    /// What of the errors is the program's own, and whether our word was among them. What may be its beginning is held.
    fn without(&mut self, bytes: &[u8]) -> (Bytes, bool) {
        self.held.extend_from_slice(bytes);
        if let Some(at) = memchr::memmem::find(&self.held, &self.words) {
            let mut told = self.held.split_to(at);
            told.extend_from_slice(&self.held[self.words.len()..]);
            return (told.freeze(), true);
        }
        let longest = self.words.len().min(self.held.len());
        let held = (1..=longest).rev().find(|n| self.held.ends_with(&self.words[..*n])).unwrap_or(0);
        (self.held.split_to(self.held.len() - held).freeze(), false)
    }
}

impl Deployer {
    /// Runs a program in an instance. The audit log hears of the instance and of the program's name; never of its
    /// arguments, which may hold secrets.
    pub async fn exec(&self, by: &By, app: &Placement, what: &ExecBegin) -> Result<Program, Error> {
        let name = program(&what.command)?;
        let at = self.instance(app, &what.which).await?;
        self.runner.tell(by, (app, &at.uid), "exec", format!("{name} in {at}")).await?;
        tracing::info!(login = by.login, %app, instance = %at, program = name, "exec");
        let terminal = if what.terminal.is_some() { Terminal::Yes } else { Terminal::No };
        let nomad = &self.runner.hands().nomad;
        let opened = |e| not_there(app, &at, e);
        let has_shell = self.ends_well(nomad, &at, &["sh", "-c", "true"]).await.map_err(opened)?;
        let mark = has_shell.then(|| hex::encode(rand::random::<[u8; 16]>()));
        let mut command = Vec::with_capacity(what.command.len() + 5);
        let mut last = None;
        if let Some(mark) = &mark {
            // The person's words are arguments, never a part of our shell's program.
            let script = if terminal == Terminal::Yes { ON_TERMINAL } else { ON_PIPES };
            command.extend(["sh", "-c", script, "sh", mark].map(str::to_owned));
            last = (terminal == Terminal::No)
                .then(|| Last { words: format!("\u{1e}{mark}\u{1e}").into_bytes(), held: BytesMut::new() });
        }
        command.extend(what.command.iter().cloned());
        let (mut input, reader) =
            nomad.exec(&at.alloc, &at.task, &command, terminal).await.map_err(opened)?;
        if let Some(size) = what.terminal {
            input.resize(size.columns, size.rows).await?;
        }
        let ended = Arc::new(Notify::new());
        let output = ProgramOutput { reader, last, ended: ended.clone() };
        Ok(Program { at, mark, input, output, ended })
    }

    /// Runs a program that reads and says nothing; whether it ended with 0.
    async fn ends_well(&self, nomad: &Nomad, at: &Reached, command: &[&str]) -> Result<bool, EngineError> {
        let command: Vec<String> = command.iter().map(|w| (*w).to_owned()).collect();
        let (mut input, mut output) = nomad.exec(&at.alloc, &at.task, &command, Terminal::No).await?;
        input.end_of_input().await?;
        let ending = async {
            loop {
                match output.next().await {
                    Ok(ExecOutput::Exited(code)) => return Ok(code == 0),
                    Ok(_) => {}
                    // There is no such program.
                    Err(e) if e.fault == Fault::Invalid => return Ok(false),
                    Err(e) => return Err(e),
                }
            }
        };
        let ended = tokio::time::timeout(SHORT, ending).await.unwrap_or(Ok(false));
        input.close().await;
        ended
    }

    /// Ends a program whose session has ended before it. Nomad itself leaves it alone until it next writes something.
    pub async fn end_program(&self, program: Program) {
        let Program { at, mark, mut input, output, .. } = program;
        input.close().await;
        drop(output);
        // Its own place is free, and another is not waited for: it must not go on because others do.
        drop(input);
        let Some(mark) = mark else { return };
        let nomad = self.runner.hands().nomad.clone().aside();
        match self.ends_well(&nomad, &at, &["sh", "-c", END, "sh", &mark]).await {
            Ok(true) => {}
            Ok(false) => tracing::debug!(instance = %at, "a program may outlive its session"),
            Err(e) => tracing::debug!(error = %e, instance = %at, "a program may outlive its session"),
        }
    }

    /// Opens a connection to a declared port of an instance. The audit log hears of each use of it once, before.
    pub async fn connect(
        &self,
        by: &By,
        app: &Placement,
        what: &ConnectBegin,
    ) -> Result<(Reached, TcpStream), Error> {
        let at = self.instance(app, &what.which).await?;
        let whole = self.runner.hands().nomad.allocation(&at.alloc).await?;
        let ports = whole.as_ref().map(Allocation::ports).unwrap_or_default();
        let port = ports.iter().find(|p| is_meant(p, &what.port)).ok_or_else(|| {
            let names: Vec<String> =
                ports.iter().map(|p| format!("{} ({})", p.label.trim_end_matches("_port"), p.port)).collect();
            let has = if names.is_empty() { "no port".to_owned() } else { names.join(", ") };
            Error::NotFound(format!("{at} of {app} has no port {:?}; it has {has}", what.port))
        })?;
        let it = Use {
            login: by.login.clone(),
            app: app.clone(),
            alloc: at.alloc.clone(),
            port: port.port,
            purpose: what.purpose.clone().unwrap_or_default(),
        };
        if !self.connects.is_told(&it, Instant::now()) {
            let name = port.label.trim_end_matches("_port");
            let told = format!("port {name} ({}) of {at}", port.port);
            self.runner.tell(by, (app, &at.uid), "connect", told).await?;
            tracing::info!(login = by.login, %app, instance = %at, port = port.port, "connect");
            self.connects.remember(it, Instant::now());
        }
        let address = format!("{}:{}", port.host, port.port);
        let connected =
            tokio::time::timeout(CONNECT, TcpStream::connect((port.host.as_str(), port.port))).await;
        let away =
            |why: String| Error::Unreachable(format!("{at} of {app} does not answer at {address}: {why}"));
        let stream = connected.map_err(|_| away(format!("no answer within {} s", CONNECT.as_secs())))?;
        let stream = stream.map_err(|e| away(e.to_string()))?;
        // What is small is wanted at once; where it cannot be set, it still arrives.
        let _ = stream.set_nodelay(true);
        Ok((at, stream))
    }

    /// The living instance that is meant: healthy before not, new before old.
    async fn instance(&self, app: &Placement, which: &Which) -> Result<Reached, Error> {
        let head = self.head(app).await?.value;
        let all = self.runner.hands().nomad.allocations(app.namespace(), &app.flat()).await?;
        if let Some(prefix) = &which.alloc {
            let found: Vec<_> = all.iter().filter(|a| a.id.starts_with(prefix.as_str())).collect();
            return match found.as_slice() {
                [one] if one.client_status == "running" => Ok(reached(&head.uid, one)),
                [one] => Err(Error::NotFound(format!(
                    "instance {prefix} of {app} does not run: it is {}",
                    one.client_status
                ))),
                [] => Err(Error::NotFound(format!("{app} has no instance {prefix}"))),
                _ => Err(Error::Invalid(format!(
                    "several instances of {app} begin with {prefix}; give more digits"
                ))),
            };
        }
        let runs = |a: &&AllocStub| a.client_status == "running" && a.desired_status == "run";
        let living: Vec<&AllocStub> = all.iter().filter(runs).collect();
        let process = match &which.process {
            Some(name) => name.clone(),
            None => self.first_process(&head, &living).await,
        };
        let known: Vec<&str> = head.processes.keys().map(ProcessName::as_str).collect();
        if which.process.is_some() && !known.is_empty() && !known.contains(&process.as_str()) {
            return Err(no_part(app, "process", &process, &known));
        }
        let meant = living.into_iter().filter(|a| a.task_group == process);
        let is_ill = |a: &AllocStub| a.deployment_status.as_ref().is_some_and(|d| d.healthy != Some(true));
        let found = meant.min_by_key(|a| (is_ill(a), Reverse(a.create_index)));
        found.map(|a| reached(&head.uid, a)).ok_or_else(|| {
            let of = which.process.as_ref().map_or(String::new(), |p| format!(" of process {p}"));
            Error::NotFound(format!("no instance{of} of {app} runs"))
        })
    }

    /// The first process of the descriptor that has an instance.
    async fn first_process(&self, head: &Head, living: &[&AllocStub]) -> String {
        let release = self.current(head).await.ok().flatten();
        let project = release.and_then(|r| crate::descriptor::check("terreau.hcl", &r.descriptor).project);
        let names = project.map(|p| p.processes).unwrap_or_default();
        let found = names.iter().find(|p| living.iter().any(|a| a.task_group == p.name.as_str()));
        let any = || living.first().map_or_else(String::new, |a| a.task_group.clone());
        found.map_or_else(any, |p| p.name.to_string())
    }
}

/// The program's name without its folder, of a command that can be run.
pub(super) fn program(command: &[String]) -> Result<&str, Error> {
    let wrong = |why: &str| Err(Error::Invalid(format!("the command {why}")));
    match command.first() {
        None => wrong("is missing"),
        Some(p) if p.is_empty() => wrong("begins with an empty word"),
        Some(_) if command.iter().map(String::len).sum::<usize>() > COMMAND => wrong("is longer than 6 KiB"),
        Some(_) if command.iter().any(|w| w.contains('\0')) => wrong("holds a NUL byte"),
        Some(p) => Ok(p.rsplit('/').next().unwrap_or(p)),
    }
}

fn reached(uid: &Uid, a: &AllocStub) -> Reached {
    let runs = |name: &&String| a.task_states[*name].state == "running";
    let own = a.task_states.keys().find(|t| **t == a.task_group);
    let task = own.or_else(|| a.task_states.keys().find(runs)).unwrap_or(&a.task_group);
    Reached { uid: uid.clone(), alloc: a.id.clone(), process: a.task_group.clone(), task: task.clone() }
}

/// `http` means the descriptor's port of this name, `8080` the one of this number.
fn is_meant(port: &Port, wanted: &str) -> bool {
    let named = PartName::new(wanted).is_ok_and(|name| port_label(&name) == port.label);
    named || port.label == wanted || wanted.parse() == Ok(port.port)
}

fn not_there(app: &Placement, at: &Reached, e: EngineError) -> Error {
    if is_missing(&e) {
        return Error::NotFound(format!("instance {at} of {app} does not run any more"));
    }
    if e.fault == Fault::Invalid {
        return Error::Invalid(format!("{at} of {app}: {}", e.message));
    }
    e.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_command_only_the_programs_name_is_told() {
        let words = |w: &[&str]| w.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        assert_eq!(program(&words(&["/usr/bin/psql", "-W", "secret"])).unwrap(), "psql");
        for bad in [&[][..], &[""], &["a\0"]] {
            assert!(program(&words(bad)).is_err(), "{bad:?}");
        }
        assert!(program(&words(&["x", &"y".repeat(COMMAND)])).is_err());
    }

    #[test]
    fn our_own_last_word_is_taken_out_however_it_is_cut() {
        let whole: &'static [u8] = b"oops \x1e\x1eabc\x1e after";
        for cut in 0..whole.len() {
            let mut last = Last { words: b"\x1eabc\x1e".to_vec(), held: BytesMut::new() };
            let (mut told, first) = last.without(&whole[..cut]);
            let (rest, second) =
                if first { (Bytes::from_static(&whole[cut..]), false) } else { last.without(&whole[cut..]) };
            told = [told, rest].concat().into();
            assert!(first || second, "cut at {cut}");
            assert_eq!(&told[..], b"oops \x1e after", "cut at {cut}");
        }
    }

    #[test]
    fn a_port_is_meant_by_its_name_or_number() {
        let port = Port { label: "admin_ui_port".into(), host: "127.0.0.1".into(), port: 8080 };
        for wanted in ["admin-ui", "8080", "admin_ui_port"] {
            assert!(is_meant(&port, wanted), "{wanted}");
        }
        for other in ["admin", "80", ""] {
            assert!(!is_meant(&port, other), "{other}");
        }
    }
}
