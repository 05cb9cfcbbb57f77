//! The engines as seen from outside, and agents as processes that may be told where to die.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use terreau::engines::consul::Consul;
use terreau::engines::directory::{Directory, DirectoryConfig};
use terreau::engines::garage::{Admin, S3};
use terreau::engines::http::HttpOptions;
use terreau::engines::nomad::{JobView, Nomad};
use terreau::model::Placement;
use terreau::model::head::{AppState, Head};
use terreau::sandbox::process::MARK;
use terreau::store::{Objects, Store, keys};

use super::PATIENCE;
use super::apps::{Change, host};
use crate::harness::{Stack, StackOptions, eventually, terreau, unique};

/// The engines, seen from outside, and a login that holds at every agent.
pub(crate) struct World {
    pub(crate) stack: Stack,
    /// The agent that is not killed.
    pub(crate) leader: String,
    pub(crate) token: String,
    pub(crate) store: Store,
    pub(crate) nomad: Nomad,
    pub(crate) directory: Directory,
    pub(crate) garage: Admin,
}

/// An agent process that may be told to end at a point.
pub(crate) struct Agent {
    pub(crate) child: std::process::Child,
    pub(crate) name: String,
    pub(crate) url: String,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Agent {
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Whether it is paused by SIGSTOP.
    pub(crate) fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    }

    /// How it is called in Consul's sessions.
    pub(crate) fn session_name(&self) -> String {
        format!("terreau {}", self.name)
    }
}

impl World {
    pub(crate) async fn start(options: StackOptions) -> Self {
        let stack = Stack::start(options).await;
        let options = HttpOptions::default();
        let consul = Consul::new(&stack.consul(), None, &options).unwrap();
        let nomad = Nomad::new(&stack.nomad(), None, None, &options).unwrap();
        let password = stack.service_password().into();
        let at = DirectoryConfig::new(stack.ldap(), stack.base_dn(), stack.service_dn(), password);
        let directory = Directory::new(at).unwrap();
        let garage = Admin::new(&stack.garage_admin(), stack.admin_token(), &options).unwrap();
        // Only records in Consul are read through it.
        let s3 = S3::new(&stack.s3(), "garage", "none", "none".to_owned().into()).unwrap();
        let store = Store::new(consul, Objects::new(s3, "none"));
        Self { leader: stack.api(), stack, token: String::new(), store, nomad, directory, garage }
    }

    pub(crate) fn consul(&self) -> &Consul {
        self.store.consul()
    }

    pub(crate) async fn login(&mut self, url: &str) {
        let (user, password) = self.stack.person();
        let body = json!({"user": user, "password": password.trim_end()});
        let reply = self.stack.http().post(format!("{url}/v1/login")).json(&body).send().await.unwrap();
        let answer: Value = reply.json().await.unwrap();
        answer["token"].as_str().unwrap_or_else(|| panic!("{answer}")).clone_into(&mut self.token);
    }

    /// Starts an agent with these variables, and waits until it answers or has ended.
    pub(crate) async fn agent(&self, variables: &[(&str, &str)]) -> Agent {
        self.agent_with(variables, &[]).await
    }

    /// The same, with these settings over those of the stack's own agent.
    pub(crate) async fn agent_with(&self, variables: &[(&str, &str)], settings: &[String]) -> Agent {
        loop {
            if let Some(agent) = self.begun(variables, settings).await {
                return agent;
            }
        }
    }

    /// An agent that answers, or that died as it was told to; `None` where somebody else took its port meanwhile.
    async fn begun(&self, variables: &[(&str, &str)], settings: &[String]) -> Option<Agent> {
        let name = unique("mortal");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}");
        let mut command = Command::new(terreau());
        command.arg("agent").arg("--config").arg(self.stack.agent_config());
        let own = [format!("listen=127.0.0.1:{port}"), format!("name={name}")];
        for setting in own.iter().chain(settings) {
            command.arg("--set").arg(setting);
        }
        // The mark: it ends with the stack, also where this process is killed.
        command.env_clear().envs(variables.iter().copied()).env(MARK, self.stack.mark());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let log = self.stack.dir().join(format!("{name}.log"));
        command.stderr(std::fs::File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let health = format!("{url}/healthz");
        eventually("an agent answers", PATIENCE, async || {
            if child.try_wait().unwrap().is_some() {
                return Some(());
            }
            self.stack.http().get(&health).send().await.ok().filter(|r| r.status().is_success()).map(|_| ())
        })
        .await;
        let is_taken = child.try_wait().unwrap().is_some()
            && std::fs::read_to_string(&log).unwrap().contains("cannot listen at");
        (!is_taken).then_some(Agent { child, name, url })
    }

