//! The demo of `enroll`: a made-up organization, 4000 made-up recipients, and the report as text.
//!
//! The command line uses this library too: for `enroll demo`, and to print the report of any enrollment.

pub mod print;

use std::error::Error;
use std::fmt::{self, Write};
use std::time::{Duration, Instant};

use enroll::seed::{self, Seed};
use enroll::{
    Engine, Enrollment, EnrollmentCommand, EnrollmentId, EnrollmentKey, EnrollmentReport, EnrollmentRequest,
    InMemoryRepository, ReferenceData, Repository, RepositoryErrorKind, SequenceId, Timestamp, plan_enrollment,
};

use crate::print::{Listing, RecipientLine};

/// The demo organization, and the body of the request that enrolls 4000 recipients.
#[derive(Debug)]
pub struct Demo {
    /// The rows of the organization.
    pub seed: Seed,
    /// The sequence of the request.
    pub sequence_id: SequenceId,
    /// The body of the request, as JSON.
    pub request: Vec<u8>,
    /// The instant of the request.
    pub at: Timestamp,
}

/// A finished enrollment of the demo request.
#[derive(Debug)]
pub struct DemoRun {
    /// The report of the enrollment.
    pub report: EnrollmentReport,
    /// The sequence and the channels that the report refers to.
    pub reference: ReferenceData,
    /// The time of each stage.
    pub times: Times,
}

/// The time of each stage of an enrollment. After a lost race, a time is the sum of all attempts.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    read: Duration,
    check: Duration,
    load: Duration,
    plan: Duration,
    commit: Duration,
}

impl Demo {
    /// Generates the organization and the request. Each call returns the same bytes.
    ///
    /// # Errors
    /// Returns an error if the generated request cannot be written as JSON.
    pub fn new() -> Result<Self, Box<dyn Error>> {
        let seed::Demo { given, sequence_id, request, at, .. } = seed::Demo::new()?;
        Ok(Self { seed: given, sequence_id, request: serde_json::to_vec(&request)?, at })
    }

    /// Returns a repository in memory that contains the organization.
    ///
    /// # Errors
    /// Returns an error if a row of the seed refers to a row that does not exist.
    pub fn in_memory(&self) -> Result<InMemoryRepository, Box<dyn Error>> {
        let repository = InMemoryRepository::new();
        self.seed.snapshots()?.into_iter().for_each(|snapshot| repository.insert(snapshot));
        Ok(repository)
    }

    /// Enrolls the recipients, one stage after the other like [`enroll::enroll_contacts`], and measures each stage.
    ///
    /// # Errors
    /// Returns the error of the repository, or the rejection of the request.
    pub fn enroll<R: Repository + ?Sized>(
        &self,
        repository: &mut R,
        id: EnrollmentId,
    ) -> Result<DemoRun, Box<dyn Error>> {
        let engine = Engine::new(&self.seed.policy);
        let (read, request) = timed(|| EnrollmentRequest::from_json(&self.request));
        let enrollment = Enrollment {
            organization_id: self.seed.organization_id,
            sequence_id: self.sequence_id,
            key: EnrollmentKey::Id(id),
            at: self.at,
            list: None,
            request: &request,
        };
        let (check, checked) = timed(|| {
            let reference = repository.reference_data(&enrollment.reference_query())?;
            let command = EnrollmentCommand::check(&enrollment, &reference, &engine)?;
            Ok::<_, Box<dyn Error>>((reference, command))
        });
        let (reference, command) = checked?;
        let mut times = Times { read, check, load: Duration::ZERO, plan: Duration::ZERO, commit: Duration::ZERO };
        let mut attempts = engine.retry.attempts;
        loop {
            attempts = attempts.saturating_sub(1);
            let (load, snapshot) = timed(|| repository.load(&command.snapshot_query()));
            let snapshot = snapshot?;
            let (plan, planned) = timed(|| plan_enrollment(&command, &snapshot));
            let planned = planned?;
            let (commit, committed) = timed(|| repository.commit(planned.changes()));
            times.load += load;
            times.plan += plan;
            times.commit += commit;
            match committed {
                Err(e) if e.kind() == RepositoryErrorKind::Conflict && attempts > 0 => {}
                Err(e) => return Err(e.into()),
                Ok(()) => return Ok(DemoRun { report: planned.into_report(), reference, times }),
            }
        }
    }

    /// Enrolls the recipients twice, each time into a new organization in memory.
    ///
    /// Returns the first run, and the times of the second. The first run compiles the patterns for phone numbers.
    ///
    /// # Errors
    /// Returns an error if the enrollment fails, or if the two reports differ.
    pub fn enroll_twice_in_memory(&self) -> Result<(DemoRun, Times), Box<dyn Error>> {
        let id = EnrollmentId::from_idempotency_key(self.seed.organization_id, "demo");
        let first = self.enroll(&mut self.in_memory()?, id)?;
        let second = self.enroll(&mut self.in_memory()?, id)?;
        if second.report != first.report {
            return Err("the same enrollment gave two different reports".into());
        }
        Ok((first, second.times))
    }

    /// Returns a run as text: the counts, then the recipients that were not simply added. `all` lists all of these.
    #[must_use]
    pub fn text(&self, run: &DemoRun, all: bool) -> String {
        let DemoRun { report, reference, times } = run;
        let request = EnrollmentRequest::from_json(&self.request);
        let mut text = print::target(report, reference);
        text.push_str(&print::counts(&report.counts()));
        if let Some(tag) = &report.upload_tag {
            let _infallible = writeln!(text, "upload tag           {} (`{}`)", tag.name, tag.id);
        }
        text.push('\n');
        let mut listing = Listing::new(all, false);
        for (entry, outcome) in request.to.iter().zip(&report.outcomes) {
            listing.add(&RecipientLine::new(entry, outcome));
        }
        text.push_str(&listing.table("recipient"));
        let _infallible = writeln!(text, "\n{} recipients in {times}", report.outcomes.len());
        text
    }
}

/// Returns the last line of a demo in memory: the times of the second run, and why they differ.
#[must_use]
pub fn second_run(times: &Times) -> String {
    format!("again, in the same process: {times}\n(the first run compiles the phone patterns of each country)\n")
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let answer = work();
    (start.elapsed(), answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_is_the_same_bytes_each_time_and_has_every_outcome() {
        let demo = Demo::new().unwrap();
        assert_eq!(Demo::new().unwrap().request, demo.request);
        let (DemoRun { report, .. }, _) = demo.enroll_twice_in_memory().unwrap();
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
