//! What happened to an app as an Atom feed (RFC 4287): what people did, what was rolled out, and where instances failed.
//! An entry keeps its id however often, and wherever, it is read.

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use sha2::{Digest, Sha256};

use super::events::Placed;
use super::lineage::Old;
use super::{Deployer, Error};
use crate::model::wire::{EventKind, EventView};
use crate::model::{Placement, Uid};

/// So many entries stand in a feed; readers keep what they have seen.
const ENTRIES: usize = 100;

impl Deployer {
    /// The feed of an app, which is found at `place`.
    pub async fn feed(&self, app: &Placement, place: &str) -> Result<String, Error> {
        let uid = self.head(app).await?.value.uid;
        let mut all = self.placed_events(app, &uid, Old::Hidden).await?;
        all.retain(|p| p.matters);
        all.reverse();
        all.truncate(ENTRIES);
        let made = write(app, &uid, place, &all);
        // Into memory: it cannot fail.
        made.map_err(|e| Error::Invalid(format!("the feed of {app} cannot be written: {e}")))
    }
}

/// A name that nobody gives twice: the identity of the app, and what it is. UUIDs of our own making are of version 8
/// (RFC 9562, section 5.8).
fn urn(uid: &Uid, mark: &str) -> String {
    let mut b = [0; 16];
    b.copy_from_slice(&Sha256::digest(format!("{uid}\n{mark}"))[..16]);
    b[6] = (b[6] & 0x0f) | 0x80;
    b[8] = (b[8] & 0x3f) | 0x80;
    let hex = hex::encode(b);
    format!("urn:uuid:{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// What may stand in XML 1.0 (*Char*): escapes of other characters are no XML either.
fn plain(text: &str) -> String {
    let is_char = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    text.chars().map(|c| if is_char(c) { c } else { '\u{fffd}' }).collect()
}

fn title(e: &EventView) -> String {
    let about = match (e.kind, &e.by, &e.process, &e.instance) {
        (EventKind::Change, Some(by), ..) => format!("{} by {by}: ", e.what),
        (EventKind::Instance, _, Some(process), Some(id)) => {
            format!("{process} {}: ", id.get(..8).unwrap_or(id))
        }
        _ => String::new(),
    };
    let line: String = e.text.lines().next().unwrap_or_default().chars().take(200).collect();
    format!("{about}{line}")
}

fn kind(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Change => "change",
        EventKind::Rollout => "rollout",
        EventKind::Instance => "instance",
    }
}

fn write(app: &Placement, uid: &Uid, place: &str, all: &[Placed]) -> std::io::Result<String> {
    let mut xml = Writer::new(Vec::new());
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("utf-8"), None)))?;
    let feed = xml.create_element("feed").with_attribute(("xmlns", "http://www.w3.org/2005/Atom"));
    feed.write_inner_content(|xml| {
        let text = |xml: &mut Writer<Vec<u8>>, name: &str, text: &str| {
            xml.create_element(name).write_text_content(BytesText::new(&plain(text))).map(drop)
        };
        text(xml, "id", &urn(uid, "feed"))?;
        text(xml, "title", &app.to_string())?;
        // Nothing has happened to it that anybody remembers.
        text(xml, "updated", all.first().map_or("1970-01-01T00:00:00Z", |p| &p.event.at))?;
        xml.create_element("author").write_inner_content(|xml| text(xml, "name", "terreau"))?;
        let link = xml.create_element("link").with_attribute(("rel", "self"));
        link.with_attribute(("type", "application/atom+xml"))
            .with_attribute(("href", plain(place).as_str()))
            .write_empty()?;
        for Placed { mark, event, .. } in all {
            xml.create_element("entry").write_inner_content(|xml| {
                text(xml, "id", &urn(uid, mark))?;
                text(xml, "title", &title(event))?;
                text(xml, "updated", &event.at)?;
                if let Some(by) = &event.by {
                    xml.create_element("author").write_inner_content(|xml| text(xml, "name", by))?;
                }
                xml.create_element("category").with_attribute(("term", kind(event.kind))).write_empty()?;
                let content = xml.create_element("content").with_attribute(("type", "text"));
                content.write_text_content(BytesText::new(&plain(&event.text))).map(drop)
            })?;
        }
        Ok(())
    })?;
    let mut text = String::from_utf8(xml.into_inner()).map_err(std::io::Error::other)?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(text: &str) -> Placed {
        Placed {
            at: 0,
            mark: "change deploy x".to_owned(),
            matters: true,
            event: EventView {
                at: "2026-01-02T03:04:05Z".to_owned(),
                kind: EventKind::Change,
                what: "deploy".to_owned(),
                text: text.to_owned(),
                process: None,
                instance: None,
                by: Some("me".to_owned()),
            },
        }
    }

    #[test]
    fn foreign_text_is_text_and_an_entry_keeps_its_name() {
        let (app, uid) = ("carnet".parse().unwrap(), Uid::new("01hzzzzzzzzzzzzzzzzzzzzzzz").unwrap());
        let nasty = "</title><script>&amp;\u{0}\u{1b}]]>\u{ffff} \"é\"";
        let one = write(&app, &uid, "http://x/?a=1&b=\"2\"", &[placed(nasty)]).unwrap();
        assert!(!one.contains("<script") && one.contains("&lt;script&gt;&amp;amp;\u{fffd}\u{fffd}"), "{one}");
        assert!(one.contains("a=1&amp;b=&quot;2&quot;"), "{one}");
        let other = write(&app, &uid, "http://y/", &[placed("else")]).unwrap();
        let ids = |xml: &str| -> Vec<String> {
            xml.split("<id>").skip(1).map(|t| t.split('<').next().unwrap().to_owned()).collect()
        };
        assert_eq!(ids(&one), ids(&other));
        assert!(ids(&one).iter().all(|id| id.len() == 45 && &id[23..24] == "8"), "{:?}", ids(&one));
        let later = Uid::new("01hzzzzzzzzzzzzzzzzzzzzzzy").unwrap();
        assert_ne!(
            ids(&write(&app, &later, "", &[placed("")]).unwrap()),
            ids(&one),
            "another app of that name"
        );
    }
}
