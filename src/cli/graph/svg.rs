//! A graph as a picture: our own small layout, in columns from the host to the node. Pure; the same graph gives the same
//! bytes, and no program is needed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::model::wire::{Graph, GraphNode};

/// From left to right.
const COLUMNS: [&str; 7] = ["host", "app", "process", "service", "bucket", "engine", "node"];
/// The height of a box.
const HEIGHT: usize = 40;
/// Between two boxes of a column.
const GAP: usize = 16;
/// Between two columns: room for what the arrows say.
const GUTTER: usize = 110;
/// Around everything.
const MARGIN: usize = 20;
/// The width of a character, and what a box has around its text.
const LETTER: (usize, usize) = (8, 20);
/// How often boxes are moved towards what they are tied to.
const SWEEPS: usize = 4;

const STYLE: &str = "text{font:13px monospace;fill:#222}.state{font-size:11px;fill:#666}\
.what{font-size:10px;fill:#888}rect{fill:#f7f7f4;stroke:#888}.app{fill:#e3f0dd}.host{fill:#e6eef8}\
.engine{fill:#f5e9d8}.ill{stroke:#c0392b;stroke-width:3}path{fill:none;stroke:#999}";

/// A box in its place.
struct Place {
    x: usize,
    y: usize,
    width: usize,
}

/// Draws it.
pub fn draw(graph: &Graph) -> String {
    let (places, width, height) = lay_out(graph);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n\
         <style>{STYLE}</style>\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\">\
         <path d=\"M0 0L8 4L0 8z\" style=\"fill:#999\"/></marker></defs>\n\
         <rect width=\"100%\" height=\"100%\" style=\"fill:#fff;stroke:none\"/>\n"
    );
    // Writing to a String cannot fail.
    for e in &graph.edges {
        let (Some(a), Some(b)) = (places.get(e.from.as_str()), places.get(e.to.as_str())) else { continue };
        let (x1, y1, x2, y2) = (a.x + a.width, a.y + HEIGHT / 2, b.x, b.y + HEIGHT / 2);
        let middle = usize::midpoint(x1, x2);
        let _ = writeln!(
            out,
            "<path d=\"M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}\" marker-end=\"url(#tip)\"/>\
             <text class=\"what\" x=\"{}\" y=\"{}\">{}</text>",
            x1 + 6,
            y1.min(y1 + 4) - 4,
            escaped(&e.what)
        );
    }
    for node in &graph.nodes {
        let Some(p) = places.get(node.id.as_str()) else { continue };
        let class = if node.well { escaped(&node.kind) } else { format!("{} ill", escaped(&node.kind)) };
        let (x, up) = (p.x + LETTER.1 / 2, if node.state.is_some() { 17 } else { 25 });
        let _ = writeln!(
            out,
            "<g><title>{}</title><rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{HEIGHT}\" rx=\"6\"/>\
             <text x=\"{x}\" y=\"{}\">{}</text>{}</g>",
            escaped(&node.id),
            p.x,
            p.y,
            p.width,
            p.y + up,
            escaped(&node.label),
            node.state.as_deref().map_or_else(String::new, |s| format!(
                "<text class=\"state\" x=\"{x}\" y=\"{}\">{}</text>",
                p.y + 32,
                escaped(s)
            )),
        );
    }
    out.push_str("</svg>\n");
    out
}

/// The place of each node by its id, and the size of all.
fn lay_out(graph: &Graph) -> (BTreeMap<&str, Place>, usize, usize) {
    let mut columns: Vec<Vec<&GraphNode>> =
        COLUMNS.iter().map(|kind| graph.nodes.iter().filter(|n| n.kind == *kind).collect()).collect();
    columns.retain(|c: &Vec<&GraphNode>| !c.is_empty());
    for sweep in 0..SWEEPS {
        // Each box goes to the middle of what it is tied to; ties are broken by the id. One column after the other: two
        // that move at once only change places.
        let order: Vec<usize> =
            if sweep % 2 == 0 { (0..columns.len()).collect() } else { (0..columns.len()).rev().collect() };
        for n in order {
            let rows: BTreeMap<&str, usize> = columns
                .iter()
                .flat_map(|c| c.iter().enumerate().map(|(row, n)| (n.id.as_str(), row)))
                .collect();
            columns[n].sort_by_key(|n| (middle(graph, &rows, &n.id), n.id.clone()));
        }
    }
    let (mut places, mut x, mut height) = (BTreeMap::new(), MARGIN, 0);
    for column in &columns {
        let width = column.iter().map(|n| width(n)).max().unwrap_or(0);
        let mut y = MARGIN;
        for node in column {
            places.insert(node.id.as_str(), Place { x, y, width });
            y += HEIGHT + GAP;
        }
        height = height.max(y);
        x += width + GUTTER;
    }
    (
        places,
        (x + MARGIN).saturating_sub(GUTTER).max(2 * MARGIN),
        (height + MARGIN).saturating_sub(GAP).max(2 * MARGIN),
    )
}

/// A thousand times the mean row of what a node is tied to.
fn middle(graph: &Graph, rows: &BTreeMap<&str, usize>, id: &str) -> usize {
    let tied = graph.edges.iter().filter_map(|e| match id {
        _ if e.from == id => rows.get(e.to.as_str()),
        _ if e.to == id => rows.get(e.from.as_str()),
        _ => None,
    });
    let tied: Vec<usize> = tied.copied().collect();
    if tied.is_empty() {
        rows.get(id).copied().unwrap_or(0) * 1_000
    } else {
        tied.iter().sum::<usize>() * 1_000 / tied.len()
    }
}

fn width(node: &GraphNode) -> usize {
    let letters = node.label.chars().count().max(node.state.as_deref().map_or(0, |s| s.chars().count()));
    letters * LETTER.0 + LETTER.1
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::wire::GraphEdge;

    fn graph() -> Graph {
        let node = |kind: &str, name: &str| GraphNode {
            id: format!("{kind}:{name}"),
            kind: kind.into(),
            label: name.into(),
            state: (kind == "service").then(|| "1 of 1 passing".to_owned()),
            well: name != "b",
        };
        let edge =
            |from: &str, to: &str| GraphEdge { from: from.into(), to: to.into(), what: "needs".into() };
        Graph {
            nodes: vec![
                node("app", "one"),
                node("app", "two"),
                node("service", "a"),
                node("service", "b<&>\""),
            ],
            edges: vec![edge("app:one", "service:b<&>\""), edge("app:two", "service:a")],
            unseen: vec![],
        }
    }

    #[test]
    fn the_same_graph_is_the_same_picture_and_its_arrows_do_not_cross() {
        let graph = graph();
        let text = draw(&graph);
        assert_eq!(text, draw(&graph.clone()));
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
        assert!(text.contains("b&lt;&amp;&gt;&quot;") && !text.contains("b<&"));
        let (places, width, height) = lay_out(&graph);
        let above = |a: &str, b: &str| places[a].y < places[b].y;
        assert_eq!(above("app:one", "app:two"), above("service:b<&>\"", "service:a"));
        assert!(places.values().all(|p| p.x + p.width <= width && p.y + HEIGHT <= height));
    }

    #[test]
    fn nothing_is_a_picture_too() {
        assert!(draw(&Graph::default()).contains("</svg>"));
    }
}
