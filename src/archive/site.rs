//! What a static site's files are: types of content, and the order in which they are put. Pure.

/// When a file of a site is put: new assets first, then pages, the front page last, so that no page is ever served
/// whose assets are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pass {
    /// All that is not a page.
    Assets,
    /// `.html` and `.htm`, feeds and site maps.
    Pages,
    /// The page that `/` shows.
    Front,
}

impl Pass {
    /// The pass that a file belongs to; `index` is the page that `/` shows.
    pub fn of(name: &str, index: &str) -> Self {
        let ending = name.rsplit_once('.').map_or("", |(_, e)| e).to_ascii_lowercase();
        match ending.as_str() {
            _ if name == index => Self::Front,
            "html" | "htm" | "xhtml" | "xml" | "atom" | "rss" | "webmanifest" => Self::Pages,
            _ => Self::Assets,
        }
    }
}

/// The `Content-Type` by the name's ending, with a character set where the content is text.
pub fn content_type(name: &str) -> String {
    let guess = mime_guess::from_path(name).first_or_octet_stream();
    let is_text = guess.type_() == "text"
        || matches!(
            guess.essence_str(),
            "application/javascript" | "application/json" | "application/xml" | "application/manifest+json"
        );
    if is_text && guess.get_param("charset").is_none() {
        format!("{guess}; charset=utf-8")
    } else {
        guess.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_utf_8_and_the_unknown_is_bytes() {
        assert_eq!(content_type("index.html"), "text/html; charset=utf-8");
        assert_eq!(content_type("a/b.css"), "text/css; charset=utf-8");
        assert_eq!(content_type("app.JS"), "text/javascript; charset=utf-8");
        assert_eq!(content_type("x.json"), "application/json; charset=utf-8");
        assert_eq!(content_type("x.svg"), "image/svg+xml");
        assert_eq!(content_type("x.woff2"), "font/woff2");
        assert_eq!(content_type("x.png"), "image/png");
        assert_eq!(content_type("README"), "application/octet-stream");
    }

    #[test]
    fn the_front_page_is_last_and_assets_come_first() {
        let mut names = ["index.html", "blog/index.html", "app.js", "feed.xml", "a.b/c"];
        names.sort_by_key(|n| (Pass::of(n, "index.html"), *n));
        assert_eq!(names, ["a.b/c", "app.js", "blog/index.html", "feed.xml", "index.html"]);
    }
}
