//! The directory: our client against our embedded server, with Bottin's tree and rules.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use terreau::clock::ManualClock;
use terreau::engines::directory::{Bound, Change, Directory, DirectoryConfig, Entry, Scope, hash};
use terreau::engines::{Fault, Gate};
use terreau::sandbox::directory::{
    DirectoryServer, DirectoryServerConfig, Limits, Seed, SeedPerson, SeedService, serve,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const BASE: &str = "dc=terreau,dc=test";
const AGENT: &str = "cn=terreau,ou=services,ou=users,dc=terreau,dc=test";
const ALICE: &str = "cn=alice,ou=users,dc=terreau,dc=test";
const BOB: &str = "cn=bob,ou=users,dc=terreau,dc=test";
const APP: &str = "cn=app,ou=services,ou=users,dc=terreau,dc=test";
const ADMINS: &str = "cn=admin,ou=groups,dc=terreau,dc=test";

fn secret(text: &str) -> SecretString {
    SecretString::from(text.to_owned())
}

fn seed() -> Seed {
    let person = |login: &str, groups: &[&str]| SeedPerson {
        login: login.to_owned(),
        password: secret(&format!("{login}-password")),
        mail: Some(format!("{login}@terreau.test")),
        groups: groups.iter().map(|g| (*g).to_owned()).collect(),
    };
    let service = |cn: &str, groups: &[&str]| SeedService {
        cn: cn.to_owned(),
        password: secret(&format!("{cn}-password")),
        groups: groups.iter().map(|g| (*g).to_owned()).collect(),
    };
    Seed {
        people: vec![person("alice", &["Jardiniers"]), person("bob", &[])],
        services: vec![service("terreau", &["admin"]), service("app", &[])],
        groups: vec!["empty".to_owned()],
    }
}

fn settings(data: &Path) -> DirectoryServerConfig {
    let mut config = DirectoryServerConfig::new("127.0.0.1:0".parse().unwrap(), BASE, data);
    config.seed = seed();
    config
}

/// A directory of its own for each test.
struct House {
    server: DirectoryServer,
    data: tempfile::TempDir,
}

impl House {
    async fn open() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut DirectoryServerConfig)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut config = settings(data.path());
        change(&mut config);
        Self { server: serve(config).await.unwrap(), data }
    }

    fn config(&self, dn: &str, password: &str) -> DirectoryConfig {
        DirectoryConfig::new(format!("ldap://{}", self.server.addr()), BASE, dn, secret(password))
    }

    fn as_(&self, dn: &str, password: &str) -> Directory {
        Directory::new(self.config(dn, password)).unwrap()
    }

    /// As the agent, which is in the admin group.
    fn agent(&self) -> Directory {
        self.as_(AGENT, "terreau-password")
    }

    fn alice(&self) -> Directory {
        self.as_(ALICE, "alice-password")
    }
}

fn replace(attr: &str, values: &[&str]) -> Change {
    Change::Replace { attr: attr.to_owned(), values: strings(values) }
}

fn add(attr: &str, values: &[&str]) -> Change {
    Change::Add { attr: attr.to_owned(), values: strings(values) }
}

fn delete(attr: &str, values: &[&str]) -> Change {
    Change::Delete { attr: attr.to_owned(), values: strings(values) }
}

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|v| (*v).to_owned()).collect()
}

fn names(found: &[Entry]) -> Vec<&str> {
    found.iter().map(|entry| entry.dn.as_str()).collect()
}

#[tokio::test]
async fn a_person_binds_with_their_password_only() {
    let house = House::open().await;
    let agent = house.agent();
    let alice = agent.people_dn("alice").unwrap();
    assert_eq!(agent.bind(&alice, &secret("alice-password")).await.unwrap(), Bound::Accepted);
    assert_eq!(agent.bind(&alice, &secret("bob-password")).await.unwrap(), Bound::Refused);
    assert_eq!(agent.bind(&alice, &secret("")).await.unwrap(), Bound::Refused);
    let nobody = agent.people_dn("nobody").unwrap();
    assert_eq!(agent.bind(&nobody, &secret("x")).await.unwrap(), Bound::Refused);
    // Case and space in a DN make no difference.
    let shouted = "CN=Alice, OU=users, dc=terreau, dc=test";
    assert_eq!(agent.bind(shouted, &secret("alice-password")).await.unwrap(), Bound::Accepted);
}

#[tokio::test]
async fn an_empty_password_is_refused_before_anything_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ldap://{}", listener.local_addr().unwrap());
    let silent = Directory::new(DirectoryConfig::new(url, BASE, AGENT, secret(""))).unwrap();
    assert_eq!(silent.bind(ALICE, &secret("")).await.unwrap(), Bound::Refused);
    assert_eq!(silent.get(ALICE).await.unwrap_err().fault, Fault::Denied);
    let came = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(came.is_err(), "a connection was opened");
}

