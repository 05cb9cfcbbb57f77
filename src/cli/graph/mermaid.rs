//! A graph as Mermaid's `flowchart`. Pure; the same graph gives the same text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::model::wire::{Graph, GraphNode};

/// Draws it.
pub fn draw(graph: &Graph) -> String {
    let names: BTreeMap<&str, String> =
        graph.nodes.iter().enumerate().map(|(n, node)| (node.id.as_str(), format!("n{n}"))).collect();
    let mut out = "flowchart LR\n".to_owned();
    // Writing to a String cannot fail.
    for node in &graph.nodes {
        let (open, close) = brackets(&node.kind);
        let _ =
            writeln!(out, "  {}{open}\"{}\"{close}:::{}", names[node.id.as_str()], label(node), class(node));
    }
    for e in &graph.edges {
        if let (Some(from), Some(to)) = (names.get(e.from.as_str()), names.get(e.to.as_str())) {
            let _ = writeln!(out, "  {from} -->|{}| {to}", quoted(&e.what));
        }
    }
    out.push_str("  classDef ill stroke:#c0392b,stroke-width:3px\n");
    out
}

fn label(node: &GraphNode) -> String {
    let state = node.state.as_deref().map(|s| format!("<br/>{}", quoted(s))).unwrap_or_default();
    format!("{}{state}", quoted(&node.label))
}

fn class(node: &GraphNode) -> &str {
    if node.well { &node.kind } else { "ill" }
}

fn brackets(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "host" => (">", "]"),
        "app" => ("([", "])"),
        "service" => ("{{", "}}"),
        "bucket" => ("[(", ")]"),
        "engine" => ("[[", "]]"),
        _ => ("[", "]"),
    }
}

/// Names are of few characters; whatever else comes is written by its number.
fn quoted(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '"' | '<' | '>' | '&' | '#' | '|' | '`' | '\\' => format!("#{};", u32::from(c)),
            c if c.is_control() => " ".to_owned(),
            c => c.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::wire::GraphEdge;

    #[test]
    fn a_graph_becomes_a_flowchart_and_no_name_leaves_its_quotes() {
        let node = |id: &str, kind: &str, label: &str, well| GraphNode {
            id: id.into(),
            kind: kind.into(),
            label: label.into(),
            state: None,
            well,
        };
        let graph = Graph {
            nodes: vec![node("app:a", "app", "a\"] --> x", true), node("service:s", "service", "s", false)],
            edges: vec![GraphEdge { from: "app:a".into(), to: "service:s".into(), what: "needs".into() }],
            unseen: vec![],
        };
        assert_eq!(
            draw(&graph),
            "flowchart LR\n  n0([\"a#34;] --#62; x\"]):::app\n  n1{{\"s\"}}:::ill\n  n0 -->|needs| n1\n  \
             classDef ill stroke:#c0392b,stroke-width:3px\n"
        );
    }
}