    /// Asks an agent; `None` where it died of the question.
    pub(crate) async fn ask(
        &self,
        url: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Option<(u16, Value)> {
        let mut request = self.stack.http().request(method, format!("{url}{path}")).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let reply = request.send().await.ok()?;
        let status = reply.status().as_u16();
        Some((status, reply.json().await.ok()?))
    }

    /// Asks for a change until it is accepted (a lock that was just given back is shut for a second).
    pub(crate) async fn change(&self, url: &str, change: &Change) {
        eventually(&format!("{change:?} is accepted"), PATIENCE, async || {
            let (method, path, body) = change.request();
            match self.ask(url, method, &path, body.as_ref()).await {
                None | Some((200 | 202, _)) => Some(()),
                // Or an engine has no time for us now.
                Some((status @ (409 | 503), answer)) => {
                    println!("kills: {} is asked again: {status} {}", change.app(), answer["detail"]);
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    None
                }
                Some((status, answer)) => panic!("{status}: {answer}"),
            }
        })
        .await;
    }

    /// What Consul does 20 s after an agent died.
    pub(crate) async fn expire(&self, agent: &Agent) {
        for session in self.consul().sessions().await.unwrap() {
            if session.name == agent.session_name() {
                self.consul().session_destroy(&session.id).await.unwrap();
            }
        }
    }

    /// Waits until nobody holds the app and no operation is open on it.
    pub(crate) async fn rest(&self, app: &Placement, after: &str) -> Option<Head> {
        eventually(&format!("{app} is at rest after {after}"), PATIENCE, async || {
            let open = self.store.operations().await.unwrap();
            let held = self.consul().kv_get(&keys::lock(app)).await.unwrap().and_then(|e| e.session);
            (held.is_none() && open.iter().all(|o| o.value.app != *app)).then_some(())
        })
        .await;
        let head = self.store.head(app).await.unwrap().map(|h| h.value);
        assert!(head.as_ref().is_none_or(|h| h.operation.is_none()), "{after}: the head names an operation");
        head
    }

    /// Waits until an agent that was told to die has died, and forgets its session.
    pub(crate) async fn dies(&self, mut agent: Agent, point: &str) {
        let status = eventually(&format!("the agent dies at {point}"), PATIENCE, async || {
            agent.child.try_wait().unwrap()
        })
        .await;
        assert_eq!(status.signal(), Some(9), "{point}: {status}");
        self.expire(&agent).await;
    }

    /// A change by an agent that is killed at a point; then another ends it. Gives the head.
    pub(crate) async fn killed(&self, point: &str, change: &Change) -> Option<Head> {
        let begun = Instant::now();
        let agent = self.agent(&[("TERREAU_KILL_AT", point)]).await;
        let born = begun.elapsed();
        self.change(&agent.url, change).await;
        self.dies(agent, point).await;
        let dead = begun.elapsed();
        let head = self.rest(change.app(), point).await;
        println!(
            "kills: {point}: agent up after {:.1} s, dead after {:.1} s, whole again after {:.1} s",
            born.as_secs_f32(),
            dead.as_secs_f32(),
            begun.elapsed().as_secs_f32()
        );
        head
    }

    /// A change by the agent that leads.
    pub(crate) async fn done(&self, change: &Change) -> Option<Head> {
        self.change(&self.leader, change).await;
        self.rest(change.app(), "nobody's death").await
    }

    /// The app is live with this release.
    fn assert_live(head: Option<Head>, number: u64, after: &str) -> Head {
        let head = head.unwrap_or_else(|| panic!("{after}: there is no head"));
        assert_eq!(head.state, AppState::Live, "{after}: {head:?}");
        assert_eq!(head.release.as_ref().map(|r| r.number.0), Some(number), "{after}: {head:?}");
        head
    }

    /// The app is live with this release, and differs from this descriptor in nothing.
    pub(crate) async fn assert_runs(
        &self,
        app: &Placement,
        head: Option<Head>,
        number: u64,
        text: &str,
        after: &str,
    ) {
        let head = Self::assert_live(head, number, after);
        let job = self.nomad.job("default", &app.flat()).await.unwrap().unwrap();
        let job = JobView::of(&job).unwrap();
        assert!(!job.is_stopped() && Some(job.job_modify_index()) == head.job_index, "{after}: {head:?}");
        self.assert_same(app, &json!({"descriptor": text}), after).await;
        let versions = self.nomad.allocations("default", &app.flat()).await.unwrap();
        let wanted = versions.iter().filter(|a| a.desired_status == "run").count();
        assert_eq!(wanted, 1, "{after}: old and new at once");
    }

    /// A plan of this finds nothing to change.
    pub(crate) async fn assert_same(&self, app: &Placement, body: &Value, after: &str) {
        let path = format!("/v1/apps/{app}/plan");
        let plan = eventually("the plan is made", PATIENCE, async || {
            match self.ask(&self.leader, Method::POST, &path, Some(body)).await.unwrap() {
                (503, _) => None,
                (status, plan) => {
                    assert_eq!(status, 200, "{after}: {plan}");
                    Some(plan)
                }
            }
        })
        .await;
        assert_eq!(plan["changes"], json!([]), "{after}: {plan}");
        assert_eq!(plan["obstacles"], json!([]), "{after}: {plan}");
    }

    /// The site is live with this release, and each of its files is of it.
    pub(crate) async fn assert_serves(
        &self,
        app: &Placement,
        head: Option<Head>,
        number: u64,
        (text, body): (&str, &Value),
        after: &str,
    ) {
        Self::assert_live(head, number, after);
        for (path, want) in [("", text.to_owned()), ("style.css", format!("/* {text} */"))] {
            let request = self.stack.http().get(format!("{}/{path}", self.stack.web()));
            let reply = request.header("host", host(app)).send().await.unwrap();
            assert_eq!(reply.text().await.unwrap(), want, "{after}");
        }
        self.assert_same(app, body, after).await;
    }
}