#[tokio::test]
async fn a_person_reads_their_own_groups_and_hash_but_not_anothers_hash() {
    let house = House::open().await;
    let agent = house.agent();
    let own = agent.read_as(ALICE, &secret("alice-password"), ALICE).await.unwrap().unwrap();
    assert!(own.is_member_of("cn=jardiniers, ou=Groups, dc=terreau,dc=test"));
    assert!(own.first("userpassword").is_some());
    let other = agent.read_as(ALICE, &secret("alice-password"), BOB).await.unwrap().unwrap();
    assert_eq!(other.first("mail"), Some("bob@terreau.test"));
    assert_eq!(other.first("userpassword"), None);
    let refused = agent.read_as(ALICE, &secret("wrong"), ALICE).await.unwrap_err();
    assert_eq!(refused.fault, Fault::Denied);
    assert!(!refused.to_string().contains("wrong"));
}

#[tokio::test]
async fn people_change_their_own_password_and_nobody_elses() {
    let house = House::open().await;
    let (agent, alice) = (house.agent(), house.alice());
    let before = agent.get(ALICE).await.unwrap().unwrap().password_fingerprint();
    let hashed = hash::ssha512_fresh(&secret("nouveau"));
    alice.modify(ALICE, &[replace("userPassword", &[&hashed])]).await.unwrap();
    assert_eq!(agent.bind(ALICE, &secret("nouveau")).await.unwrap(), Bound::Accepted);
    assert_eq!(agent.bind(ALICE, &secret("alice-password")).await.unwrap(), Bound::Refused);
    assert_ne!(agent.get(ALICE).await.unwrap().unwrap().password_fingerprint(), before);
    let denied = alice.modify(BOB, &[replace("userpassword", &[&hashed])]).await.unwrap_err();
    assert_eq!(denied.fault, Fault::Denied);
}

#[tokio::test]
async fn the_older_sha1_hashes_and_several_passwords_are_accepted() {
    let house = House::open().await;
    let agent = house.agent();
    // {SSHA} of "vieux" with the salt "sel8".
    let old = ssha("vieux", b"sel8");
    agent.modify(BOB, &[add("userpassword", &[&old])]).await.unwrap();
    for password in ["vieux", "bob-password"] {
        assert_eq!(agent.bind(BOB, &secret(password)).await.unwrap(), Bound::Accepted, "{password}");
    }
    // What is no hash is nobody's password.
    agent.modify(BOB, &[replace("userpassword", &["plain"])]).await.unwrap();
    assert_eq!(agent.bind(BOB, &secret("plain")).await.unwrap(), Bound::Refused);
}

fn ssha(password: &str, salt: &[u8]) -> String {
    use base64::Engine as _;
    use sha1::Digest as _;
    let mut bytes = sha1::Sha1::digest([password.as_bytes(), salt].concat()).to_vec();
    bytes.extend_from_slice(salt);
    format!("{{SSHA}}{}", base64::engine::general_purpose::STANDARD.encode(bytes))
}

#[tokio::test]
async fn the_seed_makes_the_branches_that_clusters_have() {
    let house = House::open().await;
    let agent = house.agent();
    let all = agent.search(BASE, Scope::Sub, "(objectclass=*)", &["1.1"]).await.unwrap();
    for place in ["ou=users", "ou=services,ou=users", "ou=groups", "ou=invitations", "cn=empty,ou=groups"] {
        assert!(names(&all).contains(&format!("{place},{BASE}").as_str()), "{place}");
    }
    assert!(all.iter().all(|entry| entry.attrs.is_empty()), "1.1 asks for no attribute");
    let alice = agent.get(ALICE).await.unwrap().unwrap();
    assert_eq!(alice.first("structuralObjectClass"), Some("inetOrgPerson"));
    assert_eq!(alice.all("objectclass").len(), 4);
    assert!(alice.first("userpassword").unwrap().starts_with("{SSHA512}"));
}

