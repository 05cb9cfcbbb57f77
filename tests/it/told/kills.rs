//! An agent that dies while it tells: another one tells, by the same id.

use serde_json::json;

use super::{PATIENCE, Receiver};
use crate::harness::{StackOptions, eventually};
use crate::kills::apps::Change;
use crate::kills::world::World;
use crate::mechanism::{app, web};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_recorded_is_told_by_another_agent_where_one_dies_before_or_after_it_sent_it() {
    let mut world = World::start(StackOptions::engines()).await;
    // How often the receiver has it in the end.
    for (point, times) in
        [("told.news.before", 1), ("told.news.after", 1), ("told.send.before", 1), ("told.send.after", 2)]
    {
        let receiver = Receiver::start().await;
        let app = app("mortal");
        let agent = world.agent(&[("TERREAU_KILL_AT", point)]).await;
        eventually("the agent is ready", PATIENCE, async || {
            let url = format!("{}/readyz", agent.url);
            world.stack.http().get(url).send().await.ok().filter(|r| r.status().is_success())
        })
        .await;
        world.login(&agent.url).await;
        let url = agent.url.clone();
        world.change(&url, &Change::deploy(&app, &web(&app, ""))).await;
        world.rest(&app, "the first deploy").await;
        let body = json!({ "url": receiver.url(), "on": ["deploy"] });
        let path = format!("/v1/apps/{app}/hooks");
        let (status, made) = world.ask(&url, reqwest::Method::POST, &path, Some(&body)).await.unwrap();
        assert_eq!(status, 201, "{made}");
        world.change(&url, &Change::deploy(&app, &web(&app, "env = { VERSION = \"two\" }"))).await;
        world.dies(agent, point).await;
        let sent = receiver.all().await.len();
        assert_eq!(sent, times - 1, "{point}");

        let heir = world.agent(&[]).await;
        let got = receiver.until(times).await;
        assert!(got.iter().all(|g| g.is_signed(made["secret"].as_str().unwrap())), "{point}: {got:?}");
        assert!(got.iter().all(|g| g.id == got[0].id && g.body == got[0].body), "{point}: {got:?}");
        let hooks = eventually("it is written down", PATIENCE, async || {
            let (_, list) = world.ask(&heir.url, reqwest::Method::GET, &path, None).await?;
            (list["hooks"][0]["last"]["result"] == "delivered").then(|| list["hooks"][0].clone())
        })
        .await;
        assert_eq!((&hooks["pending"], receiver.all().await.len()), (&json!(0), times), "{point}: {hooks}");
        println!("told: {point}: told {times} times, by one id");
        let mut heir = heir;
        let _ = heir.child.kill();
        let _ = heir.child.wait();
        world.expire(&heir).await;
    }
}
