//! Generated scenarios: the rows of organizations, and requests to one of them.

use std::fmt;

use serde_json::{Value, json};

use super::{print, repository};
use crate::command::{Engine, Enrollment, EnrollmentKey, ListRef};
use crate::enroll::enroll_contacts;
use crate::ids::{EnrollmentId, SequenceId};
use crate::report::EnrollmentReport;
use crate::request::EnrollmentRequest;
use crate::seed::Seed;
use crate::time::Timestamp;

/// The rows of one or two organizations, and two requests in order. The engine accepts both requests (spec 3).
///
/// `Display` and `Debug` print the `given` and `when` of a test vector, one row on each line.
#[derive(Clone)]
#[non_exhaustive]
pub struct Scenario {
    /// The organization of the requests. A second one can have contacts with the same keys and addresses.
    pub given: Seed,
    /// The requests, in order.
    pub requests: Vec<Request>,
}

/// A request to a generated scenario.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// The sequence.
    pub sequence_id: SequenceId,
    /// The enrollment's id, different in each request.
    pub enrollment_id: EnrollmentId,
    /// The instant.
    pub at: Timestamp,
    /// The list that the request is a part of.
    pub list: Option<ListRef>,
    /// The body.
    pub body: Value,
}

impl Request {
    /// Returns the request as an item of `when` in a test vector.
    #[must_use]
    pub fn when(&self) -> Value {
        let Self { sequence_id, enrollment_id, at, list, body } = self;
        json!({ "sequence_id": sequence_id, "enrollment_id": enrollment_id, "at": at, "list": list, "body": body })
    }
}

impl Scenario {
    /// Enrolls the requests in memory, one after the other, and returns their reports.
    ///
    /// # Panics
    /// Panics if the engine refuses a request.
    #[must_use]
    #[expect(clippy::panic, reason = "a test must fail with the error")]
    pub fn enroll(&self) -> Vec<EnrollmentReport> {
        let mut repository = repository(&self.given);
        let engine = Engine::new(&self.given.policy);
        let enroll = |request: &Request| {
            let body = request.body.to_string();
            let enrollment = Enrollment {
                organization_id: self.given.organization_id,
                sequence_id: request.sequence_id,
                key: EnrollmentKey::Id(request.enrollment_id),
                at: request.at,
                list: request.list,
                request: &EnrollmentRequest::from_json(body.as_bytes()),
            };
            match enroll_contacts(&mut repository, &engine, &enrollment) {
                Ok(enrolled) => enrolled.report,
                Err(e) => panic!("{e}\n{self}"),
            }
        };
        self.requests.iter().map(enroll).collect()
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when: Vec<Value> = self.requests.iter().map(Request::when).collect();
        f.write_str(&print::scenario(&self.given, &when))
    }
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