#[tokio::test]
async fn scopes_filters_and_attributes_of_a_search_are_kept_to() {
    let house = House::open().await;
    let agent = house.agent();
    let users = format!("ou=users,{BASE}");
    let found = |scope, filter: &'static str| {
        let (agent, users) = (agent.clone(), users.clone());
        async move { agent.search(&users, scope, filter, &["cn"]).await.unwrap().len() }
    };
    assert_eq!(found(Scope::Base, "(objectclass=*)").await, 1);
    assert_eq!(found(Scope::One, "(objectclass=*)").await, 3);
    assert_eq!(found(Scope::Sub, "(objectclass=*)").await, 6);
    assert_eq!(found(Scope::Sub, "(CN=ALICE)").await, 1);
    assert_eq!(found(Scope::Sub, "(&(objectclass=inetorgperson)(!(cn=alice)))").await, 3);
    assert_eq!(found(Scope::Sub, "(|(cn=alice)(cn=bob)(cn=nobody))").await, 2);
    assert_eq!(found(Scope::Sub, "(mail=*@terreau.*)").await, 2);
    assert_eq!(found(Scope::Sub, "(createtimestamp>=20000101000000Z)").await, 6);
    assert_eq!(found(Scope::Sub, "(createtimestamp<=20000101000000Z)").await, 0);
    assert_eq!(found(Scope::Sub, "(memberof=cn=admin,ou=groups,dc=terreau,dc=test)").await, 1);
    let unsupported = agent.search(&users, Scope::Sub, "(cn~=alice)", &[]).await.unwrap_err();
    assert_eq!(unsupported.fault, Fault::Invalid);
    assert!(agent.search(&users, Scope::Sub, "(cn=", &[]).await.unwrap_err().fault == Fault::Invalid);

    let one = agent.search(ALICE, Scope::Base, "(objectclass=*)", &["MAIL"]).await.unwrap();
    assert_eq!(one[0].attrs.keys().collect::<Vec<_>>(), ["mail"]);
    let star = agent.search(ALICE, Scope::Base, "(objectclass=*)", &["*"]).await.unwrap();
    assert!(star[0].memberof().is_empty() && star[0].first("mail").is_some());
    let plus = agent.search(ALICE, Scope::Base, "(objectclass=*)", &["+"]).await.unwrap();
    assert!(!plus[0].memberof().is_empty() && plus[0].first("mail").is_none());
    let all = agent.search(ALICE, Scope::Base, "(objectclass=*)", &[]).await.unwrap();
    assert!(!all[0].memberof().is_empty() && all[0].first("mail").is_some());
    assert!(agent.search(&format!("ou=nowhere,{BASE}"), Scope::Sub, "(cn=*)", &[]).await.unwrap().is_empty());
    assert_eq!(agent.get(&format!("cn=nobody,ou=users,{BASE}")).await.unwrap(), None);
}

#[tokio::test]
async fn the_server_writes_the_operational_attributes_and_nobody_else_does() {
    let house = House::open().await;
    let agent = house.agent();
    let dn = agent.service_dn("carnet").unwrap();
    agent
        .add(&dn, &[("objectClass", strings(&["person", "top"])), ("Description", strings(&["x"]))])
        .await
        .unwrap();
    let made = agent.get(&dn).await.unwrap().unwrap();
    assert_eq!(made.first("creatorsname"), Some(AGENT));
    assert_eq!(made.first("entryuuid").unwrap().len(), 36);
    assert_eq!(made.first("createtimestamp").unwrap().len(), 15);
    assert_eq!(made.first("cn"), Some("carnet"), "the name's attribute is there without being written");
    assert_eq!(made.first("modifytimestamp"), None);
    assert!(made.attrs.contains_key("description"), "names are kept in lower case");
    agent.modify(&dn, &[add("garage_s3_access_key", &["GK1"])]).await.unwrap();
    let changed = agent.get(&dn).await.unwrap().unwrap();
    assert_eq!(changed.first("modifiersname"), Some(AGENT));
    assert_eq!(changed.first("garage_s3_access_key"), Some("GK1"), "there is no schema");
    assert_eq!(changed.first("entryuuid"), made.first("entryuuid"));
    for managed in ["memberOf", "entryuuid", "creatorsname", "createtimestamp", "modifiersname"] {
        let refused = agent.modify(&dn, &[replace(managed, &["x"])]).await.unwrap_err();
        assert_eq!(refused.fault, Fault::Invalid, "{managed}");
        let other = agent.service_dn("other").unwrap();
        assert!(agent.add(&other, &[(managed, strings(&["x"]))]).await.is_err(), "{managed}");
        assert_eq!(agent.get(&other).await.unwrap(), None);
    }
}

#[tokio::test]
async fn an_add_is_create_only_and_wants_its_parent() {
    let house = House::open().await;
    let agent = house.agent();
    let dn = agent.service_dn("carnet").unwrap();
    let attrs = [("objectclass", strings(&["top"]))];
    agent.add(&dn, &attrs).await.unwrap();
    assert_eq!(agent.add(&dn, &attrs).await.unwrap_err().fault, Fault::Conflict);
    assert_eq!(agent.add(&dn.to_uppercase(), &attrs).await.unwrap_err().fault, Fault::Conflict);
    let orphan = format!("cn=x,ou=nowhere,{BASE}");
    assert_eq!(agent.add(&orphan, &attrs).await.unwrap_err().fault, Fault::NotFound);
    for bad in ["cn=a/b,dc=terreau,dc=test", "cn=x,dc=elsewhere", "nonsense"] {
        assert_eq!(agent.add(bad, &attrs).await.unwrap_err().fault, Fault::Invalid, "{bad}");
    }
}

#[tokio::test]
async fn of_many_adds_of_one_name_exactly_one_succeeds() {
    let house = House::open().await;
    let dn = house.agent().service_dn("carnet").unwrap();
    let racing = (0..12).map(|n| {
        let (agent, dn) = (house.agent(), dn.clone());
        async move { agent.add(&dn, &[("description", vec![format!("terreau:{n}")])]).await }
    });
    let outcomes = futures::future::join_all(racing).await;
    assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 1);
    assert!(outcomes.iter().filter_map(|o| o.as_ref().err()).all(|e| e.fault == Fault::Conflict));
}

