//! The components and their live dependencies: hosts, apps, processes, the services that they are and need, buckets,
//! engines, nodes. What depends on what is said by the descriptors of the releases that serve; what is there, by Consul.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use serde_json::Value;

use super::{Deployer, Error};
use crate::engines::consul::Instance;
use crate::model::head::AppState;
use crate::model::project::UseKind;
use crate::model::text::Reference;
use crate::model::wire::{Graph, GraphEdge, GraphNode};
use crate::model::{Cluster, Head, Placement, Project, Release};
use crate::render;

/// How many services are looked up at once.
const AT_ONCE: usize = 16;

/// What an app is made of, as its release says.
struct Known {
    head: Head,
    project: Project,
    /// The services of each process, as the job registers them.
    services: BTreeMap<String, Vec<String>>,
    buckets: Vec<String>,
}

impl Deployer {
    /// The graph of every app whose head passes the filter (and of this app alone, where one is named).
    pub async fn graph(
        &self,
        app: Option<&Placement>,
        may_see: impl Fn(&Head) -> bool,
    ) -> Result<Graph, Error> {
        let store = self.runner.store();
        let heads = match app {
            Some(app) => vec![self.head(app).await?],
            None => store.heads().await?,
        };
        let heads = heads.into_iter().map(|h| h.value);
        let heads: Vec<Head> = heads.filter(|h| h.state != AppState::Deleted && may_see(h)).collect();
        let (mut known, mut unseen) = (Vec::new(), Vec::new());
        let mut looks = futures::stream::iter(heads)
            .map(|head| async move {
                let release = self.current(&head).await;
                (head, release)
            })
            .buffered(AT_ONCE);
        while let Some((head, release)) = looks.next().await {
            match release {
                Ok(Some(release)) => match Known::of(&head, &release) {
                    Some(it) => known.push(it),
                    None => {
                        unseen
                            .push(format!("{}: its release is not read by this version any more", head.app));
                    }
                },
                Ok(None) => {}
                Err(e) => unseen.push(format!("{}: {e}", head.app)),
            }
        }
        let cluster = &self.runner.hands().cluster;
        let names: BTreeSet<String> = known.iter().flat_map(|k| k.named(cluster)).collect();
        let consul = &self.runner.hands().consul;
        let mut live = BTreeMap::new();
        let mut looks = futures::stream::iter(names)
            .map(|name| async move {
                let found = consul.health(&name).await;
                (name, found)
            })
            .buffered(AT_ONCE);
        while let Some((name, found)) = looks.next().await {
            live.insert(name, found?);
        }
        let mut graph = draw(&known, &live, cluster);
        graph.unseen = unseen;
        Ok(graph)
    }
}

impl Known {
    fn of(head: &Head, release: &Release) -> Option<Self> {
        let project = super::history::project(release)?;
        let desired = render::render(&project, &head.app, &release.bindings).ok()?;
        let listed =
            |v: &Value, name: &str| v.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let name = |v: &Value| v.get("Name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut services = BTreeMap::new();
        for group in desired.job.iter().flat_map(|j| listed(&j.json, "TaskGroups")) {
            let tasks = listed(&group, "Tasks");
            let all = tasks.iter().chain([&group]).flat_map(|t| listed(t, "Services"));
            services.insert(name(&group), all.map(|s| name(&s)).collect());
        }
        let buckets = desired.buckets.iter().map(|b| b.alias.clone());
        let site = desired.site.iter().filter_map(|s| s.hosts.first().map(ToString::to_string));
        Some(Self { head: head.clone(), project, services, buckets: buckets.chain(site).collect() })
    }

    /// Every service that it is or needs.
    fn named(&self, cluster: &Cluster) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = self.services.values().flatten().cloned().collect();
        for (_, service) in self.needs(cluster) {
            names.insert(service);
        }
        names
    }

