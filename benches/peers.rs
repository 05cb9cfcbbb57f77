//! Terreau beside its peers, in one run on one machine: pairs, and the ratio of the medians.
//!
//! `cargo bench` (also part of `scripts/test --full`). Starts real engines of its own; needs `rclone` on PATH. Says
//! for each bar of the design whether this run met it; a missed bar fails nothing, because machines differ.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, missing_docs)]

#[path = "../tests/it/harness/mod.rs"]
mod harness;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::{Part, Stack, StackOptions, terreau};
use secrecy::ExposeSecret;
use terreau::build::archive;
use terreau::build::upload::{Store, upload};
use terreau::engines::EngineError;
use terreau::engines::garage::{Admin, Multipart, PART_SIZE, PartDone, Perm, S3, Sender};
use terreau::engines::http::HttpOptions;
use terreau::model::artifact::ArtifactPart;
use terreau::model::wire;

fn main() {
    if std::env::args().any(|a| a == "--test" || a == "--list") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let profile = if cfg!(debug_assertions) { "debug: not for quoting" } else { "release" };
    println!("build: {profile}");
    runtime.block_on(async {
        let stack = Stack::start(StackOptions::with_agent()).await;
        let scratch = tempfile::tempdir().unwrap();
        let bench = Bench { stack, dir: scratch.path().to_owned() };
        bench.memory("agent at rest, no apps");
        bench.login();
        bench.render();
        bench.deploy();
        bench.cold();
        bench.memory("agent after the deploys");
        bench.upload().await;
    });
}

/// Garage as the place where artifacts go, without an agent that reads them afterwards: so does rclone.
struct Direct(S3, String);

impl Store for Direct {
    type Error = EngineError;

    async fn begin(&self, parts: &[ArtifactPart]) -> Result<wire::UploadsAnswer, EngineError> {
        let mut answer = wire::UploadsAnswer { ticket: self.1.clone(), parts: Vec::new() };
        for part in parts {
            let begun = self.0.begin_multipart("bench", &part.key(&self.1), "application/zstd").await?;
            let mut urls = Vec::new();
            for n in 1..=u32::try_from(part.size.div_ceil(PART_SIZE)).unwrap() {
                let url = self.0.presign_part(&begun, n, Duration::from_mins(10)).await?;
                urls.push(url.expose_secret().to_owned());
            }
            let upload = wire::Multipart { id: begun.upload_id, part_size: PART_SIZE, urls };
            let (sha256, upload) = (part.sha256.clone(), Some(upload));
            answer.parts.push(wire::PartUpload { sha256, present: false, upload });
        }
        Ok(answer)
    }

    async fn complete(&self, part: &ArtifactPart, done: wire::CompleteUpload) -> Result<(), EngineError> {
        let pieces = done.etags.into_iter().zip(1..).map(|(etag, number)| PartDone { number, etag, size: 0 });
        let upload = Multipart { bucket: "bench".into(), key: part.key(&self.1), upload_id: done.upload_id };
        self.0.complete_multipart(&upload, &pieces.collect::<Vec<_>>()).await
    }
}

struct Bench {
    stack: Stack,
    dir: PathBuf,
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn report(what: &str, ours: &[Duration], peer: &str, theirs: &[Duration], bar: &str, met: bool) {
    let (a, b) = (median(ours.to_vec()), median(theirs.to_vec()));
    println!(
        "{what}: {a:.1?} (min {:.1?}, max {:.1?}); {peer}: {b:.1?} (min {:.1?}, max {:.1?}); ratio {:.3}; bar: {bar}: {}",
        ours.iter().min().unwrap(),
        ours.iter().max().unwrap(),
        theirs.iter().min().unwrap(),
        theirs.iter().max().unwrap(),
        a.as_secs_f64() / b.as_secs_f64(),
        if met { "met" } else { "NOT met" }
    );
}

fn timed(command: &mut Command) -> Duration {
    let began = Instant::now();
    let out = command.stdin(Stdio::null()).output().unwrap();
    let took = began.elapsed();
    assert!(out.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&out.stderr));
    took
}

