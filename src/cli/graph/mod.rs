//! `terreau graph`: the components and their live dependencies, as Mermaid, as a picture, or as JSON.

mod mermaid;
mod svg;

use super::args::{GraphArgs, GraphFormat};
use super::client::escaped;
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Ran, harmless};
use super::waiting;
use crate::model::wire::Graph;

/// Runs it.
pub fn run(args: &GraphArgs, cx: &Context) -> Ran {
    let client = cx.client()?;
    waiting(async {
        let path = match &args.app.app {
            Some(app) => format!("/v1/graph?app={}", escaped(&app.to_string())),
            None => "/v1/graph".to_owned(),
        };
        let graph: Graph = client.get(&path).await?;
        for unseen in &graph.unseen {
            cx.printer.warn(harmless(unseen));
        }
        match if args.json { GraphFormat::Json } else { args.format } {
            GraphFormat::Json => cx.printer.json(&graph)?,
            GraphFormat::Mermaid => cx.printer.document(&harmless(&mermaid::draw(&graph)))?,
            GraphFormat::Svg => cx.printer.document(&harmless(&svg::draw(&graph)))?,
        }
        Ok(ExitStatus::Done)
    })
}