#[tokio::test]
async fn the_changes_of_one_modify_are_made_together_or_not_at_all() {
    let house = House::open().await;
    let agent = house.agent();
    agent
        .modify(BOB, &[delete("mail", &["bob@terreau.test"]), add("mail", &["b@x"]), add("sn", &["B"])])
        .await
        .unwrap();
    let bob = agent.get(BOB).await.unwrap().unwrap();
    assert_eq!(bob.all("mail"), ["b@x"]);
    let refused =
        agent.modify(BOB, &[replace("mail", &["c@x"]), replace("cn", &["robert"])]).await.unwrap_err();
    assert_eq!(refused.fault, Fault::Invalid, "the name's attribute cannot change");
    assert_eq!(agent.get(BOB).await.unwrap().unwrap().all("mail"), ["b@x"]);
    // As Bottin: no error where there is nothing to delete, and nothing twice.
    agent.modify(BOB, &[delete("mail", &["never@x"]), add("mail", &["b@x"])]).await.unwrap();
    assert_eq!(agent.get(BOB).await.unwrap().unwrap().all("mail"), ["b@x"]);
    agent.modify(BOB, &[delete("mail", &[])]).await.unwrap();
    assert!(!agent.get(BOB).await.unwrap().unwrap().attrs.contains_key("mail"));
    assert_eq!(agent.modify(BOB, &[delete("objectclass", &[])]).await.unwrap_err().fault, Fault::Denied);
    let missing = agent.people_dn("nobody").unwrap();
    assert_eq!(agent.modify(&missing, &[add("sn", &["x"])]).await.unwrap_err().fault, Fault::NotFound);
}

#[tokio::test]
async fn memberof_follows_the_groups_members() {
    let house = House::open().await;
    let agent = house.agent();
    let group = agent.group_dn("Empty").unwrap();
    let of = |dn: &'static str| {
        let agent = agent.clone();
        async move { agent.get(dn).await.unwrap().unwrap().memberof().to_vec() }
    };
    assert!(of(BOB).await.is_empty());
    agent.modify(&group, &[add("member", &["CN=Bob, ou=users,dc=terreau,dc=test", ALICE])]).await.unwrap();
    assert_eq!(of(BOB).await, ["cn=empty,ou=groups,dc=terreau,dc=test"]);
    assert_eq!(of(ALICE).await.len(), 2);
    agent.modify(&group, &[replace("member", &[ALICE])]).await.unwrap();
    assert!(of(BOB).await.is_empty());
    let unknown = agent.people_dn("nobody").unwrap();
    assert_eq!(agent.modify(&group, &[add("member", &[&unknown])]).await.unwrap_err().fault, Fault::NotFound);

    // A person who goes leaves the groups; a group that goes leaves its members.
    agent.delete(ALICE).await.unwrap();
    assert!(agent.get(&group).await.unwrap().unwrap().all("member").is_empty());
    agent.modify(&group, &[add("member", &[BOB, &group])]).await.unwrap();
    agent.delete(&group).await.unwrap();
    assert_eq!(agent.get(&group).await.unwrap(), None);
    assert!(of(BOB).await.is_empty());
}

#[tokio::test]
async fn only_leaves_are_deleted() {
    let house = House::open().await;
    let agent = house.agent();
    assert_eq!(agent.delete(&format!("ou=users,{BASE}")).await.unwrap_err().fault, Fault::Conflict);
    agent.delete(BOB).await.unwrap();
    assert_eq!(agent.delete(BOB).await.unwrap_err().fault, Fault::NotFound);
    assert_eq!(agent.bind(BOB, &secret("bob-password")).await.unwrap(), Bound::Refused);
}

#[tokio::test]
async fn compare_answers_by_value_and_by_right() {
    let house = House::open().await;
    let (agent, alice) = (house.agent(), house.alice());
    assert!(agent.compare(BOB, "mail", "BOB@terreau.test").await.unwrap());
    assert!(!agent.compare(BOB, "mail", "other").await.unwrap());
    assert_eq!(alice.compare(BOB, "userpassword", "x").await.unwrap_err().fault, Fault::Denied);
    let missing = agent.people_dn("nobody").unwrap();
    assert_eq!(agent.compare(&missing, "mail", "x").await.unwrap_err().fault, Fault::NotFound);
}

#[tokio::test]
async fn services_read_hashes_and_change_only_themselves() {
    let house = House::open().await;
    let app = house.as_(APP, "app-password");
    assert!(app.get(ALICE).await.unwrap().unwrap().first("userpassword").is_some());
    assert_eq!(app.modify(ALICE, &[replace("mail", &["x"])]).await.unwrap_err().fault, Fault::Denied);
    let new = app.service_dn("new").unwrap();
    assert_eq!(app.add(&new, &[("sn", strings(&["x"]))]).await.unwrap_err().fault, Fault::Denied);
    assert_eq!(app.delete(ALICE).await.unwrap_err().fault, Fault::Denied);
    app.modify(APP, &[replace("description", &["mine"])]).await.unwrap();
}

