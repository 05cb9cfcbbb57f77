//! What is said of an app that has no instance: a static site never has one. Must never say so of what may yet run.

use super::client::{Client, app_path};
use super::context::Context;
use crate::model::Placement;
use crate::model::wire::AppStatus;

/// Whether an app is a static site: nothing of it runs. What cannot be asked is none.
pub async fn is_site(app: &Placement, client: &Client) -> bool {
    let Ok(status) = client.get::<AppStatus>(&app_path(app, "")).await else { return false };
    let owns = |kind: &str| status.resources.iter().any(|r| r.kind == kind);
    owns("site") && !owns("job")
}

/// Says that an app has no instance, and where to look instead.
pub async fn say_none(app: &Placement, client: &Client, cx: &Context) {
    if is_site(app, client).await {
        cx.printer.say(format!(
            "{app} is a static site: its files are served as they are, and it has no process and no instance"
        ));
        cx.printer.hint(format!(
            "`terreau status {app}` shows it, `terreau open {app}` opens it, `terreau events {app}` tells what happened to it"
        ));
    } else {
        cx.printer.say(format!("{app} has no instance now"));
        cx.printer.hint(format!("`terreau status {app}` says why"));
    }
}
