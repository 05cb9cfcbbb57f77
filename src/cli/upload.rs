//! The artifact on its way: packed here, and only what the server lacks is sent, straight to Garage where this machine
//! reaches it, else through the agent. Memory does not grow with it.

use std::sync::{Arc, OnceLock};

use http::Method;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use super::client::{Client, app_path, escaped};
use super::failure::Failure;
use super::local::Descriptor;
use super::printer::Printer;
use super::{private, programs};
use crate::build::archive::{ArchiveError, Limits, Listing, Packed};
use crate::build::upload::{self, Store, UploadError};
use crate::descriptor::Paint;
use crate::engines::Fault;
use crate::engines::garage::Sender;
use crate::engines::http::HttpOptions;
use crate::model::Placement;
use crate::model::artifact::ArtifactPart;
use crate::model::project::Build;
use crate::model::wire::{CompleteUpload, UploadsAnswer, UploadsRequest};

/// Packs what a descriptor builds; `None` where it builds nothing. Blocking.
pub fn pack(descriptor: &Descriptor, printer: Printer) -> Result<Option<Packed>, Failure> {
    let dir = match &descriptor.project.build {
        None => return Ok(None),
        Some(Build::Static { dir, .. } | Build::Archive { dir }) => descriptor.folder().join(dir),
    };
    if !dir.is_dir() {
        return Err(Failure::failed(format!("{} is no folder", dir.display()))
            .because(format!("{} builds from it", descriptor.path.display())));
    }
    let cannot = |e: &ArchiveError| Failure::failed(format!("cannot pack {}", dir.display())).because_of(e);
    let files = Listing::of(&dir, &Limits::default());
    let mut warnings = programs::missing(descriptor);
    warnings.0.extend(files.as_ref().ok().and_then(|files| private::packed(descriptor, files)));
    if !warnings.is_empty() {
        printer.say(warnings.pretty(Paint::Colour).trim_end());
    }
    let files = files.map_err(|e| cannot(&e))?;
    let bar = OnceLock::new();
    let live = printer.is_live();
    let packed = files.pack(&std::env::temp_dir(), &mut |p| {
        if live {
            bar.get_or_init(|| bar_of(p.bytes, "packing")).set_position(p.bytes_done);
        }
    });
    if let Some(bar) = bar.get() {
        bar.finish_and_clear();
    }
    packed.map(Some).map_err(|e| cannot(&e))
}

/// Sends what is missing; returns the ticket for a first deploy.
pub async fn send(
    client: &Client,
    app: &Placement,
    packed: &Packed,
    printer: Printer,
) -> Result<String, Failure> {
    let door = Door { client: client.clone(), app: app.clone() };
    let sender = Sender::new(&HttpOptions::default())
        .map_err(|e| Failure::failed("cannot set up the upload").because(e.message))?;
    let bar: Arc<OnceLock<ProgressBar>> = Arc::default();
    let (live, shown) = (printer.is_live(), Arc::clone(&bar));
    let progress: Arc<dyn Fn(upload::Progress) + Send + Sync> = Arc::new(move |p| {
        if live && p.total > 0 {
            shown.get_or_init(|| bar_of(p.total, "uploading")).set_position(p.done);
        }
    });
    let sent = upload::upload(&door, &sender, packed, progress).await;
    if let Some(bar) = bar.get() {
        bar.finish_and_clear();
    }
    match sent {
        Ok(done) => {
            let what = match (done.sent, done.bytes) {
                (0, _) => format!("the artifact is there already ({})", HumanBytes(packed.artifact.size())),
                (_, bytes) => format!("uploaded {}", HumanBytes(bytes)),
            };
            printer.say(what);
            Ok(done.ticket)
        }
        Err(UploadError::Store(failure)) => Err(failure),
        Err(UploadError::Send(e)) if e.fault == Fault::Away => {
            printer
                .say(format!("Garage is not reached from here ({}): uploading through the agent", e.message));
            through_agent(&door, packed, printer).await
        }
        Err(UploadError::Send(e)) => Err(Failure::failed("the upload failed").because(e.to_string())),
        Err(UploadError::Answer(why)) => {
            Err(Failure::failed(format!("the upload to {} failed", client.server())).because(why))
        }
    }
}

/// For machines that do not reach Garage: each missing part as one streamed body.
async fn through_agent(door: &Door, packed: &Packed, printer: Printer) -> Result<String, Failure> {
    let answer = door.begin(&packed.artifact.parts).await?;
    if answer.parts.len() != packed.files.len() {
        return Err(Failure::failed("the answer to the upload makes no sense"));
    }
    // The server says nothing while it takes the body.
    let client = door.client.clone().patient()?;
    let mut bytes = 0;
    for ((part, file), there) in packed.artifact.parts.iter().zip(&packed.files).zip(&answer.parts) {
        if there.present {
            continue;
        }
        let wrong = |e: std::io::Error| Failure::file("read", file, &e);
        let body = tokio::fs::File::open(file).await.map_err(wrong)?;
        let body = reqwest::Body::wrap_stream(tokio_util::io::ReaderStream::with_capacity(body, 256 << 10));
        let rest =
            format!("/uploads/{}?ticket={}&ext={}", part.sha256, escaped(&answer.ticket), escaped(&part.ext));
        let request = client
            .request(Method::PUT, &app_path(&door.app, &rest))
            .header(http::header::CONTENT_LENGTH, part.size)
            .body(body);
        client.send(request).await?;
        bytes += part.size;
    }
    printer.say(format!("uploaded {} through the agent", HumanBytes(bytes)));
    Ok(answer.ticket)
}

/// The API as the place where artifacts go.
struct Door {
    client: Client,
    app: Placement,
}

impl Store for Door {
    type Error = Failure;

    async fn begin(&self, parts: &[ArtifactPart]) -> Result<UploadsAnswer, Failure> {
        let request = UploadsRequest { parts: parts.to_vec() };
        self.client.call(Method::POST, &app_path(&self.app, "/uploads"), &request).await
    }

    async fn complete(&self, part: &ArtifactPart, done: CompleteUpload) -> Result<(), Failure> {
        let path = app_path(&self.app, &format!("/uploads/{}/complete", part.sha256));
        // The agent reads the part before it answers.
        let client = self.client.clone().patient()?;
        client.send(client.request(Method::POST, &path).json(&done)).await.map(drop)
    }
}

fn bar_of(total: u64, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style).with_prefix(what)
}
