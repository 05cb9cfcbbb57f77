//! Indexes and guards of registrations.

use serde_json::json;
use terreau::engines::Fault;
use terreau::engines::nomad::{JobView, Registration, Scaling};

use super::{Lab, inert, name, sleeper};

#[tokio::test]
async fn a_violated_index_is_http_500_and_our_conflict() {
    let lab = Lab::open().await;
    let id = name("index");
    let mut job = lab.nomad.parse_hcl(&inert(&id, 1)).await.unwrap();
    let create = Registration { job: job.clone(), enforce_index: Some(0), submission_hcl: None };
    let first = lab.nomad.register(&create).await.unwrap();
    let again = lab.nomad.register(&create).await.unwrap_err();
    assert_eq!(again.fault, Fault::Conflict, "{again}");

    job["Priority"] = 51.into();
    let change = Registration { job: job.clone(), enforce_index: Some(first.job_modify_index), ..create };
    lab.nomad.register(&change).await.unwrap();
    let stale = lab.nomad.register(&change).await.unwrap_err();
    assert_eq!(stale.fault, Fault::Conflict, "{stale}");

    let body = json!({ "Job": job, "EnforceIndex": true, "JobModifyIndex": first.job_modify_index });
    let answer = lab.raw.post(format!("{}/v1/jobs", lab.nomad_addr)).json(&body).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 500);
    assert!(answer.text().await.unwrap().contains("Enforcing job modify index"));
    lab.stop(&id).await;
}

#[tokio::test]
async fn an_invalid_job_is_http_500_too_and_our_invalid() {
    let lab = Lab::open().await;
    let mut job = lab.nomad.parse_hcl(&inert(&name("invalid"), 1)).await.unwrap();
    job["Priority"] = 1000.into();
    let body = json!({ "Job": job });
    let answer = lab.raw.post(format!("{}/v1/jobs", lab.nomad_addr)).json(&body).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 500);
    let refused = lab.register(job.clone()).await.unwrap_err();
    assert_eq!(refused.fault, Fault::Invalid, "{refused}");
    let verdict = lab.nomad.validate(&job).await.unwrap();
    assert!(!verdict.validation_errors.is_empty());
    assert_eq!(lab.nomad.parse_hcl("job {").await.unwrap_err().fault, Fault::Invalid);
    job["Priority"] = 50.into();
    job["Namespace"] = "nowhere".into();
    let refused = lab.register(job).await.unwrap_err();
    assert_eq!(refused.fault, Fault::Invalid, "{refused}");
}

#[tokio::test]
async fn enforce_index_is_no_lock_several_racers_may_win() {
    let lab = Lab::open().await;
    let id = name("race");
    let job = lab.nomad.parse_hcl(&inert(&id, 1)).await.unwrap();
    let mut index = lab.register(job.clone()).await.unwrap().job_modify_index;
    let mut most = 0;
    for round in 0..60 {
        let racers = (0..12).map(|n| {
            let mut job = job.clone();
            job["Priority"] = (10 + (round * 12 + n) % 80).into();
            let what = Registration { job, enforce_index: Some(index), submission_hcl: None };
            let nomad = lab.nomad.clone();
            async move { nomad.register(&what).await }
        });
        let outcomes = futures::future::join_all(racers).await;
        for outcome in &outcomes {
            assert!(outcome.as_ref().err().is_none_or(|e| e.fault == Fault::Conflict), "{outcome:?}");
        }
        most = most.max(outcomes.iter().filter(|o| o.is_ok()).count());
        if most > 1 {
            break;
        }
        index = JobView::of(&lab.job(&id).await).unwrap().job_modify_index();
    }
    lab.stop(&id).await;
    assert!(most > 1, "of 12 racers with one index never more than {most} won: has Nomad made it atomic?");
}

#[tokio::test]
async fn a_scale_beside_a_registration_may_put_the_old_specification_back() {
    let lab = Lab::open().await;
    let id = name("undo");
    let mut job = lab.nomad.parse_hcl(&sleeper(&id, 0, "scaling {\n max = 5\n}")).await.unwrap();
    lab.register(job.clone()).await.unwrap();
    let mut undone = false;
    for round in 0_u64..300 {
        job["Priority"] = (10 + round % 80).into();
        // Changes of the count would start instances: the message alone makes the scale a registration.
        let (registered, scaled) = tokio::join!(
            lab.register(job.clone()),
            lab.nomad.scale("default", &id, "main", 0, "beside a deploy")
        );
        registered.unwrap();
        if scaled.is_ok() && lab.job(&id).await["Priority"] != job["Priority"] {
            undone = true;
            break;
        }
    }
    lab.stop(&id).await;
    assert!(undone, "a scale never undid a registration: has Nomad made it atomic?");
}

