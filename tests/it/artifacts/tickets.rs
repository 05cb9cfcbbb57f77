//! Tickets: given to one person for one app, and nobody chooses one.

use reqwest::Method;
use serde_json::json;
use terreau::build::upload::Store;
use terreau::model::artifact::Artifact;

use super::*;
use crate::harness::unique;

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_taken_for_its_app_and_its_person_and_cannot_be_chosen() {
    let stack = stack().await;
    let agent = agent(stack, &[]).await;
    let s3 = inside(stack);
    let name = unique("ticket");
    let alice = Door::of(&agent, "alice", &name).await;
    let bob = Door::of(&agent, "bob", &name).await;
    let elsewhere = Door { app: unique("else"), token: alice.token.clone(), agent: &agent };
    let bytes = zstd(&tarred(&[("index.html", b"hi")]));
    let whole = part(&bytes, "tar.zst");
    let parts = std::slice::from_ref(&whole);
    let tickets = [
        alice.begin(parts).await.unwrap().ticket,
        bob.begin(parts).await.unwrap().ticket,
        elsewhere.begin(parts).await.unwrap().ticket,
    ];
    assert!(tickets[0] != tickets[1] && tickets[0] != tickets[2]);
    // A second agent gives and takes the same: any of them may be asked.
    let second = super::agent(stack, &[]).await;
    let twin = Door::of(&second, "alice", &name).await;
    assert_eq!(twin.begin(parts).await.unwrap().ticket, tickets[0]);

    let chosen = ["0".repeat(64), "f".repeat(64), hex::encode(rand::random::<[u8; 32]>())];
    for bad in tickets[1..].iter().chain(&chosen) {
        let begun = alice.begin(parts).await.unwrap();
        let mut done = alice.put(&whole, &begun, &bytes).await;
        done.ticket.clone_from(bad);
        let artifact = Artifact { parts: vec![whole.clone()] };
        let answers = [
            alice.stream(&whole, bad, bytes.clone()).await,
            alice.complete(&whole, done).await.unwrap_err(),
            {
                let (status, answer) = alice.deploy(&artifact, bad, None).await;
                Told(status, answer)
            },
            {
                let site = "build \"static\" {}\n  route \"x.example.org\" {}";
                let text = format!("project \"{name}\" {{\n  {site}\n}}\n");
                let plan = json!({"descriptor": text, "artifact": artifact, "ticket": bad});
                let (status, answer) = alice.ask(Method::POST, "/plan", plan).await;
                Told(status, answer)
            },
        ];
        for told in answers {
            assert_eq!((told.0.as_u16(), told.1["code"].as_str()), (404, Some("not_found")), "{told}");
        }
        assert_eq!(lies(&s3, bad).await.0, Vec::<String>::new());
    }
    for bad in ["", "x", "../../../x", &"0".repeat(65), &"A".repeat(64)] {
        assert_eq!(alice.stream(&whole, bad, bytes.clone()).await.0, 404, "{bad:?}");
    }
    // An upload that is none of hers, or none at all.
    let bobs = bob.begin(parts).await.unwrap();
    let mut done = bob.put(&whole, &bobs, &bytes).await;
    done.ticket.clone_from(&tickets[0]);
    for id in
        [done.upload_id.clone(), String::new(), "x".into(), "../x.y".into(), format!("{}.", "0".repeat(32))]
    {
        let told =
            alice.complete(&whole, CompleteUpload { upload_id: id, ..done.clone() }).await.unwrap_err();
        assert_eq!(told.0, 404, "{told}");
    }

    // Her own is taken, and is the app's for good; his opens nothing of hers.
    assert_eq!(alice.stream(&whole, &tickets[0], bytes.clone()).await.0, 204);
    alice.deployed(&Artifact { parts: vec![whole.clone()] }, &tickets[0], None).await;
    assert_eq!(alice.stream(&whole, &tickets[2], bytes.clone()).await.0, 404);
    for ticket in &tickets {
        let told = bob.stream(&whole, ticket, bytes.clone()).await;
        assert_eq!((told.0.as_u16(), told.1["code"].as_str()), (409, Some("name_not_available")), "{told}");
    }
    let told = bob.complete(&whole, done).await.unwrap_err();
    assert_eq!(told.0, 409, "{told}");

    // Deleted: its name waits for the sweep, and who read its job knows nothing of what comes after.
    let (status, answer) = alice.ask(Method::DELETE, "", Value::Null).await;
    assert_eq!(status, 202, "{answer}");
    assert_eq!(
        follow(&agent, answer["operation"].as_str().unwrap(), &alice.token).await.1["outcome"],
        "done"
    );
    let told = alice.stream(&whole, &tickets[0], bytes.clone()).await;
    assert_eq!(told.0, 404, "{told}");
    assert_ne!(alice.begin(parts).await.unwrap().ticket, tickets[0]);
}