    /// Which service each process needs, or the app as a whole (`None`).
    fn needs(&self, cluster: &Cluster) -> BTreeSet<(Option<String>, String)> {
        let mut needs = BTreeSet::new();
        for u in &self.project.uses {
            let service = match u.kind {
                UseKind::Ldap => &cluster.ldap_service,
                UseKind::Bucket { .. } => &cluster.s3_service,
            };
            needs.insert((None, service.clone()));
        }
        let of = |text: &crate::model::text::Text, who: Option<&str>, needs: &mut BTreeSet<_>| {
            for r in text.references() {
                if let Reference::Service(name) = r {
                    needs.insert((who.map(str::to_owned), name.clone()));
                }
            }
        };
        self.project.env.values().for_each(|t| of(t, None, &mut needs));
        self.project.files.iter().for_each(|f| of(&f.content, None, &mut needs));
        for p in &self.project.processes {
            p.command.iter().chain(p.env.values()).for_each(|t| of(t, Some(p.name.as_str()), &mut needs));
        }
        needs
    }
}

/// Nodes and edges, each once.
#[derive(Default)]
struct Sheet {
    nodes: BTreeMap<String, GraphNode>,
    edges: BTreeSet<GraphEdge>,
}

impl Sheet {
    fn node(&mut self, kind: &str, name: &str, label: &str, state: Option<String>) -> String {
        let id = format!("{kind}:{name}");
        let node =
            GraphNode { id: id.clone(), kind: kind.to_owned(), label: label.to_owned(), state, well: true };
        self.nodes.entry(id.clone()).or_insert(node);
        id
    }

    fn edge(&mut self, from: &str, to: &str, what: &str) {
        self.edges.insert(GraphEdge { from: from.to_owned(), to: to.to_owned(), what: what.to_owned() });
    }

    /// A service, and the nodes on which its healthy instances are.
    fn service(&mut self, name: &str, live: &BTreeMap<String, Vec<Instance>>) -> String {
        let all = live.get(name).map_or(&[][..], Vec::as_slice);
        let passing = all.iter().filter(|i| i.is_passing()).count();
        let state =
            if all.is_empty() { "missing".to_owned() } else { format!("{passing} of {} passing", all.len()) };
        let id = self.node("service", name, name, Some(state));
        if let Some(node) = self.nodes.get_mut(&id) {
            node.well = passing > 0;
        }
        for i in all.iter().filter(|i| i.is_passing()) {
            let node = self.node("node", &i.node, &i.node, i.node_meta.get("site").cloned());
            self.edge(&id, &node, "on");
        }
        id
    }
}

/// Puts everything together. Pure: the same world gives the same graph.
fn draw(known: &[Known], live: &BTreeMap<String, Vec<Instance>>, cluster: &Cluster) -> Graph {
    let mut s = Sheet::default();
    for k in known {
        let flat = k.head.app.flat();
        let release = k.head.release.as_ref().map(|r| format!("release {}", r.number));
        let app = s.node("app", &flat, &k.head.app.to_string(), release);
        for p in &k.project.processes {
            let count = k.head.counts.get(&p.name).copied().unwrap_or(p.instances);
            let state = format!("{count} wanted");
            let process = s.node("process", &format!("{flat}/{}", p.name), p.name.as_str(), Some(state));
            s.edge(&app, &process, "runs");
            for route in &p.routes {
                let host = s.node("host", route.host.as_str(), route.host.as_str(), None);
                s.edge(&host, &process, "routes to");
            }
            for name in k.services.get(p.name.as_str()).into_iter().flatten() {
                let service = s.service(name, live);
                s.edge(&process, &service, "serves as");
            }
        }
        for host in &k.project.site_routes {
            let host = s.node("host", host.as_str(), host.as_str(), None);
            s.edge(&host, &app, "routes to");
        }
        for name in &k.buckets {
            let bucket = s.node("bucket", name, name, None);
            s.edge(&app, &bucket, "keeps");
            let garage = s.node("engine", "garage", "garage", None);
            s.edge(&bucket, &garage, "in");
        }
        for (who, name) in k.needs(cluster) {
            let service = s.service(&name, live);
            let from = who.map_or_else(|| app.clone(), |p| format!("process:{flat}/{p}"));
            s.edge(&from, &service, "needs");
            let engine = match () {
                () if name == cluster.ldap_service => "directory",
                () if name == cluster.s3_service => "garage",
                () => continue,
            };
            let engine = s.node("engine", engine, engine, None);
            s.edge(&service, &engine, "of");
        }
        if !k.services.is_empty() {
            let nomad = s.node("engine", "nomad", "nomad", None);
            s.edge(&app, &nomad, "placed by");
        }
    }
    Graph { nodes: s.nodes.into_values().collect(), edges: s.edges.into_iter().collect(), unseen: Vec::new() }
}
