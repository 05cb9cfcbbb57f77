//! The catalogue and the health of what stands in it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use terreau::engines::Fault;
use terreau::engines::consul::{ServiceRecord, TxnOp};

use super::{Lab, SOON, name};
use crate::harness::eventually;

#[tokio::test]
async fn a_first_check_runs_at_a_random_point_of_its_interval() {
    let lab = Lab::open().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let accept = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let service = name("check");
    let begin = tokio::time::Instant::now();
    for n in 0..12 {
        let definition = json!({ "ID": format!("{service}-{n}"), "Name": service, "Port": addr.port(),
            "Check": { "TCP": addr.to_string(), "Interval": "4s", "Timeout": "1s" } });
        lab.consul.agent_register(&definition).await.unwrap();
    }
    let mut at = BTreeMap::new();
    let mut index = 0;
    while at.len() < 12 {
        let (found, next) = lab.consul.health_wait(&service, index, Duration::from_secs(5)).await.unwrap();
        index = next;
        for instance in found.iter().filter(|i| i.is_passing()) {
            at.entry(instance.service_id.clone()).or_insert_with(|| begin.elapsed());
        }
        assert!(begin.elapsed() < Duration::from_secs(12), "{at:?}");
    }
    let (first, last) = (at.values().min().unwrap(), at.values().max().unwrap());
    // Twelve even draws from 4 s lie within 1 s of each other about once in 400,000 runs.
    assert!(*last - *first > Duration::from_secs(1), "all within a second: {at:?}");
    for n in 0..12 {
        lab.consul.agent_deregister(&format!("{service}-{n}")).await.unwrap();
    }
    accept.abort();
}

#[tokio::test]
async fn an_external_service_lives_on_a_node_without_an_agent_and_is_guarded_by_its_index() {
    let lab = Lab::open().await;
    let node = name("ext");
    let record = ServiceRecord {
        id: node.clone(),
        service: node.clone(),
        tags: vec!["tricot a.example".into()],
        meta: BTreeMap::from([("owner".into(), "somebody".into())]),
        address: "192.0.2.7".into(),
        port: 443,
    };
    let meta =
        BTreeMap::from([("site".to_owned(), "nowhere".to_owned()), ("external-node".into(), "true".into())]);
    let make = [
        TxnOp::NodeSet { node: node.clone(), address: "192.0.2.7".into(), meta: meta.clone() },
        TxnOp::ServiceCreate { node: node.clone(), service: record.clone() },
    ];
    lab.consul.txn(&make).await.unwrap();
    assert_eq!(lab.consul.txn(&make).await.unwrap_err().fault, Fault::Conflict, "create-only");

    let found = lab.consul.health(&node).await.unwrap();
    let [instance] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(
        (instance.node.as_str(), instance.address.as_str(), instance.port),
        (node.as_str(), "192.0.2.7", 443)
    );
    assert_eq!((&instance.tags, &instance.meta, &instance.node_meta), (&record.tags, &record.meta, &meta));
    assert!(instance.is_passing(), "no check says otherwise");
    assert_eq!(lab.consul.services().await.unwrap()[&node], record.tags);

    // rs-consul's part: the list of nodes with their meta.
    let nodes = lab.consul.nodes().await.unwrap();
    let seen = nodes.iter().find(|n| n.name == node).unwrap();
    assert_eq!((seen.address.as_str(), &seen.meta), ("192.0.2.7", &meta));

    let index = instance.modify_index;
    let changed = ServiceRecord { port: 8443, ..record.clone() };
    let change = |index| [TxnOp::ServiceCas { node: node.clone(), service: changed.clone(), index }];
    lab.consul.txn(&change(index)).await.unwrap();
    assert_eq!(lab.consul.txn(&change(index)).await.unwrap_err().fault, Fault::Conflict);
    let index = lab.consul.health(&node).await.unwrap()[0].modify_index;
    lab.consul
        .txn(&[TxnOp::ServiceDeleteCas {
            node: node.clone(),
            id: node.clone(),
            service: node.clone(),
            index,
        }])
        .await
        .unwrap();
    let index = lab.consul.node_index(&node).await.unwrap().unwrap();
    lab.consul.txn(&[TxnOp::NodeDeleteCas { node: node.clone(), index }]).await.unwrap();
    assert!(lab.consul.node_index(&node).await.unwrap().is_none());
    assert!(lab.consul.health(&node).await.unwrap().is_empty());
}

#[tokio::test]
async fn watches_of_services_and_checks_wake_at_a_new_one() {
    let lab = Lab::open().await;
    let service = name("watch");
    let (services, index) = lab.consul.services_wait(0, SOON).await.unwrap();
    assert!(!services.contains_key(&service));
    let (_, checks_index) = lab.consul.checks_wait(0, SOON).await.unwrap();
    let definition =
        json!({ "ID": service, "Name": service, "Check": { "TTL": "1h", "Status": "critical" } });
    lab.consul.agent_register(&definition).await.unwrap();
    let mut index = index;
    eventually("the service is seen", SOON, async || {
        let (services, next) = lab.consul.services_wait(index, Duration::from_secs(5)).await.unwrap();
        index = next;
        services.contains_key(&service).then_some(())
    })
    .await;
    let mut index = checks_index;
    let check = eventually("its check is seen", SOON, async || {
        let (checks, next) = lab.consul.checks_wait(index, Duration::from_secs(5)).await.unwrap();
        index = next;
        checks.into_iter().find(|c| c.service == service)
    })
    .await;
    assert_eq!(check.status, "critical");
    lab.consul.agent_deregister(&service).await.unwrap();
}

#[tokio::test]
async fn both_agents_tell_who_they_are() {
    let lab = Lab::open().await;
    let consul = lab.consul.self_info().await.unwrap();
    let nomad = lab.nomad.agent_self().await.unwrap();
    assert!(lab.consul.leader().await.unwrap().is_some());
    assert!(lab.nomad.leader().await.unwrap().is_some());
    assert!(!consul.version.is_empty() && !consul.datacenter.is_empty() && consul.server);
    assert!(!nomad.version.is_empty() && nomad.server && nomad.client && !nomad.acl, "{nomad:?}");
    assert_eq!(lab.nomad.regions().await.unwrap(), [nomad.region]);
    assert_eq!(nomad.consuls["default"], lab.consul_addr.trim_start_matches("http://"));
    let node = lab.nomad.nodes().await.unwrap().remove(0);
    assert_eq!((node.status.as_str(), node.version.as_str()), ("ready", nomad.version.as_str()));
    let node = lab.nomad.node(&node.id).await.unwrap().unwrap();
    assert!(node.meta.contains_key("site"), "{:?}", node.meta);
}
