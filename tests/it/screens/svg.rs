//! A terminal's screen as SVG: text with the colours that tmux captured. Same screen, same bytes.

use std::fmt::Write as _;

/// How a run of characters looks.
#[derive(Clone, Copy, Default, PartialEq)]
struct Look {
    bold: bool,
    dim: bool,
    underlined: bool,
    colour: Option<usize>,
}

/// The eight colours and their bright kin, readable on a dark ground.
const COLOURS: [&str; 16] = [
    "#1b1f23", "#f97583", "#85e89d", "#ffdf5d", "#79b8ff", "#d0a5f5", "#7fdbff", "#e1e4e8", "#6a737d",
    "#ff99a3", "#a6f2ba", "#ffe99a", "#a5d0ff", "#e2c5ff", "#b3ecff", "#ffffff",
];
const WIDE: f64 = 8.4;
const HIGH: usize = 19;

/// The picture of these lines, `columns` wide, under a title.
pub fn picture(title: &str, lines: &[String], columns: u32) -> String {
    let width = (f64::from(columns) * WIDE).ceil() + 32.0;
    let height = lines.len() * HIGH + 60;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\">\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#22272e\"/>\n\
         <circle cx=\"20\" cy=\"18\" r=\"5\" fill=\"#f97583\"/><circle cx=\"38\" cy=\"18\" r=\"5\" fill=\"#ffdf5d\"/>\
         <circle cx=\"56\" cy=\"18\" r=\"5\" fill=\"#85e89d\"/>\n\
         <g font-family=\"ui-monospace,SFMono-Regular,Menlo,Consolas,monospace\" font-size=\"14\" fill=\"#e1e4e8\" \
         xml:space=\"preserve\">\n",
        title = escaped(title)
    );
    for (n, line) in lines.iter().enumerate() {
        let runs = runs(line);
        if runs.is_empty() {
            continue;
        }
        let _ = write!(svg, "<text x=\"16\" y=\"{}\">", 50 + n * HIGH);
        for (look, text) in runs {
            let mut style = String::new();
            if let Some(colour) = look.colour {
                let _ = write!(style, " fill=\"{}\"", COLOURS[colour]);
            }
            if look.bold {
                style.push_str(" font-weight=\"bold\"");
            }
            if look.dim {
                style.push_str(" opacity=\"0.6\"");
            }
            if look.underlined {
                style.push_str(" text-decoration=\"underline\"");
            }
            let _ = write!(svg, "<tspan{style}>{}</tspan>", escaped(&text));
        }
        svg.push_str("</text>\n");
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The runs of one line: what stands between two changes of look.
fn runs(line: &str) -> Vec<(Look, String)> {
    let (mut look, mut text, mut found) = (Look::default(), String::new(), Vec::new());
    let mut rest = line.trim_end();
    while let Some(at) = rest.find("\u{1b}[") {
        text.push_str(&rest[..at]);
        let Some(end) = rest[at..].find(|c: char| c.is_ascii_alphabetic()) else { break };
        let codes = &rest[at + 2..at + end];
        if rest.as_bytes()[at + end] == b'm' {
            if !text.is_empty() {
                found.push((look, std::mem::take(&mut text)));
            }
            codes.split(';').for_each(|code| turn(&mut look, code));
        }
        rest = &rest[at + end + 1..];
    }
    text.push_str(rest);
    if !text.is_empty() {
        found.push((look, text));
    }
    found
}

fn turn(look: &mut Look, code: &str) {
    match code.parse().unwrap_or(0_usize) {
        0 => *look = Look::default(),
        1 => look.bold = true,
        2 => look.dim = true,
        4 => look.underlined = true,
        22 => (look.bold, look.dim) = (false, false),
        24 => look.underlined = false,
        n @ 30..=37 => look.colour = Some(n - 30),
        39 => look.colour = None,
        n @ 90..=97 => look.colour = Some(n - 82),
        _ => {}
    }
}

/// The text of a line, without its looks.
pub fn plain(line: &str) -> String {
    runs(line).into_iter().map(|(_, text)| text).collect()
}

#[test]
fn looks_become_runs() {
    let line = "a \u{1b}[1m\u{1b}[32mgreen\u{1b}[0m <b>  ";
    assert_eq!(plain(line), "a green <b>");
    let svg = picture("t", &[line.to_owned()], 20);
    assert!(
        svg.contains("<tspan fill=\"#85e89d\" font-weight=\"bold\">green</tspan><tspan> &lt;b&gt;</tspan>"),
        "{svg}"
    );
}