#[tokio::test]
async fn an_identical_registration_moves_the_modify_index_alone() {
    let lab = Lab::open().await;
    let id = name("same");
    let job = lab.nomad.parse_hcl(&sleeper(&id, 0, "")).await.unwrap();
    let first = lab.register(job.clone()).await.unwrap();
    let before = lab.job(&id).await;
    let second = lab.register(job).await.unwrap();
    let after = lab.job(&id).await;
    let (before, after) = (JobView::of(&before).unwrap(), JobView::of(&after).unwrap());
    assert!(after.modify_index() > before.modify_index());
    assert_eq!(after.job_modify_index(), before.job_modify_index());
    assert_eq!(after.version(), before.version());
    assert_eq!(second.job_modify_index, first.job_modify_index);
    lab.stop(&id).await;
}

#[tokio::test]
async fn a_scale_moves_the_job_modify_index_and_the_guard_holds_there() {
    let lab = Lab::open().await;
    let id = name("scale");
    // A batch job: it has no deployments, which would block a second scale.
    let hcl = sleeper(&id, 0, "").replace("type = \"service\"", "type = \"batch\"");
    let hcl =
        format!("{}{}", &hcl[..hcl.find("update {").unwrap()], &hcl[hcl.find("task \"main\"").unwrap()..]);
    let first = lab.run(&hcl).await.unwrap();
    let scaled = lab.nomad.scale("default", &id, "main", 1, "up").await.unwrap();
    assert!(scaled.job_modify_index > first.job_modify_index);
    assert!(!scaled.eval_id.is_empty());
    let job = lab.job(&id).await;
    assert_eq!(JobView::of(&job).unwrap().counts()["main"], 1);
    assert_eq!(JobView::of(&job).unwrap().job_modify_index(), scaled.job_modify_index);
    let stale = Scaling {
        group: "main".into(),
        count: 2,
        message: "stale".into(),
        enforce_index: Some(first.job_modify_index),
    };
    let answer = lab.nomad.scale_with("default", &id, &stale).await;
    if lab.is_oldest().await {
        // 1.7 does not know the guard: what keeps scales apart there is the app's lock alone.
        assert!(answer.unwrap().job_modify_index > scaled.job_modify_index);
    } else {
        let refused = answer.unwrap_err();
        assert_eq!(refused.fault, Fault::Conflict, "{refused}");
    }
    lab.stop(&id).await;
}

#[tokio::test]
async fn the_stored_job_never_equals_the_registered_one() {
    let lab = Lab::open().await;
    let id = name("stored");
    let job = lab.nomad.parse_hcl(&sleeper(&id, 0, "")).await.unwrap();
    lab.register(job.clone()).await.unwrap();
    let mut stored = lab.job(&id).await;
    for own in ["CreateIndex", "ModifyIndex", "JobModifyIndex", "SubmitTime", "Version", "Status", "Stable"] {
        stored[own] = job[own].clone();
    }
    assert_ne!(stored, job);
    // Nomad's own plan is what can tell whether something differs.
    let plan = lab.nomad.plan(&job, terreau::engines::nomad::Diff::Wanted).await.unwrap();
    assert_eq!(plan.diff.unwrap()["Type"], "None");
    lab.stop(&id).await;
}

#[tokio::test]
async fn six_versions_of_a_job_are_kept() {
    let lab = Lab::open().await;
    let id = name("versions");
    let mut job = lab.nomad.parse_hcl(&inert(&id, 1)).await.unwrap();
    for priority in 20..30 {
        job["Priority"] = priority.into();
        lab.register(job.clone()).await.unwrap();
    }
    let versions: Vec<u64> = lab
        .nomad
        .job_versions("default", &id)
        .await
        .unwrap()
        .iter()
        .map(|j| JobView::of(j).unwrap().version())
        .collect();
    assert_eq!(versions, [9, 8, 7, 6, 5, 4]);
    lab.stop(&id).await;
    assert!(lab.nomad.job_versions("default", &id).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_source_sent_with_a_registration_is_what_people_see_of_that_version() {
    let lab = Lab::open().await;
    let id = name("source");
    for (version, count) in [(0, 1), (1, 2)] {
        let hcl = format!("# version {version}\n{}", inert(&id, count));
        let job = lab.nomad.parse_hcl(&hcl).await.unwrap();
        let what = Registration { job, enforce_index: None, submission_hcl: Some(hcl.clone()) };
        lab.nomad.register(&what).await.unwrap();
        assert_eq!(lab.nomad.submission("default", &id, version).await.unwrap(), Some(hcl));
    }
    assert_eq!(lab.nomad.submission("default", &id, 7).await.unwrap(), None);
    lab.stop(&id).await;
}

#[tokio::test]
async fn a_job_that_never_had_a_source_shows_none() {
    let lab = Lab::open().await;
    let id = name("nosource");
    lab.run(&inert(&id, 1)).await.unwrap();
    assert_eq!(lab.nomad.submission("default", &id, 0).await.unwrap(), None);
    lab.stop(&id).await;
}