#[tokio::test]
async fn the_anonymous_may_bind_and_nothing_else() {
    let house = House::open().await;
    let url = format!("ldap://{}", house.server.addr());
    let (connection, mut ldap) = ldap3::LdapConnAsync::new(&url).await.unwrap();
    ldap3::drive!(connection);
    let (_, searched) = {
        let found = ldap.search(BASE, ldap3::Scope::Subtree, "(cn=*)", vec!["cn"]).await.unwrap();
        (found.0, found.1)
    };
    assert_eq!(searched.rc, 50);
    assert_eq!(ldap.delete(ALICE).await.unwrap().rc, 50);
    assert_eq!(ldap.simple_bind("", "").await.unwrap().rc, 50, "an anonymous bind is nobody's right");
    assert_eq!(ldap.simple_bind(ALICE, "").await.unwrap().rc, 49);
    assert_eq!(ldap.simple_bind(ADMINS, "x").await.unwrap().rc, 50, "no rule lets a group bind");
    let (exop, _) = ldap.extended(ldap3::exop::WhoAmI).await.unwrap().success().unwrap();
    assert_eq!(exop.parse::<ldap3::exop::WhoAmIResp>().authzid, "");
    assert_eq!(ldap.simple_bind(ALICE, "alice-password").await.unwrap().rc, 0);
    let (exop, _) = ldap.extended(ldap3::exop::WhoAmI).await.unwrap().success().unwrap();
    assert_eq!(exop.parse::<ldap3::exop::WhoAmIResp>().authzid, format!("dn:{ALICE}"));
    // A failed bind leaves nobody bound (RFC 4511, 4.2.1).
    assert_eq!(
        ldap.simple_bind(BOB, "bob-password").await.unwrap().rc,
        50,
        "a person may not bind as another"
    );
    let (exop, _) = ldap.extended(ldap3::exop::WhoAmI).await.unwrap().success().unwrap();
    assert_eq!(exop.parse::<ldap3::exop::WhoAmIResp>().authzid, "");
}

#[tokio::test]
async fn what_bottin_does_not_do_is_refused_and_paging_is_ignored() {
    use ldap3::adapters::{Adapter, EntriesOnly, PagedResults};
    let house = House::open().await;
    let url = format!("ldap://{}", house.server.addr());
    let (connection, mut ldap) = ldap3::LdapConnAsync::new(&url).await.unwrap();
    ldap3::drive!(connection);
    ldap.simple_bind(AGENT, "terreau-password").await.unwrap().success().unwrap();
    assert_eq!(ldap.modifydn(BOB, "cn=robert", true, None).await.unwrap().rc, 53);
    let adapters: Vec<Box<dyn Adapter<_, _>>> =
        vec![Box::new(EntriesOnly::new()), Box::new(PagedResults::new(2))];
    let users = format!("ou=users,{BASE}");
    let mut stream = ldap
        .streaming_search_with(adapters, &users, ldap3::Scope::Subtree, "(objectclass=*)", vec!["cn"])
        .await
        .unwrap();
    let mut count = 0;
    while stream.next().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 6);
    let limited = ldap3::SearchOptions::new().sizelimit(2);
    let found = ldap
        .with_search_options(limited)
        .search(&users, ldap3::Scope::Subtree, "(objectclass=*)", vec!["cn"])
        .await
        .unwrap();
    assert_eq!((found.0.len(), found.1.rc), (2, 4));
}

#[tokio::test]
async fn starttls_is_required_or_nothing_is_said() {
    let house = House::open().await;
    let mut config = house.config(AGENT, "terreau-password");
    config.starttls = terreau::engines::directory::StartTls::Required;
    let directory = Directory::new(config).unwrap();
    // The embedded server has no TLS: the password is not sent in clear instead.
    assert_eq!(directory.get(ALICE).await.unwrap_err().fault, Fault::Invalid);
    assert!(directory.bind(ALICE, &secret("alice-password")).await.is_err());
}

#[tokio::test]
async fn modify_add_lets_values_be_added_and_nothing_be_taken() {
    let house = House::with(|config| {
        config.acl = Some(vec![
            format!("ANONYMOUS::bind:*,ou=users,{BASE}:"),
            format!("*,{BASE}::read:*:* !userpassword"),
            format!("{ALICE}::modifyAdd:cn=empty,ou=groups,{BASE}:member"),
        ]);
    })
    .await;
    let alice = house.alice();
    let group = alice.group_dn("empty").unwrap();
    alice.modify(&group, &[add("member", &[BOB])]).await.unwrap();
    assert_eq!(alice.modify(&group, &[delete("member", &[BOB])]).await.unwrap_err().fault, Fault::Denied);
    assert_eq!(alice.modify(&group, &[replace("member", &[])]).await.unwrap_err().fault, Fault::Denied);
    assert_eq!(alice.modify(&group, &[add("description", &["x"])]).await.unwrap_err().fault, Fault::Denied);
    assert_eq!(alice.modify(ADMINS, &[add("member", &[ALICE])]).await.unwrap_err().fault, Fault::Denied);
}

