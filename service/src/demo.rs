//! `enroll demo`: a made-up organization and 4000 realistic recipients, the report, and the time it took.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use enroll::repository::{RepositoryError, RepositoryErrorKind};
use enroll::seed::{self, Seed};
use enroll::{
    Engine, Enrollment, EnrollmentCommand, EnrollmentId, EnrollmentKey, EnrollmentReport, EnrollmentRequest,
    ReferenceData, Repository, SequenceId, Timestamp, plan_enrollment,
};
use uuid::Uuid;

use crate::args::DemoArgs;
use crate::database::Database;
use crate::print::{self, Notable, Place};
use crate::run::with_counts;
use crate::{Failure, causes, out};

pub(crate) fn run(args: &DemoArgs) -> Result<ExitCode, Failure> {
    let demo = Demo::new()?;
    if let Some(folder) = &args.write {
        return write(folder, &demo);
    }
    let (done, more) = match &args.database {
        Some(name) => in_database(&demo, name)?,
        None => twice_in_memory(&demo)?,
    };
    let Done { report, reference, times } = done;
    if args.json {
        out(&format!("{:#}\n", with_counts(&report)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let request = EnrollmentRequest::from_json(&demo.request);
    let mut text = print::target(&report, &reference);
    text.push_str(&print::counts(&report.counts()));
    if let Some(tag) = &report.upload_tag {
        let _infallible = writeln!(text, "tag                  {} (`{}`)", tag.name, tag.id);
    }
    text.push('\n');
    let mut notable = Notable::new(args.all);
    for (entry, outcome) in request.to.iter().zip(&report.outcomes) {
        notable.add(&Place { number: outcome.index, rows: &[], entry, outcome, again: None });
    }
    text.push_str(&notable.table("recipient"));
    let _infallible = writeln!(text, "\n{} recipients in {times}\n{more}", report.outcomes.len());
    out(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The demo organization, and the sequence to try.
pub(crate) fn organization() -> Result<(Seed, SequenceId), Failure> {
    let demo = Demo::new()?;
    Ok((demo.given, demo.sequence_id))
}

/// On two fresh copies: the first enrollment of a process is slower.
fn twice_in_memory(demo: &Demo) -> Result<(Done, String), Failure> {
    let id = EnrollmentId::from_uuid(Uuid::from_u128(0xde30));
    let once = || {
        let snapshots = demo.given.snapshots().map_err(|e| Failure::new("demo", e))?;
        let mut database = Database::in_memory("demo".to_owned(), snapshots);
        enroll(demo, &mut database, id).map_err(|e| Failure::new("demo", e))
    };
    let (first, again) = (once()?, once()?);
    if again.report != first.report {
        return Err(Failure::new("demo", "the same enrollment gave two reports"));
    }
    let more = format!(
        "in a warm process {}\n(a process reads its first numbers of a country slowly: the patterns of that country \
         are compiled then)",
        again.times
    );
    Ok((first, more))
}

/// Where it was before, the organization stays as it is: whoever was enrolled is reprocessed.
fn in_database(demo: &Demo, name: &str) -> Result<(Done, String), Failure> {
    let mut database = Database::open_or_make(name)?;
    let known = database.organizations()?.contains(&demo.given.organization_id);
    if !known {
        database.seed(&demo.given)?;
    }
    let id = EnrollmentId::from_uuid(Uuid::now_v7());
    let done = enroll(demo, &mut database, id).map_err(|e| Failure::new(database.name(), e))?;
    let how = if known { "once more in the organization that stood" } else { "in an organization that was new" };
    Ok((done, format!("in `{}`, {how}; enrollment `{id}`", database.name())))
}

/// The shipped organization and the body of the shipped request.
struct Demo {
    given: Seed,
    sequence_id: SequenceId,
    request: Vec<u8>,
    at: Timestamp,
}

impl Demo {
    fn new() -> Result<Self, Failure> {
        let seed::Demo { given, sequence_id, request, at, .. } =
            seed::Demo::new().map_err(|e| Failure::new("demo", e))?;
        let request = serde_json::to_vec(&request).map_err(|e| Failure::new("demo", e))?;
        Ok(Self { given, sequence_id, request, at })
    }
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

/// An enrollment, and how long it took.
struct Done {
    report: EnrollmentReport,
    reference: ReferenceData,
    times: Times,
}

/// What `enroll_contacts` does, one stage after the other. Where other writers were first, the times are sums.
fn enroll(demo: &Demo, repository: &mut dyn Repository, id: EnrollmentId) -> Result<Done, String> {
    let lost = |e: &RepositoryError| causes(e);
    let engine = Engine::new(&demo.given.policy);
    let (read, request) = timed(|| EnrollmentRequest::from_json(&demo.request));
    let enrollment = Enrollment {
        organization_id: demo.given.organization_id,
        sequence_id: demo.sequence_id,
        key: EnrollmentKey::Id(id),
        at: demo.at,
        request: &request,
    };
    let (check, checked) = timed(|| {
        let reference = repository.reference_data(&enrollment.reference_query()).map_err(|e| lost(&e))?;
        let command = EnrollmentCommand::check(&enrollment, &reference, &engine).map_err(|e| e.to_string())?;
        Ok::<_, String>((reference, command))
    });
    let (reference, command) = checked?;
    let mut times = Times { read, check, load: Duration::ZERO, plan: Duration::ZERO, commit: Duration::ZERO };
    let mut attempts = engine.retry.attempts;
    loop {
        attempts = attempts.saturating_sub(1);
        let (load, snapshot) = timed(|| repository.load(&command.snapshot_query()));
        let snapshot = snapshot.map_err(|e| lost(&e))?;
        let (plan, planned) = timed(|| plan_enrollment(&command, &snapshot));
        let planned = planned.map_err(|e| e.to_string())?;
        let (commit, done) = timed(|| repository.commit(planned.changes()));
        times.load += load;
        times.plan += plan;
        times.commit += commit;
        match done {
            Err(e) if e.kind() == RepositoryErrorKind::Conflict && attempts > 0 => {}
            Err(e) => return Err(lost(&e)),
            Ok(()) => return Ok(Done { report: planned.into_report(), reference, times }),
        }
    }
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
        "wrote {folder}/seed.json and {folder}/request.json; now a dry run:\n  enroll run --seed {folder}/seed.json \
         --sequence {0} --request {folder}/request.json\nor in a database:\n  enroll seed {folder}/seed.json\n  \
         enroll run --sequence {0} --request {folder}/request.json\n",
        demo.sequence_id
    ))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_is_the_same_bytes_each_time_and_has_every_outcome() {
        let demo = Demo::new().unwrap();
        assert_eq!(Demo::new().unwrap().request, demo.request);
        let (Done { report, .. }, _) = twice_in_memory(&demo).unwrap();
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
