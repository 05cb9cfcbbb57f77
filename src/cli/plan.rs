//! `terreau plan`: what a deploy would change, in words or as JSON; the file that `deploy --plan` takes.

use std::io::Write;
use std::path::Path;

use http::Method;
use serde::{Deserialize, Serialize};

use super::args::PlanArgs;
use super::client::{Client, app_path};
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran, harmless};
use super::{local, plan_words, upload, waiting};
use crate::model::Placement;
use crate::model::artifact::Artifact;
use crate::model::wire::PlanRequest;
use crate::plan::Plan;

/// A plan that was saved for review, with everything that a deploy of it needs. Mode 0600: the ticket opens the
/// app's artifacts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlanFile {
    /// Schema: 1.
    pub v: u32,
    /// The server that made it.
    pub server: String,
    /// For which app.
    pub app: Placement,
    /// `terreau.hcl`, byte for byte.
    pub descriptor: String,
    /// What was built and uploaded.
    #[serde(default)]
    pub artifact: Option<Artifact>,
    /// For an app that does not exist yet.
    #[serde(default)]
    pub ticket: Option<String>,
    /// What the server said.
    pub plan: Plan,
}

/// Runs it.
pub fn run(args: &PlanArgs, cx: &Context) -> Ran {
    let descriptor = local::load(args.file.file.as_deref(), cx.printer)?;
    let app = local::app_of(&descriptor, args.app.app.as_ref())?;
    let client = cx.client()?;
    let packed = upload::pack(&descriptor, cx.printer)?;
    waiting(async {
        // A plan alone changes nothing, not even in Garage. One that shall be deployed later needs the bytes there.
        let ticket = match (&packed, &args.out) {
            (Some(packed), Some(_)) => Some(upload::send(&client, &app, packed, cx.printer).await?),
            _ => None,
        };
        let artifact = packed.as_ref().map(|p| p.artifact.clone());
        let request = PlanRequest { descriptor: descriptor.text.clone(), artifact, ticket };
        let plan = ask(&client, &app, &request).await?;
        if let Some(path) = &args.out {
            let file = PlanFile {
                v: 1,
                server: client.server().to_string(),
                app: app.clone(),
                descriptor: request.descriptor,
                artifact: request.artifact,
                ticket: request.ticket,
                plan: plan.clone(),
            };
            save(path, &file)?;
        }
        if args.json {
            cx.printer.json(&plan)?;
        } else {
            cx.printer.document(&harmless(&plan_words::words(&plan)))?;
        }
        if let Some(path) = &args.out {
            cx.printer.hint(format!("apply it with `terreau deploy --plan {}`", path.display()));
        }
        Ok(status(&plan))
    })
}

/// Asks the server for a plan.
pub async fn ask(client: &Client, app: &Placement, request: &PlanRequest) -> Result<Plan, Failure> {
    client.call(Method::POST, &app_path(app, "/plan"), request).await
}

fn status(plan: &Plan) -> ExitStatus {
    match (plan.obstacles.is_empty(), plan.is_empty()) {
        (false, _) => ExitStatus::Conflict,
        (true, true) => ExitStatus::Done,
        (true, false) => ExitStatus::Changes,
    }
}

fn save(path: &Path, file: &PlanFile) -> Result<(), Failure> {
    let text = serde_json::to_vec_pretty(file)
        .map_err(|e| Failure::failed("cannot write the plan as JSON").because(e.to_string()))?;
    let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut tmp = tempfile::Builder::new().prefix(".terreau").tempfile_in(dir)?;
        tmp.write_all(&text)?;
        tmp.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    write().map_err(|e| Failure::file("write", path, &e))
}

/// Reads a saved plan.
pub fn load(path: &Path) -> Result<PlanFile, Failure> {
    let text = std::fs::read(path).map_err(|e| Failure::file("read", path, &e))?;
    let file: PlanFile = serde_json::from_slice(&text).map_err(|e| {
        Failure::failed(format!("{} is not a plan saved by `terreau plan --out`", path.display()))
            .because(e.to_string())
    })?;
    if file.v != 1 {
        return Err(Failure::failed(format!("{} was saved by a newer terreau", path.display())));
    }
    Ok(file)
}