#[tokio::test]
async fn rules_that_let_nobody_bind_are_told_apart_from_a_wrong_password() {
    let house = House::with(|config| config.acl = Some(vec!["*::read:*:*".to_owned()])).await;
    let agent = house.agent();
    assert_eq!(agent.bind(ALICE, &secret("alice-password")).await.unwrap_err().fault, Fault::Denied);
}

#[tokio::test]
async fn a_closed_gate_stops_writes_and_not_reads() {
    #[derive(Debug)]
    struct Fence(AtomicBool);
    impl Gate for Fence {
        fn check(&self) -> Result<(), String> {
            if self.0.load(Ordering::SeqCst) { Ok(()) } else { Err("the session may be gone".to_owned()) }
        }
    }
    let house = House::open().await;
    let fence = Arc::new(Fence(AtomicBool::new(false)));
    let agent = house.agent().with_gate(fence.clone());
    assert_eq!(agent.modify(BOB, &[add("sn", &["B"])]).await.unwrap_err().fault, Fault::Fenced);
    assert_eq!(agent.delete(BOB).await.unwrap_err().fault, Fault::Fenced);
    let dn = agent.service_dn("carnet").unwrap();
    assert_eq!(agent.add(&dn, &[("sn", strings(&["x"]))]).await.unwrap_err().fault, Fault::Fenced);
    assert!(agent.get(BOB).await.unwrap().is_some());
    fence.0.store(true, Ordering::SeqCst);
    agent.modify(BOB, &[add("sn", &["B"])]).await.unwrap();
}

#[tokio::test]
async fn stale_reads_show_a_write_only_later_and_writers_see_it_at_once() {
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    let house = House::with(|config| {
        config.clock = Arc::new(clock.clone());
        config.stale_reads = Duration::from_secs(2);
    })
    .await;
    clock.advance(Duration::from_secs(2));
    let agent = house.agent();
    let dn = agent.service_dn("carnet").unwrap();
    let attrs = [("userpassword", vec![hash::ssha512_fresh(&secret("p"))])];
    agent.add(&dn, &attrs).await.unwrap();
    assert_eq!(agent.get(&dn).await.unwrap(), None);
    assert_eq!(agent.bind(&dn, &secret("p")).await.unwrap(), Bound::Refused);
    assert_eq!(agent.add(&dn, &attrs).await.unwrap_err().fault, Fault::Conflict);
    let waiting = tokio::spawn({
        let (agent, dn) = (agent.clone(), dn.clone());
        async move { agent.read_back(&dn, Duration::from_secs(10), |seen| seen.is_some()).await }
    });
    clock.advance(Duration::from_millis(1999));
    assert_eq!(agent.get(&dn).await.unwrap(), None);
    clock.advance(Duration::from_millis(1));
    assert!(waiting.await.unwrap().unwrap().is_some());
    assert_eq!(agent.bind(&dn, &secret("p")).await.unwrap(), Bound::Accepted);
}

#[tokio::test]
async fn a_restart_keeps_everything_and_does_not_seed_again() {
    let house = House::open().await;
    let agent = house.agent();
    agent.delete(BOB).await.unwrap();
    agent.modify(ALICE, &[replace("mail", &["new@x"])]).await.unwrap();
    let before = agent.search(BASE, Scope::Sub, "(objectclass=*)", &[]).await.unwrap();
    let addr = house.server.addr();
    house.server.shutdown().await;
    let away = house.data;
    let mut config = settings(away.path());
    config.listen = addr;
    let _server = serve(config).await.unwrap();
    // The same client goes on: its connection is gone, a read is asked again on a new one.
    let after = agent.search(BASE, Scope::Sub, "(objectclass=*)", &[]).await.unwrap();
    assert_eq!(before, after);
    assert!(!names(&after).contains(&BOB));
}

#[tokio::test]
async fn a_directory_that_is_away_is_said_to_be_away() {
    let house = House::open().await;
    let agent = house.agent();
    assert!(agent.get(ALICE).await.unwrap().is_some());
    house.server.shutdown().await;
    assert_eq!(agent.get(ALICE).await.unwrap_err().fault, Fault::Away);
    assert_eq!(agent.delete(ALICE).await.unwrap_err().fault, Fault::Away);
    assert_eq!(agent.bind(ALICE, &secret("x")).await.unwrap_err().fault, Fault::Away);
}

