//! What the requests of a list have in common, for the command line and for HTTP.

use enroll::contact::Region;
use enroll::model::{CustomObject, Resource};
use enroll::report::Counts;
use enroll::request::{CustomData, VoiceOptions};
use enroll::{
    EnrollmentId, EnrollmentPolicy, EnrollmentRequest, OrganizationId, ReferenceData, SequenceId, StepId, Timestamp,
};
use enroll_import::{List, ListError, ListKey};
use serde_json::json;
use std::io::{Read, Seek};

/// The fields of a request that a list does not contain, and the region of its phone numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListRequestOptions {
    pub(crate) from: Option<String>,
    pub(crate) step_id: Option<StepId>,
    pub(crate) schedule_at: Option<Timestamp>,
    pub(crate) custom_data: Option<CustomData>,
    pub(crate) voice_options: Option<VoiceOptions>,
    /// The region of phone numbers without `+`. If it is absent, that of the policy applies.
    pub(crate) default_region: Option<Region>,
}

impl ListRequestOptions {
    /// Returns a request with the options and no recipients.
    pub(crate) fn request(&self) -> EnrollmentRequest<'static> {
        let mut request = EnrollmentRequest::default();
        request.from = self.from.clone().map(Into::into);
        request.step_id = self.step_id;
        request.schedule_at = self.schedule_at;
        request.custom_data = self.custom_data;
        request.voice_options = self.voice_options;
        request
    }

    /// Returns the policy for the list: the region of the options comes before that of the host.
    pub(crate) fn policy(&self, policy: &EnrollmentPolicy) -> EnrollmentPolicy {
        let mut policy = policy.clone();
        if self.default_region.is_some() {
            policy.default_region = self.default_region;
        }
        policy
    }

    /// Returns the custom object of the options: `Ok(None)` if they have none, and an error if the organization has no
    /// such object.
    pub(crate) fn custom_object<'r>(
        &self,
        reference: &'r ReferenceData,
    ) -> Result<Option<&'r CustomObject>, UnknownCustomObject> {
        let Some(CustomData { custom_object_id, .. }) = self.custom_data else { return Ok(None) };
        let found = reference.custom_objects.get(&custom_object_id).map(|object| &*object.value);
        found.map(Some).ok_or(UnknownCustomObject)
    }

    /// Returns the id of a list: that of the idempotency key, else derived from the file and all options.
    pub(crate) fn list_id<R: Read + Seek>(
        &self,
        list: &List<R>,
        organization_id: OrganizationId,
        sequence_id: SequenceId,
        idempotency_key: Option<&str>,
    ) -> Result<EnrollmentId, ListError> {
        let Self { from, step_id, schedule_at, custom_data, voice_options, default_region } = self;
        let options = json!([
            sequence_id,
            from,
            step_id,
            schedule_at,
            custom_data.map(|data| data.custom_object_id),
            custom_data.map(|data| Resource::as_str(data.resource)),
            voice_options.map(|options| options.default_call_flow_id),
            default_region,
        ]);
        let options = options.to_string();
        let key = match idempotency_key {
            Some(key) => ListKey::Idempotency(key),
            None => ListKey::Content(options.as_bytes()),
        };
        list.id(organization_id, key)
    }
}

/// The organization has no custom object with the given id.
#[derive(Debug)]
pub(crate) struct UnknownCustomObject;

/// Adds the counts of a request to those of its list.
pub(crate) fn add_counts(sum: &mut Counts, counts: &Counts) {
    let mut sums = sum.to_array();
    for (sum, count) in sums.iter_mut().zip(counts.to_array()) {
        *sum += count;
    }
    *sum = Counts::from_array(sums);
}
