//! The engines, seen past every gate: whether an app is whole, nobody's thing is left, and nothing is there twice.

use std::collections::BTreeSet;
use std::time::Duration;

use terreau::engines::consul::Consul;
use terreau::engines::directory::{Bound, Directory, DirectoryConfig, Scope};
use terreau::engines::garage::{Admin, S3};
use terreau::engines::http::HttpOptions;
use terreau::engines::nomad::{JobView, Nomad, Purge};
use terreau::model::head::{AppState, Kind};
use terreau::model::{Head, Placement};
use terreau::resources::mark;
use terreau::store::records::NameRecord;
use terreau::store::{Objects, Store, keys};

use crate::harness::{Stack, eventually};

pub struct Outside {
    pub store: Store,
    pub nomad: Nomad,
    directory: Directory,
    garage: Admin,
    base: String,
}

impl Outside {
    pub fn of(stack: &Stack) -> Self {
        let options = HttpOptions::default();
        let consul = Consul::new(&stack.consul(), None, &options).unwrap();
        let nomad = Nomad::new(&stack.nomad(), None, None, &options).unwrap();
        let password = stack.service_password().into();
        let at = DirectoryConfig::new(stack.ldap(), stack.base_dn(), stack.service_dn(), password);
        let garage = Admin::new(&stack.garage_admin(), stack.admin_token(), &options).unwrap();
        // Only records in Consul are read through it.
        let s3 = S3::new(&stack.s3(), "garage", "none", "none".to_owned().into()).unwrap();
        let store = Store::new(consul, Objects::new(s3, "none"));
        Self { store, nomad, directory: Directory::new(at).unwrap(), garage, base: stack.base_dn().into() }
    }

    fn consul(&self) -> &Consul {
        self.store.consul()
    }

    /// Waits until no operation is open on the app and nobody holds it.
    pub async fn at_rest(&self, app: &Placement, case: &str) -> Option<Head> {
        eventually(&format!("{case}: at rest"), Duration::from_secs(45), async || {
            let open = self.store.operations().await.ok()?;
            let lock = self.consul().kv_get(&keys::lock(app)).await.ok()?;
            let head = self.store.head(app).await.ok()?.map(|h| h.value);
            let idle = !open.iter().any(|o| o.value.app == *app)
                && lock.is_none_or(|l| l.session.is_none())
                && head.as_ref().is_none_or(|h| h.operation.is_none());
            idle.then_some(head)
        })
        .await
    }

    /// Nothing is there of an app that never was.
    pub async fn assert_nothing(&self, app: &Placement, case: &str) {
        assert_eq!(self.at_rest(app, case).await, None, "{case}");
        let flat = app.flat();
        let secrets = self.consul().kv_keys(&format!("secrets/{flat}/")).await.unwrap();
        assert!(secrets.is_empty(), "{case}: {secrets:?}");
        let names = self.consul().kv_keys("terreau/v1/name/").await.unwrap();
        assert!(!names.iter().any(|n| n.contains(&flat)), "{case}: {names:?}");
        assert!(self.directory.get(&self.account(app)).await.unwrap().is_none(), "{case}: an account");
        assert!(self.buckets(app).await.is_empty(), "{case}: a bucket");
        assert!(self.nomad.job("default", &flat).await.unwrap().is_none(), "{case}: a job");
    }

    fn account(&self, app: &Placement) -> String {
        format!("cn={},ou=services,ou=users,{}", app.flat(), self.base)
    }

    async fn buckets(&self, app: &Placement) -> Vec<String> {
        let flat = app.flat();
        let all = self.garage.buckets().await.unwrap();
        let mine = |alias: &String| alias.strip_prefix(&flat).is_some_and(|rest| rest.starts_with('-'));
        all.into_iter().filter(|b| b.global_aliases.iter().any(mine)).map(|b| b.id).collect()
    }

    /// The app is live: everything that it has is there, once, with its mark, and works. Gives its secrets.
    pub async fn assert_whole(&self, app: &Placement, case: &str) -> Vec<String> {
        let head = self.at_rest(app, case).await.unwrap_or_else(|| panic!("{case}: there is no head"));
        assert_eq!(head.state, AppState::Live, "{case}: {head:?}");
        let flat = app.flat();
        let ours = mark(&head.uid);
        let of_kind = |kind: Kind| -> BTreeSet<String> {
            head.owned.iter().filter(|o| o.kind == kind).map(|o| o.id.clone()).collect()
        };

        let mut secrets = std::collections::BTreeMap::new();
        for (name, version) in &head.secrets {
            let all = self.consul().kv_keys(&format!("secrets/{flat}/.v/{name}/")).await.unwrap();
            assert_eq!(all, [format!("secrets/{flat}/.v/{name}/{version}")], "{case}: versions of {name}");
            let value = self.consul().kv_get(&all[0]).await.unwrap().unwrap().value;
            let plain = self.consul().kv_get(&format!("secrets/{flat}/{name}")).await.unwrap().unwrap();
            assert_eq!(plain.value, value, "{case}: {name} is not its last version");
            secrets.insert(name.to_string(), String::from_utf8(value.to_vec()).unwrap());
        }

        let filter = format!("(description={ours})");
        let accounts = self.directory.search(&self.base, Scope::Sub, &filter, &[]).await.unwrap();
        let dns: Vec<&str> = accounts.iter().map(|a| a.dn.as_str()).collect();
        assert_eq!(dns, [self.account(app)], "{case}: accounts");
        let password = secrets["ldap_password"].clone().into();
        let bound = self.directory.bind(&self.account(app), &password).await.unwrap();
        assert_eq!(bound, Bound::Accepted, "{case}");

        let all = self.garage.keys().await.unwrap();
        let marked = all.into_iter().filter(|k| k.name.starts_with(&ours)).map(|k| k.id);
        let marked: Vec<String> = marked.collect();
        assert_eq!(marked.iter().cloned().collect::<BTreeSet<_>>(), of_kind(Kind::Key), "{case}: keys");
        let buckets = self.buckets(app).await;
        assert_eq!(buckets.len(), 1, "{case}: buckets");
        let bucket = self.garage.bucket(&buckets[0]).await.unwrap().unwrap();
        let opens = bucket.keys.iter().filter(|k| k.permissions.read && k.permissions.write);
        assert_eq!(opens.map(|k| k.access_key_id.clone()).collect::<Vec<_>>(), marked, "{case}: grants");

        let job = self.nomad.job("default", &flat).await.unwrap().unwrap();
        let job = JobView::of(&job).unwrap();
        assert_eq!(Some(job.job_modify_index()), head.job_index, "{case}: the job is another");
        assert!(!job.is_stopped() && job.version() == 0, "{case}: registered {} times", job.version() + 1);
        let instances = self.nomad.allocations("default", &flat).await.unwrap();
        assert_eq!(instances.iter().filter(|a| a.desired_status == "run").count(), 1, "{case}: instances");

        let mut indexed = BTreeSet::new();
        for entry in self.consul().kv_list("terreau/v1/name/").await.unwrap() {
            let owner: NameRecord = serde_json::from_slice(&entry.value).unwrap();
            if owner.uid == head.uid {
                indexed.insert(entry.key);
            }
        }
        let names: BTreeSet<String> = head.names.iter().map(|n| keys::name(n.space, &n.name)).collect();
        assert_eq!(indexed, names, "{case}: names");
        secrets.into_values().collect()
    }

    /// Ends the app's instances: the machine has better things to do.
    pub async fn stop(&self, app: &Placement) {
        self.nomad.deregister("default", &app.flat(), Purge::Purge).await.unwrap();
    }
}
