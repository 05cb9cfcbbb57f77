//! Logins, sessions and groups, on the real Consul and the embedded directory, with a clock that is moved.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use terreau::access::{
    Access, AccessConfig, AccessError, Decision, Object, Policies, Session, Standing, Verb, decide,
};
use terreau::clock::ManualClock;
use terreau::engines::consul::Consul;
use terreau::engines::directory::{Change, Directory, DirectoryConfig, hash};
use terreau::engines::http::HttpOptions;
use terreau::engines::{Engine, Fault};
use terreau::sandbox::directory::{
    DirectoryServer, DirectoryServerConfig, Seed, SeedPerson, SeedService, serve,
};

use crate::harness::{Part, Stack, StackOptions};

pub const BASE: &str = "dc=home,dc=localhost";
pub const SERVICE_PASSWORD: &str = "canary-of-the-service-account";

pub fn secret(text: &str) -> SecretString {
    SecretString::from(text.to_owned())
}

fn person(login: &str, groups: &[&str]) -> SeedPerson {
    SeedPerson {
        login: login.to_owned(),
        password: secret(&format!("canary-of-{login}")),
        mail: None,
        groups: groups.iter().map(|&g| g.to_owned()).collect(),
    }
}

/// A directory of this test's own, with three people in it.
pub struct People {
    pub server: Option<DirectoryServer>,
    pub at: SocketAddr,
    _data: tempfile::TempDir,
    config: Box<dyn Fn(SocketAddr) -> DirectoryServerConfig + Send + Sync>,
}

impl People {
    pub async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().to_owned();
        let config = Box::new(move |at| {
            let mut config = DirectoryServerConfig::new(at, BASE, &folder);
            config.seed = Seed {
                people: vec![
                    person("alice", &["login", "devs"]),
                    person("bob", &["login"]),
                    person("guest", &[]),
                    person("root", &["login", "admin"]),
                ],
                services: vec![SeedService {
                    cn: "terreau".to_owned(),
                    password: secret(SERVICE_PASSWORD),
                    groups: vec!["admin".to_owned()],
                }],
                groups: Vec::new(),
            };
            config
        });
        let server = serve(config("127.0.0.1:0".parse().unwrap())).await.unwrap();
        let at = server.addr();
        Self { server: Some(server), at, _data: data, config }
    }

    pub async fn go_away(&mut self) {
        self.server.take().unwrap().shutdown().await;
    }

    pub async fn come_back(&mut self) {
        self.server = Some(serve((self.config)(self.at)).await.unwrap());
    }

    pub fn url(&self) -> String {
        format!("ldap://{}", self.at)
    }

    pub fn client(&self) -> Directory {
        let account = format!("cn=terreau,ou=services,ou=users,{BASE}");
        Directory::new(DirectoryConfig::new(self.url(), BASE, account, secret(SERVICE_PASSWORD))).unwrap()
    }

    pub async fn group(&self, group: &str, change: fn(String, Vec<String>) -> Change, login: &str) {
        let directory = self.client();
        let member = directory.people_dn(login).unwrap();
        let group = directory.group_dn(group).unwrap();
        directory.modify(&group, &[change("member".to_owned(), vec![member])]).await.unwrap();
    }
}

pub fn join(attr: String, values: Vec<String>) -> Change {
    Change::Add { attr, values }
}
pub fn leave(attr: String, values: Vec<String>) -> Change {
    Change::Delete { attr, values }
}

struct Door {
    people: People,
    clock: ManualClock,
    access: Access,
    stack: Stack,
}

impl Door {
    async fn start() -> Self {
        let people = People::start().await;
        let stack = Stack::start(StackOptions::only(&[Part::Consul])).await;
        let clock = ManualClock::at(Timestamp::now());
        let access = Self::agent(&people, &clock, &stack);
        Self { people, clock, access, stack }
    }

