//! The feed, as readers see it.

use reqwest::{Method, StatusCode, header};
use roxmltree::{Document, Node};

use super::crash::pid_of;
use super::{App, PATIENCE, stack};
use crate::harness::{eventually, unique};

const ATOM: &str = "http://www.w3.org/2005/Atom";

fn child<'a>(of: Node<'a, 'a>, name: &str) -> Option<Node<'a, 'a>> {
    of.children().find(|n| n.has_tag_name((ATOM, name)))
}

fn text<'a>(of: Node<'a, 'a>, name: &str) -> &'a str {
    child(of, name).and_then(|n| n.text()).unwrap_or_else(|| panic!("no {name}"))
}

/// What RFC 4287 wants of every feed and entry.
fn check(xml: &str) -> Vec<String> {
    let document = Document::parse(xml).unwrap_or_else(|e| panic!("{e}\n{xml}"));
    let feed = document.root_element();
    assert!(feed.has_tag_name((ATOM, "feed")));
    let mut ids = Vec::new();
    let entries = feed.children().filter(|n| n.has_tag_name((ATOM, "entry")));
    for part in [feed].into_iter().chain(entries) {
        let id = text(part, "id");
        assert!(id.starts_with("urn:uuid:") && !ids.contains(&id.to_owned()), "{id}");
        ids.push(id.to_owned());
        assert!(text(part, "updated").parse::<jiff::Timestamp>().is_ok());
        assert!(!text(part, "title").is_empty());
    }
    let updated: Vec<&str> =
        feed.descendants().filter(|n| n.has_tag_name((ATOM, "updated"))).filter_map(|n| n.text()).collect();
    assert_eq!(updated[0], updated[1], "the feed is as new as its newest entry");
    assert!(child(feed, "author").is_some());
    let link = child(feed, "link").unwrap();
    assert_eq!((link.attribute("rel"), link.attribute("type")), (Some("self"), Some("application/atom+xml")));
    assert!(link.attribute("href").unwrap().ends_with("/events.atom"));
    ids
}

/// A routed app's instances wait for their visitors to go before they end: a restart, a deploy and a scale end instances, and
/// neither the feed nor the status tells these as ends of the program; an end by itself they do.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_ended_on_purpose_is_not_told_as_an_end_of_the_program_and_a_crash_is() {
    let it = App::new(stack().await, "purpose");
    let route = format!("route \"{}.example.org\" {{}}\n    restart {{ delay = \"1s\" }}", it.name);
    it.describe("one", &route);
    it.expect(0, &["deploy"]);
    it.expect(0, &["restart"]);
    it.expect(0, &["scale", "web=2"]);
    it.describe("two", &route);
    it.expect(0, &["deploy"]);
    it.expect(0, &["scale", "web=1"]);
    let ends = |text: &str| text.matches("Exit Code").count();
    let events = eventually("four instances have ended, one of them to begin again", PATIENCE, async || {
        let events = it.expect(0, &["events"]).out;
        (ends(&events) >= 4).then_some(events)
    })
    .await;
    assert!(events.contains("shutdown_delay"), "{events}");
    let feed = it.expect(0, &["events", "--atom"]).out;
    assert_eq!(ends(&feed), 0, "{feed}");
    let status = it.expect(0, &["status"]).out;
    assert!(!status.contains("exit code") && !status.contains("signal"), "{status}");
    let all = it.expect(0, &["ps", "--all"]).out;
    assert!(!all.contains("exit code") && !all.contains("signal"), "{all}");

    let pid = eventually("its process", PATIENCE, async || pid_of(&it.path().display().to_string())).await;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    eventually("its end is told", PATIENCE, async || {
        let status = it.expect(0, &["status"]).out;
        status.contains("last one ended with exit code 137").then_some(())
    })
    .await;
    let feed = it.expect(0, &["events", "--atom"]).out;
    assert_eq!(ends(&feed), 2, "in the title and in the words of one entry: {feed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_is_valid_keeps_its_ids_and_is_not_sent_twice() {
    let stack = stack().await;
    let it = App::new(stack, "feed");
    it.expect(0, &["deploy", "--message", "<b>&\"é\" first"]);
    let (user, _) = stack.person();
    let token: serde_json::Value = serde_json::from_str(
        &it.expect(0, &["tokens", "create", "feed", "--app", &it.name, "--verb", "read", "--json"]).out,
    )
    .unwrap();
    let token = token["token"].as_str().unwrap();
    let path = format!("/v1/apps/{}/events.atom", it.name);
    let url = format!("{}{path}", stack.api());
    let ask = async |url: &str, password: &str, known: Option<&str>| {
        let mut request = stack.http().request(Method::GET, url).basic_auth("anybody", Some(password));
        if let Some(tag) = known {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        request.send().await.unwrap()
    };
    let reply = ask(&url, token, None).await;
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.headers()[header::CONTENT_TYPE], "application/atom+xml; charset=utf-8");
    assert_eq!(reply.headers()[header::CACHE_CONTROL], "private, no-cache");
    let tag = reply.headers()[header::ETAG].to_str().unwrap().to_owned();
    let first = check(&reply.text().await.unwrap());
    assert!(first.len() >= 3, "the feed, a deploy, a rollout: {first:?}");
    // Nothing has happened since.
    let same = ask(&url, token, Some(&format!("W/{tag}"))).await;
    assert_eq!(
        (same.status(), same.headers()[header::ETAG].to_str().unwrap()),
        (StatusCode::NOT_MODIFIED, tag.as_str())
    );
    assert_eq!(same.text().await.unwrap(), "");

    it.expect(0, &["scale", "web=2"]);
    let reply = ask(&url, token, Some(&tag)).await;
    assert_eq!(reply.status(), 200);
    let xml = reply.text().await.unwrap();
    let second = check(&xml);
    assert!(first.iter().all(|id| second.contains(id)), "{first:?} {second:?}");
    assert!(xml.contains(&format!("scale by {user}: ")), "{xml}");
    // The command prints just this.
    let ran = it.expect(0, &["events", "--atom"]);
    assert_eq!(check(&ran.out), second);
    assert!(ran.err.contains("tokens create feed"), "{}", ran.err);
    assert!(!xml.contains("Exit Code"), "{xml}");
    it.expect(2, &["events", "--atom", "--json"]);

    // The password is a token of this kind, here alone, and no more than it is for.
    let login = crate::login::token(&it.person.home);
    for (url, password, wanted) in [
        (url.clone(), login.as_str(), 401),
        (url.clone(), "canary", 401),
        (format!("{}/v1/apps/{}/events", stack.api(), it.name), token, 401),
        (format!("{}/v1/apps/{}", stack.api(), it.name), token, 401),
        (format!("{}/v1/apps/{}/events.atom", stack.api(), unique("other")), token, 403),
    ] {
        let reply = ask(&url, password, None).await;
        assert_eq!(reply.status(), wanted, "{url}");
        let asks: Vec<_> = reply
            .headers()
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .map(|v| v.to_str().unwrap().to_owned())
            .collect();
        let is_feed = url.contains("/events.atom");
        assert_eq!(asks.iter().any(|a| a.starts_with("Basic ")), wanted == 401 && is_feed, "{url}: {asks:?}");
        assert!(!reply.text().await.unwrap().contains("canary"));
    }
    let bare = stack.http().get(&url).send().await.unwrap();
    assert_eq!(bare.status(), 401);
    let reply = stack.http().get(&url).bearer_auth(&login).send().await.unwrap();
    assert_eq!(reply.status(), 200, "a login's token is taken as everywhere");
}