#[tokio::test]
async fn a_server_that_never_answers_is_left_after_the_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ldap://{}", listener.local_addr().unwrap());
    let mut config = DirectoryConfig::new(url, BASE, AGENT, secret("p"));
    config.timeout = Duration::from_millis(200);
    let directory = Directory::new(config).unwrap();
    let start = std::time::Instant::now();
    assert_eq!(directory.get(ALICE).await.unwrap_err().fault, Fault::Away);
    assert_eq!(directory.bind(ALICE, &secret("x")).await.unwrap_err().fault, Fault::Away);
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_server_that_speaks_something_else_makes_no_panic() {
    for bytes in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"\x30\x03\x02\x01\x01",
        b"\x30\x05\x02\x01\x01\x61\x00",
        b"\xff\xff",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ldap://{}", listener.local_addr().unwrap());
        let mut config = DirectoryConfig::new(url, BASE, AGENT, secret("p"));
        config.timeout = Duration::from_millis(500);
        let answering = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = [0; 64];
                let _ = stream.read(&mut asked).await;
                let _ = stream.write_all(bytes).await;
            }
        });
        let error = Directory::new(config).unwrap().get(ALICE).await.unwrap_err();
        assert!(error.is_passing(), "{error}");
        answering.abort();
    }
}

#[tokio::test]
async fn a_member_of_admin_is_one_from_the_next_bind_on() {
    let house = House::open().await;
    let (agent, app) = (house.agent(), house.as_(APP, "app-password"));
    assert_eq!(app.modify(BOB, &[add("sn", &["x"])]).await.unwrap_err().fault, Fault::Denied);
    agent.modify(ADMINS, &[add("member", &[APP])]).await.unwrap();
    assert_eq!(app.modify(BOB, &[add("sn", &["x"])]).await.unwrap_err().fault, Fault::Denied);
    house.as_(APP, "app-password").modify(BOB, &[add("sn", &["x"])]).await.unwrap();
}

#[tokio::test]
async fn wrong_settings_are_refused_at_the_start() {
    let data = tempfile::tempdir().unwrap();
    let refused = |change: fn(&mut DirectoryServerConfig)| {
        let mut config = settings(data.path());
        change(&mut config);
        async move { serve(config).await.unwrap_err().kind() }
    };
    assert_eq!(refused(|c| c.listen = "0.0.0.0:0".parse().unwrap()).await, io::ErrorKind::InvalidInput);
    assert_eq!(refused(|c| c.base = "terreau".to_owned()).await, io::ErrorKind::InvalidInput);
    assert_eq!(refused(|c| c.acl = Some(vec!["*".to_owned()])).await, io::ErrorKind::InvalidInput);
    assert_eq!(refused(|c| c.seed.people[0].login = "A B".to_owned()).await, io::ErrorKind::InvalidInput);
    let running = serve(settings(data.path())).await.unwrap();
    assert_eq!(serve(settings(data.path())).await.unwrap_err().kind(), io::ErrorKind::ResourceBusy);
    running.shutdown().await;
    serve(settings(data.path())).await.unwrap();
}

/// Sends bytes and waits for the end of the connection (or of patience, where the server waits for the rest).
async fn throw(house: &House, bytes: &[u8]) {
    let mut stream = TcpStream::connect(house.server.addr()).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut rest = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
    assert!(reading.is_ok(), "the connection stays open after {bytes:?}");
}

#[tokio::test]
async fn hostile_bytes_end_their_own_connection_and_no_other() {
    let house = House::open().await;
    let agent = house.agent();
    assert!(agent.get(ALICE).await.unwrap().is_some());
    let deep: Vec<u8> = nested(400);
    let cases: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0; 64],
        vec![0xff; 4096],
        vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
        vec![0x30, 0x80, 0x02, 0x01, 0x01],
        // A bind with a SASL mechanism, one of version 2, one with an unknown choice.
        vec![0x30, 0x0e, 2, 1, 1, 0x60, 9, 2, 1, 3, 4, 0, 0xa3, 2, 4, 0],
        vec![0x30, 0x0c, 2, 1, 1, 0x60, 7, 2, 1, 2, 4, 0, 0x80, 0],
        vec![0x30, 0x0d, 2, 1, 1, 0x60, 8, 2, 1, 3, 4, 0, 0xa5, 1, 0],
        // An unknown operation; a server's answer; a message without any operation.
        vec![0x30, 5, 2, 1, 1, 0x7f, 0],
        vec![0x30, 0x0c, 2, 1, 1, 0x65, 7, 0x0a, 1, 0, 4, 0, 4, 0],
        vec![0x30, 3, 2, 1, 1],
        deep,
    ];
    for bytes in &cases {
        throw(&house, bytes).await;
    }
    // Anything at all, and real requests with bytes changed.
    let bind = {
        let mut body = vec![2, 1, 3, 4, u8::try_from(ALICE.len()).unwrap()];
        body.extend_from_slice(ALICE.as_bytes());
        body.extend_from_slice(&[0x80, 1, b'x']);
        let mut message = vec![2, 1, 1, 0x60, u8::try_from(body.len()).unwrap()];
        message.extend(body);
        let mut all = vec![0x30, u8::try_from(message.len()).unwrap()];
        all.extend(message);
        all
    };
    for round in 0..400 {
        let mut bytes = bind.clone();
        if round % 2 == 0 {
            for _ in 0..rand::random_range(1..4) {
                let at = rand::random_range(0..bytes.len());
                bytes[at] = rand::random();
            }
        } else {
            bytes = (0..rand::random_range(1..200)).map(|_| rand::random()).collect();
            bytes[0] = if rand::random() { 0x30 } else { bytes[0] };
        }
        throw(&house, &bytes).await;
    }
    assert!(agent.get(ALICE).await.unwrap().is_some());
}