    /// One more agent on the same engines.
    fn agent(people: &People, clock: &ManualClock, stack: &Stack) -> Access {
        let consul = Consul::new(&stack.consul(), None, &HttpOptions::default()).unwrap();
        let config = AccessConfig { login_group: Some("login".to_owned()), ..AccessConfig::default() };
        Access::new(people.client(), consul, Arc::new(clock.clone()), Policies::built_in(), config)
    }

    async fn login(&self, who: &str) -> SecretString {
        self.access.login(who, &secret(&format!("canary-of-{who}"))).await.unwrap().token
    }

    async fn knock(&self, token: &SecretString) -> Result<Session, AccessError> {
        self.access.authenticate(token, None).await
    }
}

fn refused(answer: &Result<Session, AccessError>) -> bool {
    matches!(answer, Err(AccessError::NotLoggedIn(_)))
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_02_a_wrong_password_sounds_and_lasts_the_same_whether_somebody_exists_or_not() {
    let door = Door::start().await;
    let mut fastest = std::collections::BTreeMap::new();
    for who in ["alice", "nobody", "guest", "Not A Login!"].repeat(3) {
        // A guest knows the password, but may not log in here.
        let password = if who == "guest" { "canary-of-guest" } else { "wrong" };
        let begun = Instant::now();
        let error = door.access.login(who, &secret(password)).await.unwrap_err();
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(400), "{who}: {took:?}");
        fastest.entry(who).and_modify(|t: &mut Duration| *t = (*t).min(took)).or_insert(took);
        assert!(matches!(error, AccessError::Refused), "{who}: {error}");
        assert_eq!(error.to_string(), "wrong login or password, or this account may not use this server");
    }
    let (first, last) = (fastest.values().min().unwrap(), fastest.values().max().unwrap());
    assert!(last.abs_diff(*first) < Duration::from_millis(150), "{fastest:?}");
    assert!(
        matches!(door.access.login("alice", &secret("")).await, Err(AccessError::Refused)),
        "empty password"
    );
    let kept = Consul::new(&door.stack.consul(), None, &HttpOptions::default()).unwrap();
    assert!(kept.kv_list(terreau::access::SESSIONS).await.unwrap().is_empty(), "no session was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_03_a_logout_holds_on_every_agent_at_once() {
    let door = Door::start().await;
    let other = Door::agent(&door.people, &door.clock, &door.stack);
    let token = door.login("alice").await;
    let session = other.authenticate(&token, None).await.unwrap();
    assert_eq!(session.subject.login.as_str(), "alice");
    door.access.logout(&session).await.unwrap();
    assert!(refused(&other.authenticate(&token, None).await));
    assert!(refused(&door.knock(&token).await));
    assert!(other.still(&session).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_01_a_session_ends_at_its_time_and_its_record_is_swept() {
    let door = Door::start().await;
    let token = door.login("alice").await;
    door.clock.advance(Duration::from_hours(11));
    let session = door.knock(&token).await.unwrap();
    assert!(door.access.still(&session).await.is_some());
    door.clock.advance(Duration::from_hours(1));
    assert!(refused(&door.knock(&token).await));
    assert!(door.access.still(&session).await.is_none());
    assert_eq!(door.access.sweep().await.unwrap(), 1);
    assert_eq!(door.access.sweep().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_one_digit_changed_opens_nothing_and_the_record_holds_no_token() {
    let door = Door::start().await;
    let token = door.login("alice").await;
    let text = token.expose_secret().to_owned();
    for at in [text.len() - 1, 0] {
        let mut digits = text.clone().into_bytes();
        digits[at] = if digits[at] == b'0' { b'1' } else { b'0' };
        assert!(refused(&door.knock(&SecretString::from(String::from_utf8(digits).unwrap())).await));
    }
    let consul = Consul::new(&door.stack.consul(), None, &HttpOptions::default()).unwrap();
    let records = consul.kv_list(terreau::access::SESSIONS).await.unwrap();
    assert_eq!(records.len(), 1);
    let record = String::from_utf8(records[0].value.to_vec()).unwrap();
    let (_, half) = text.split_once('.').unwrap();
    assert!(!record.contains(half) && !record.contains("canary"), "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_09_who_is_added_to_the_admins_gets_in_at_the_next_call_and_who_is_removed_is_out_within_a_minute()
{
    let door = Door::start().await;
    let token = door.login("bob").await;
    let app = "carnet".parse().unwrap();
    let object = Object::App { app: &app, owners: Some(&[]) };
    let before = door.knock(&token).await.unwrap();
    assert_eq!(decide(&before.subject, Verb::Delete, &object), Decision::NotFound);

    door.people.group("admin", join, "bob").await;
    door.clock.advance(Duration::from_secs(2));
    let cached = door.knock(&token).await.unwrap();
    let now = door.access.look_again(&cached).await.unwrap().unwrap();
    assert_eq!(decide(&now.subject, Verb::Delete, &object), Decision::Allowed);
    assert_eq!(now.subject.standing, Standing::Admin);

    door.people.group("admin", leave, "bob").await;
    door.clock.advance(Duration::from_secs(31));
    let after = door.knock(&token).await.unwrap();
    assert_eq!(decide(&after.subject, Verb::Delete, &object), Decision::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_12_who_is_disabled_in_the_directory_is_refused_within_a_minute_by_each_of_three_ways() {
    let door = Door::start().await;
    let directory = door.people.client();
    let (alice, bob, root) = (door.login("alice").await, door.login("bob").await, door.login("root").await);

    door.people.group("login", leave, "alice").await;
    directory.delete(&directory.people_dn("bob").unwrap()).await.unwrap();
    let values = vec![hash::ssha512_fresh(&secret("another"))];
    let change = Change::Replace { attr: "userpassword".to_owned(), values };
    directory.modify(&directory.people_dn("root").unwrap(), &[change]).await.unwrap();

    door.clock.advance(Duration::from_secs(31));
    for (who, token) in [("alice", alice), ("bob", bob), ("root", root)] {
        assert!(refused(&door.knock(&token).await), "{who}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn df_08_while_the_directory_is_away_groups_last_seen_serve_reads_for_a_quarter_of_an_hour_and_no_change()
 {
    let mut door = Door::start().await;
    let token = door.login("alice").await;
    door.people.go_away().await;
    assert!(door.knock(&token).await.unwrap().may_change().is_ok(), "remembered for 30 s");

    door.clock.advance(Duration::from_secs(31));
    let session = door.knock(&token).await.unwrap();
    assert!(session.subject.groups.contains("devs"));
    match session.may_change() {
        Err(AccessError::Engine(e)) => assert_eq!(e.engine, Engine::Directory),
        other => panic!("{other:?}"),
    }
    match door.access.login("alice", &secret("canary-of-alice")).await {
        Err(AccessError::Engine(e)) => assert_eq!((e.engine, e.fault), (Engine::Directory, Fault::Away)),
        other => panic!("{other:?}"),
    }
    door.clock.advance(Duration::from_mins(15));
    assert!(matches!(door.knock(&token).await, Err(AccessError::Engine(_))));

    door.people.come_back().await;
    door.clock.advance(Duration::from_secs(6));
    assert!(door.knock(&token).await.unwrap().may_change().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_consul_nobody_is_taken_for_logged_out() {
    let door = Door::start().await;
    let token = door.login("alice").await;
    let session = door.knock(&token).await.unwrap();
    door.stack.kill(Part::Consul).await;
    match door.knock(&token).await {
        Err(AccessError::Engine(e)) => assert_eq!(e.engine, Engine::Consul),
        other => panic!("{other:?}"),
    }
    assert!(door.access.still(&session).await.is_some(), "an answer under way goes on");
}
