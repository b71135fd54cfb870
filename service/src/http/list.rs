//! A list that was uploaded: its id, and its requests in order. Previews and lists that are accepted share it.
use std::fs::File;
use std::sync::Arc;

use enroll::{
    AsyncRepository, EnrollError, Enrollment, EnrollmentId, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest,
    ListRef, OrganizationId, ReferenceData, RepositoryError, SequenceId, StoredEnrollment, Timestamp,
};
use enroll_import::{Limits, List, ListError, ListRequest, Note, Requests, Settings};

use super::errors::ApiError;
use super::list_options::ListOptions;
use super::upload::Upload;
use super::{App, list_errors, sequence_not_found};
use crate::import_job::current_time;
use crate::list_request::UnknownCustomObject;
use crate::shares::Share;

/// A list that was read once: its rows are checked and counted.
pub(crate) struct UploadedList {
    pub(crate) list: List<File>,
    pub(crate) target: ListTarget,
    /// The size of the file.
    pub(crate) bytes: u64,
    _share: Share<OrganizationId>,
}

/// What the requests of a list have in common.
pub(crate) struct ListTarget {
    /// The id of the list, and of its first request.
    pub(crate) id: EnrollmentId,
    pub(crate) organization_id: OrganizationId,
    pub(crate) sequence_id: SequenceId,
    /// The instant of the first request.
    pub(crate) at: Timestamp,
    /// The name of the file.
    pub(crate) file_name: String,
    pub(crate) options: ListOptions,
    pub(crate) policy: EnrollmentPolicy,
    pub(crate) request: EnrollmentRequest<'static>,
    /// The first request, if it was accepted before.
    pub(crate) first: Option<Arc<StoredEnrollment>>,
}

/// A request of a list, with its options.
pub(crate) struct RequestOfList {
    pub(crate) id: EnrollmentId,
    pub(crate) at: Timestamp,
    pub(crate) list: Option<ListRef>,
    pub(crate) request: EnrollmentRequest<'static>,
    /// The row of each recipient.
    pub(crate) rows: Vec<u64>,
    /// What was changed or left out when the rows were read, with the index of each recipient.
    pub(crate) notes: Vec<(usize, Note)>,
}

impl UploadedList {
    /// Opens a list for a sequence. Call it on a thread that can block: it reads the whole file.
    ///
    /// The id is that of the idempotency key, else derived from the file and the options.
    pub(crate) async fn open(
        app: &App,
        organization_id: OrganizationId,
        sequence_id: SequenceId,
        upload: Upload,
        idempotency_key: Option<&str>,
    ) -> Result<Self, ApiError> {
        let Upload { name: file_name, file, bytes, options, share } = upload;
        let of_requests = options.of_requests();
        let now = current_time().map_err(|_| ApiError::internal())?;
        let mut target = ListTarget {
            id: EnrollmentId::from_uuid(uuid::Uuid::nil()),
            organization_id,
            sequence_id,
            at: now,
            file_name,
            policy: of_requests.policy(&app.policy),
            request: of_requests.request(),
            options,
            first: None,
        };
        // The types of the columns depend on the custom object in the database.
        let reference = target.reference_data(app).await?;
        if !reference.sequences.contains_key(&sequence_id) {
            return Err(sequence_not_found());
        }
        let mut settings = settings(app, now);
        let custom_object = of_requests.custom_object(&reference).map_err(|UnknownCustomObject| {
            let problem = "the organization has no such custom object".to_owned();
            let path = "/options/request/custom_data/custom_object_id".to_owned();
            ApiError::invalid("custom_object_not_found", path, problem)
        })?;
        if let Some(object) = custom_object {
            settings = settings.with_custom_object(object);
        }
        let list = List::open(file, target.options.reading(), settings).map_err(|e| target.refused(&e))?;
        let id = of_requests.list_id(&list, organization_id, sequence_id, idempotency_key);
        target.id = id.map_err(|e| target.refused(&e))?;
        let reference = target.reference_data(app).await?;
        target.first = reference.enrollments.get(&target.id).cloned();
        // A list that is continued keeps its instant.
        target.at = target.first.as_ref().map_or(now, |first| first.at);
        Ok(Self { list, target, bytes, _share: share })
    }

    /// Reads the list from its beginning, as requests. One request is in memory at a time.
    pub(crate) fn requests(&mut self) -> Result<RequestsOfList<'_>, ApiError> {
        let Self { list, target, .. } = self;
        let requests = list.requests(target.id, target.at).map_err(|e| target.refused(&e))?;
        Ok(RequestsOfList { requests, target })
    }
}

/// The requests of a list, in order.
pub(crate) struct RequestsOfList<'l> {
    requests: Requests<'l, File>,
    pub(crate) target: &'l ListTarget,
}

impl Iterator for RequestsOfList<'_> {
    type Item = Result<RequestOfList, ApiError>;

    fn next(&mut self) -> Option<Self::Item> {
        let request = self.requests.next()?.map_err(|e| self.target.refused(&e));
        Some(request.map(|ListRequest { id, at, list, recipients, rows, notes, .. }| {
            let mut request = self.target.request.clone();
            request.to = recipients;
            RequestOfList { id, at, list, request, rows, notes }
        }))
    }
}

impl ListTarget {
    /// Returns a request of the list as an enrollment.
    pub(crate) fn enrollment<'r>(&self, request: &'r RequestOfList) -> Enrollment<'r> {
        Enrollment {
            organization_id: self.organization_id,
            sequence_id: self.sequence_id,
            key: EnrollmentKey::Id(request.id),
            at: request.at,
            list: request.list,
            request: &request.request,
        }
    }

    /// Returns the response for a request that failed, whose recipients have these rows. A fault of a recipient has its row
    /// and its column.
    pub(crate) fn error(&self, rows: &[u64], error: EnrollError) -> ApiError {
        match error {
            EnrollError::Rejected(rejection) => list_errors::rejected(&self.file_name, &rejection, rows),
            error => error.into(),
        }
    }

    /// Returns the response for a list that cannot be read.
    pub(crate) fn refused(&self, error: &ListError) -> ApiError {
        list_errors::refused(&self.file_name, &self.options, error)
    }

    /// Reads the rows that the requests refer to, and the first request if it is stored.
    async fn reference_data(&self, app: &App) -> Result<ReferenceData, RepositoryError> {
        let enrollment = Enrollment {
            organization_id: self.organization_id,
            sequence_id: self.sequence_id,
            key: EnrollmentKey::Id(self.id),
            at: self.at,
            list: None,
            request: &self.request,
        };
        let mut handle = app.handles.acquire(self.organization_id).await?;
        handle.handle()?.inbox().reference_data(&enrollment.reference_query()).await
    }
}

/// Returns the settings of an uploaded list.
pub(crate) fn settings(app: &App, at: Timestamp) -> Settings {
    Settings::new(at).with_limits(Limits::default().with_bytes(app.limits.list_bytes))
}
