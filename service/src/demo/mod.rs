//! `enroll demo`: a made-up organization and 4000 realistic recipients, the report, and the time it took.

mod world;

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use enroll::testing::Given;
use enroll::{
    ChangeSet, Engine, Enrollment, EnrollmentCommand, EnrollmentId, EnrollmentKey, EnrollmentReport, EnrollmentRequest,
    InMemoryRepository, Repository, Timestamp, plan_enrollment,
};
use uuid::Uuid;

use crate::print::{self, Place};
use crate::run::with_counts;
use crate::{DemoArgs, Failure, out};

pub(crate) fn run(args: &DemoArgs) -> Result<ExitCode, Failure> {
    let demo = world::demo().map_err(|e| Failure::new("demo", e))?;
    if let Some(folder) = &args.write {
        return write(folder, &demo);
    }
    let (report, first, repository) = enroll(&demo)?;
    let (again, warm, _) = enroll(&demo)?;
    if again != report {
        return Err(Failure::new("demo", "the same enrollment gave two reports"));
    }
    if args.json {
        out(&format!("{:#}\n", with_counts(&report)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let request = EnrollmentRequest::from_json(&demo.request);
    let context = repository.snapshot(demo.given.organization_id).map(|snapshot| snapshot.context);
    let mut text = context.map_or_else(String::new, |context| print::target(&report, &context));
    text.push_str(&print::counts(&report.counts()));
    if let Some(tag) = &report.upload_tag {
        let _infallible = writeln!(text, "tag                  {} (`{}`)", tag.name, tag.id);
    }
    text.push('\n');
    let places = request.to.iter().zip(&report.outcomes);
    let places = places.map(|(entry, outcome)| Place { number: outcome.index, rows: &[], entry, outcome, again: None });
    text.push_str(&print::table(places, "recipient", args.all));
    let _infallible = writeln!(
        text,
        "\n{} recipients in {first}\nin a warm process {warm}\n(a process reads its first numbers of a country slowly: the \
         patterns of that country are compiled then)",
        report.outcomes.len()
    );
    out(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The shipped organization and the body of the shipped request.
struct Demo {
    given: Given,
    request: Vec<u8>,
    at: Timestamp,
}

/// How long each stage took.
struct Times {
    read: Duration,
    check: Duration,
    load: Duration,
    plan: Duration,
    commit: Duration,
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let Self { read, check, load, plan, commit } = *self;
        write!(
            f,
            "{:.1} ms: read {:.1}, check {:.1}, load {:.1}, plan {:.1}, commit {:.1}",
            ms(read + check + load + plan + commit),
            ms(read),
            ms(check),
            ms(load),
            ms(plan),
            ms(commit)
        )
    }
}

/// What `enroll_contacts` does, one stage after the other, on a fresh copy of the organization.
fn enroll(demo: &Demo) -> Result<(EnrollmentReport, Times, InMemoryRepository), Failure> {
    let failure = |e: &dyn std::fmt::Display| Failure::new("demo", e);
    let mut repository = InMemoryRepository::new();
    let snapshots = demo.given.snapshots().map_err(|e| failure(&e))?;
    snapshots.into_iter().for_each(|snapshot| repository.insert(snapshot));
    let engine = Engine::new(&demo.given.policy);

    let (read, request) = timed(|| EnrollmentRequest::from_json(&demo.request));
    let enrollment = Enrollment {
        organization_id: demo.given.organization_id,
        sequence_id: world::SEQUENCE,
        key: EnrollmentKey::Id(EnrollmentId::from_uuid(Uuid::from_u128(0xde30))),
        at: demo.at,
        request: &request,
    };
    let (check, command) = timed(|| {
        let context = Repository::context(&mut repository, &enrollment.context_lookup()).map_err(|e| failure(&e))?;
        EnrollmentCommand::check(&enrollment, &context, &engine).map_err(|e| failure(&e))
    });
    let command = command?;
    let (load, snapshot) = timed(|| Repository::load(&mut repository, &command.lookup()));
    let snapshot = snapshot.map_err(|e| failure(&e))?;
    let (plan, planned) = timed(|| plan_enrollment(&command, &snapshot));
    let planned = planned.map_err(|e| failure(&e))?;
    let changes: &ChangeSet = planned.changes();
    let (commit, done) = timed(|| Repository::commit(&mut repository, changes));
    done.map_err(|e| failure(&e))?;
    Ok((planned.into_report(), Times { read, check, load, plan, commit }, repository))
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let answer = work();
    (start.elapsed(), answer)
}

fn write(folder: &Path, demo: &Demo) -> Result<ExitCode, Failure> {
    let seed = serde_json::to_vec_pretty(&demo.given).map_err(|e| Failure::new("demo", e))?;
    std::fs::create_dir_all(folder).map_err(|e| Failure::new(folder.display(), e))?;
    for (name, bytes) in [("seed.json", &seed), ("request.json", &demo.request)] {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(|e| Failure::new(path.display(), e))?;
    }
    let folder = folder.display();
    out(&format!(
        "wrote {folder}/seed.json and {folder}/request.json; now:\n  enroll run --seed {folder}/seed.json --sequence {} \
         --request {folder}/request.json\n",
        world::SEQUENCE
    ))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_is_the_same_bytes_each_time_and_has_every_outcome() {
        let demo = world::demo().unwrap();
        assert_eq!(world::demo().unwrap().request, demo.request);
        let (report, ..) = enroll(&demo).unwrap();
        assert_eq!(report.outcomes.len(), 4000);
        let counts = report.counts();
        assert_eq!(counts.total(), 4000);
        for count in [counts.added, counts.re_added, counts.reprocessed, counts.ignored, counts.duplicate] {
            assert!(count >= 50, "{counts:?}");
        }
        for code in [
            "invalid_phone",
            "blocked",
            "opted_out",
            "active_in_other_step",
            "pending_in_other_step",
            "max_runs_reached",
        ] {
            let has = report.outcomes.iter().any(|outcome| outcome.reasons.iter().any(|reason| reason.code() == code));
            assert!(has, "{code}");
        }
    }
}
