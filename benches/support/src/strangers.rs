//! Enrolls people that are not in the database.

use crate::people::{Scene, strangers};
use enroll::{DynAsyncRepository, Engine, EnrollmentPolicy, EnrollmentRequest, enroll_contacts_async};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// A repository with the organization of [`Scene::empty`].
#[allow(missing_debug_implementations, reason = "a repository has no such implementation")]
pub struct Target<'p> {
    repository: Box<dyn DynAsyncRepository>,
    people: &'p Cell<usize>,
}

impl<'p> Target<'p> {
    /// Returns a target. `people` counts those that are in the database.
    #[must_use]
    pub fn new(repository: Box<dyn DynAsyncRepository>, people: &'p Cell<usize>) -> Self {
        Self { repository, people }
    }

    /// Times the enrollment of the next people, from the bytes of the body to the committed rows.
    ///
    /// # Panics
    /// Panics if the repository fails or knows one of them.
    pub async fn enroll(&mut self, recipients: usize) -> Duration {
        let first = self.people.replace(self.people.get() + recipients);
        let body = strangers(first..first + recipients);
        let (scene, policy, key) = (Scene::empty(), EnrollmentPolicy::default(), format!("bench-{first}"));
        let start = Instant::now();
        let request = EnrollmentRequest::from_json(&body);
        let enrollment = scene.enrollment(&request, &key);
        let report = enroll_contacts_async(&mut *self.repository, &Engine::new(&policy), &enrollment).await;
        let took = start.elapsed();
        assert_eq!(report.expect("the request is valid").report.counts().added, recipients);
        took
    }
}