/// A search whose filter is `depth` negations deep.
fn nested(depth: usize) -> Vec<u8> {
    fn tlv(tag: u8, inner: &[u8]) -> Vec<u8> {
        let length = u32::try_from(inner.len()).unwrap().to_be_bytes();
        [&[tag, 0x84][..], &length, inner].concat()
    }
    let mut filter = tlv(0x87, b"cn");
    for _ in 0..depth {
        filter = tlv(0xa2, &filter);
    }
    let head = [tlv(4, b""), vec![0x0a, 1, 2, 0x0a, 1, 0, 2, 1, 0, 2, 1, 0, 1, 1, 0]].concat();
    let search = tlv(0x63, &[head, filter, tlv(0x30, b"")].concat());
    tlv(0x30, &[vec![2, 1, 1], search].concat())
}

#[tokio::test]
async fn a_request_over_the_limit_ends_the_connection() {
    let house = House::open().await;
    let agent = house.agent();
    agent.modify(BOB, &[replace("jpegphoto", &[&"x".repeat(900_000)])]).await.unwrap();
    let refused = agent.modify(BOB, &[replace("jpegphoto", &[&"x".repeat(3_000_000)])]).await;
    assert!(refused.is_err());
    assert_eq!(agent.get(BOB).await.unwrap().unwrap().first("jpegphoto").unwrap().len(), 900_000);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_idle_ones_end() {
    let limits = Limits { connections: 2, idle: Duration::from_millis(300), ..Limits::default() };
    let house = House::with(|config| config.limits = limits).await;
    let addr = house.server.addr();
    let mut first = TcpStream::connect(addr).await.unwrap();
    let _second = TcpStream::connect(addr).await.unwrap();
    let mut third = TcpStream::connect(addr).await.unwrap();
    assert_eq!(third.read(&mut [0; 8]).await.unwrap_or(0), 0);
    // Half a message is no excuse to stay.
    first.write_all(&[0x30, 0x20, 2]).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), first.read(&mut [0; 8])).await.unwrap();
    assert_eq!(ended.unwrap_or(0), 0);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while house.agent().get(ALICE).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "there is no room again");
    }
}

/// The other half of the next test: a server in a process of its own, killed by it.
#[tokio::test]
#[ignore = "started by another test, with a folder to serve"]
async fn child_that_serves_until_it_is_killed() {
    let Ok(data) = std::env::var("TERREAU_TEST_DIRECTORY") else { return };
    let server = serve(settings(Path::new(&data))).await.unwrap();
    std::fs::write(Path::new(&data).join("addr.new"), server.addr().to_string()).unwrap();
    std::fs::rename(Path::new(&data).join("addr.new"), Path::new(&data).join("addr")).unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn what_was_answered_survives_a_kill_in_the_middle_of_writing() {
    let data = tempfile::tempdir().unwrap();
    let mut done: Vec<String> = Vec::new();
    for round in 0..3 {
        let _ = std::fs::remove_file(data.path().join("addr"));
        let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "directory::child_that_serves_until_it_is_killed"])
            .env("TERREAU_TEST_DIRECTORY", data.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
        let addr = loop {
            if let Ok(addr) = std::fs::read_to_string(data.path().join("addr")) {
                break addr;
            }
            assert!(tokio::time::Instant::now() < deadline, "the child does not come up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let config = DirectoryConfig::new(format!("ldap://{addr}"), BASE, AGENT, secret("terreau-password"));
        let agent = Directory::new(config).unwrap();
        let found = agent.search(BASE, Scope::Sub, "(description=kill)", &["cn"]).await.unwrap();
        for dn in &done {
            assert!(names(&found).contains(&dn.as_str()), "{dn} was answered and is gone");
        }
        // At most the one that was under way is there without an answer.
        assert!(found.len() <= done.len() + round);
        let writing = async {
            for n in 0.. {
                let dn = agent.service_dn(&format!("k{round}-{n}")).unwrap();
                if agent.add(&dn, &[("description", strings(&["kill"]))]).await.is_err() {
                    break;
                }
                done.push(dn);
            }
        };
        let killing = async {
            tokio::time::sleep(Duration::from_millis(rand::random_range(50..300))).await;
            child.start_kill().unwrap();
        };
        tokio::join!(writing, killing);
        child.wait().await.unwrap();
    }
    assert!(!done.is_empty());
    let _server = serve(settings(data.path())).await.unwrap();
}