impl Bench {
    fn terreau(&self, args: &[&str]) -> Command {
        let mut c = Command::new(terreau());
        c.args(args).env("TERREAU_CONFIG_DIR", self.dir.join("config")).current_dir(&self.dir);
        c
    }

    fn nomad(&self, args: &[&str]) -> Command {
        let program = terreau::sandbox::engines::Engines::find(Path::new(env!("CARGO_MANIFEST_DIR")))
            .unwrap()
            .nomad
            .path;
        let mut c = Command::new(program);
        c.args(args).env("NOMAD_ADDR", self.stack.nomad()).env_remove("AWS_CA_BUNDLE").current_dir(&self.dir);
        c
    }

    fn login(&self) {
        let (user, password) = self.stack.person();
        let file = self.dir.join("password");
        std::fs::write(&file, password).unwrap();
        let mut c =
            self.terreau(&["login", "--server", &self.stack.api(), "--user", &user, "--password-stdin"]);
        let status = c.stdin(std::fs::File::open(&file).unwrap()).stderr(Stdio::null()).status().unwrap();
        assert!(status.success());
    }

    fn descriptor(&self, name: &str, round: u32) -> PathBuf {
        let dir = self.dir.join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let text = format!(
            r#"project "{name}" {{
  process "web" {{
    command = ["/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", "${{port.http}}"]
    port "http" {{}}
    check "http" {{
      path     = "/"
      interval = "1s"
      timeout  = "1s"
    }}
    route "{name}.example.org" {{}}
    update {{
      min_healthy_time = "0s"
    }}
  }}
  env {{
    ROUND = "{round}"
  }}
}}
"#
        );
        std::fs::write(dir.join("terreau.hcl"), text).unwrap();
        dir
    }

    /// Cold processes: our renderer beside Nomad's client-side parse of the job that it renders.
    fn render(&self) {
        let dir = self.descriptor("rendered", 0);
        let hcl = self.terreau(&["render"]).current_dir(&dir).output().unwrap().stdout;
        std::fs::write(self.dir.join("rendered.nomad.hcl"), hcl).unwrap();
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..21 {
            ours.push(timed(self.terreau(&["render"]).current_dir(&dir)));
            theirs.push(timed(&mut self.nomad(&["job", "run", "-output", "rendered.nomad.hcl"])));
        }
        let (a, b) = (median(ours.clone()), median(theirs.clone()));
        let met = a <= Duration::from_millis(3) && b.as_secs_f64() >= 8.0 * a.as_secs_f64();
        report(
            "terreau render, cold",
            &ours,
            "nomad job run -output",
            &theirs,
            "<= 3 ms and >= 8x faster",
            met,
        );
    }

    /// The same job by both: a change of its environment, rolled out with a canary, until it is healthy.
    fn deploy(&self) {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..12 {
            let dir = self.descriptor("ours", round);
            let a = timed(self.terreau(&["deploy"]).current_dir(&dir));
            let dir = self.descriptor("theirs", round);
            let hcl = self.terreau(&["render"]).current_dir(&dir).output().unwrap().stdout;
            // Offline the driver is that of an ordinary cluster; the agent of this one uses `raw_exec`.
            let hcl = String::from_utf8(hcl).unwrap().replace("driver = \"exec\"", "driver = \"raw_exec\"");
            std::fs::write(dir.join("job.nomad.hcl"), hcl).unwrap();
            let b = timed(self.nomad(&["job", "run", "job.nomad.hcl"]).current_dir(&dir));
            // The first of each makes the job; the others replace it.
            if round > 0 {
                ours.push(a);
                theirs.push(b);
            }
        }
        let over = median(ours.clone()).saturating_sub(median(theirs.clone()));
        let bar = format!("at most 300 ms over ({} ms over)", over.as_millis());
        report("terreau deploy", &ours, "nomad job run", &theirs, &bar, over <= Duration::from_millis(300));
    }

    /// Cold processes that say a version, and that ask a server how an app is.
    fn cold(&self) {
        let pairs: [(&str, &[&str], &str, &[&str]); 2] = [
            ("terreau --version, cold", &["--version"], "nomad version", &["version"]),
            ("terreau status, cold", &["status", "ours"], "nomad job status", &["job", "status", "ours"]),
        ];
        for (what, our_args, peer, their_args) in pairs {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..21 {
                ours.push(timed(&mut self.terreau(our_args)));
                theirs.push(timed(&mut self.nomad(their_args)));
            }
            let met = median(ours.clone()) <= median(theirs.clone());
            report(what, &ours, peer, &theirs, "no slower", met);
        }
    }

    /// 256 MiB that do not compress, to the same Garage: our multipart upload beside rclone's.
    async fn upload(&self) {
        let options = HttpOptions::default();
        let admin = Admin::new(&self.stack.garage_admin(), self.stack.admin_token(), &options).unwrap();
        let (key, secret) = (format!("GK{}", hex::encode([9; 12])), hex::encode([9; 32]));
        admin.import_key(&key, &secret.clone().into(), "bench").await.unwrap();
        let bucket = admin.create_bucket("bench").await.unwrap();
        admin.allow(&bucket.id, &key, Perm::ALL).await.unwrap();
        let s3 = S3::new(&self.stack.s3(), "garage", &key, secret.clone().into()).unwrap();
        let sender = Sender::new(&options).unwrap();
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..4_u8 {
            let file = self.dir.join(format!("noise-{round}.tar.zst"));
            let mut noise = vec![0_u8; 256 << 20];
            rand::fill(&mut noise[..]);
            std::fs::write(&file, &noise).unwrap();
            let packed = archive::as_is(&file, "tar.zst").unwrap();
            let direct = Direct(s3.clone(), hex::encode([round; 32]));
            let began = Instant::now();
            let sent = upload(&direct, &sender, &packed, Arc::new(|_| {})).await.unwrap();
            let a = began.elapsed();
            assert_eq!(sent.bytes, 256 << 20);
            // Other bytes, so that Garage cannot give what it has already.
            rand::fill(&mut noise[..]);
            std::fs::write(&file, &noise).unwrap();
            let mut rclone = Command::new("rclone");
            rclone
                .args([
                    "copyto",
                    "--s3-no-check-bucket",
                    &file.to_string_lossy(),
                    &format!("g:bench/rclone-{round}"),
                ])
                .env("RCLONE_CONFIG", "/dev/null")
                .env("RCLONE_CONFIG_G_TYPE", "s3")
                .env("RCLONE_CONFIG_G_PROVIDER", "Other")
                .env("RCLONE_CONFIG_G_ENDPOINT", self.stack.s3())
                .env("RCLONE_CONFIG_G_REGION", "garage")
                .env("RCLONE_CONFIG_G_FORCE_PATH_STYLE", "true")
                .env("RCLONE_CONFIG_G_ACCESS_KEY_ID", &key)
                .env("RCLONE_CONFIG_G_SECRET_ACCESS_KEY", &secret);
            let b = timed(&mut rclone);
            std::fs::remove_file(&file).unwrap();
            if round > 0 {
                ours.push(a);
                theirs.push(b);
            }
        }
        let ratio = median(theirs.clone()).as_secs_f64() / median(ours.clone()).as_secs_f64();
        let bar = format!(">= 90 % of rclone's speed ({:.0} %)", ratio * 100.0);
        report("upload of 256 MiB", &ours, "rclone", &theirs, &bar, ratio >= 0.9);
    }

    fn memory(&self, when: &str) {
        let pid = self.stack.identity(Part::Agent).unwrap().pid;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
        let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        println!("{when}: {:.1} MiB resident", kib / 1024.0);
    }
}
