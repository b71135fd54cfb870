//! What a request refers to: the sequence and its step, the channel used, the custom object.

use enroll::contact::{Libphonenumber, PhoneNormalizer, PhoneNumber, Region};
use enroll::model::{ChannelKind, PropertyKind, Resource, SequenceSettings};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::body::Body;
use crate::rules::UploadTag;
use crate::{Error, Request};

/// The rows that a request may refer to, with the types of the database.
#[derive(Debug, Default)]
pub struct ReferenceRows {
    /// The status and the settings of the sequence.
    pub sequence: Option<(String, String)>,
    pub steps: Vec<StepRow>,
    /// All channels of the organization, by id.
    pub channels: Vec<ChannelRow>,
    /// The properties of the custom object.
    pub custom_object: Option<String>,
    pub call_flow: Option<Uuid>,
}

#[derive(Clone, Debug, sqlx::FromRow)]
pub struct StepRow {
    pub id: Uuid,
    pub position: i64,
    pub channel_kind: String,
    pub channel_id: Option<Uuid>,
}

#[derive(Clone, Debug, sqlx::FromRow)]
pub struct ChannelRow {
    pub id: Uuid,
    pub kind: String,
    pub address: String,
    pub enabled: bool,
}

/// The step that contacts are added to, and what the request refers to.
#[derive(Debug)]
pub struct Target {
    pub organization_id: Uuid,
    pub enrollment_id: Uuid,
    pub at: enroll::Timestamp,
    pub sequence_id: Uuid,
    pub settings: SequenceSettings,
    pub step_id: Uuid,
    pub kind: ChannelKind,
    pub channel_id: Option<Uuid>,
    /// The channel of `from`, which a reprocessed step contact gets.
    pub from_channel_id: Option<Uuid>,
    pub channels: Vec<Uuid>,
    pub object: Option<Object>,
    pub call_flow_id: Option<Uuid>,
    pub upload_tag: Option<UploadTag>,
    /// `pending` or `active`.
    pub status: &'static str,
    pub scheduled_at: enroll::Timestamp,
    /// The region of phones without `+`.
    pub region: Option<Region>,
}

/// A custom object, and the kind of resource that its records belong to.
#[derive(Debug)]
pub struct Object {
    pub id: Uuid,
    pub resource: Resource,
    pub properties: Vec<Property>,
}

impl Object {
    /// Returns the id of the resource that a record belongs to.
    #[must_use]
    pub fn resource_id(&self, contact_id: Uuid, step_contact_id: Uuid) -> Uuid {
        match self.resource {
            Resource::Contact => contact_id,
            Resource::StepContact => step_contact_id,
        }
    }
}

/// A property of a custom object.
#[derive(Debug, Deserialize)]
pub struct Property {
    pub key: String,
    #[serde(rename = "type")]
    pub kind: PropertyKind,
    #[serde(default)]
    pub required: bool,
    pub default: Option<Value>,
}

impl Target {
    /// Finds the target of a request.
    ///
    /// # Errors
    /// The first fault of the request.
    pub fn find(request: &Request<'_>, body: &Body, rows: ReferenceRows) -> Result<Self, Error> {
        let (status, settings) = rows.sequence.ok_or("the sequence does not exist")?;
        if status != "active" {
            return Err("the sequence is not active".into());
        }
        let step = match body.step_id {
            Some(id) => rows.steps.iter().find(|step| step.id == id).ok_or("the sequence has no such step")?,
            None => rows.steps.iter().min_by_key(|step| (step.position, step.id)).ok_or("the sequence has no steps")?,
        };
        let from = body.from.as_deref().map(str::trim).filter(|from| !from.is_empty());
        let channel = match (from, step.channel_id) {
            (Some(from), _) => {
                let usable = |channel: &&ChannelRow| channel.enabled && channel.kind == step.channel_kind;
                let named = |channel: &&ChannelRow| channel.address == from;
                Some(
                    rows.channels
                        .iter()
                        .filter(named)
                        .find(usable)
                        .ok_or("`from` does not match a channel of this step")?,
                )
            }
            (None, Some(id)) => {
                let own = rows.channels.iter().find(|channel| channel.id == id);
                let usable = |channel: &&ChannelRow| channel.enabled && channel.kind == step.channel_kind;
                Some(own.filter(usable).ok_or("the channel of the step cannot be used")?)
            }
            (None, None) => None,
        };
        let object = match (body.custom_data, rows.custom_object) {
            (None, _) => None,
            (Some(_), None) => return Err("the custom object does not exist".into()),
            (Some(data), Some(properties)) => Some(Object {
                id: data.custom_object_id,
                resource: data.resource,
                properties: serde_json::from_str(&properties)?,
            }),
        };
        let call_flow_id = body.voice_options.map(|options| options.default_call_flow_id);
        if call_flow_id != rows.call_flow {
            return Err("the call flow does not exist".into());
        }
        let later = body.schedule_at.map(|at| at.timestamp_millis()).filter(|at| *at > request.at.millis());
        let (status, scheduled_at) = match later {
            Some(at) => ("pending", enroll::Timestamp::from_millis(at)?),
            None => ("active", request.at),
        };
        let region_of = |channel: &ChannelRow| Libphonenumber.region(&PhoneNumber::from_e164(&channel.address)?);
        let first_phone = || rows.channels.iter().find(|channel| channel.enabled && channel.kind == "phone");
        let name = || format!("Upload {}", request.at);
        Ok(Self {
            organization_id: request.organization_id,
            enrollment_id: Uuid::now_v7(),
            at: request.at,
            sequence_id: request.sequence_id,
            settings: serde_json::from_str(&settings)?,
            step_id: step.id,
            kind: kind(&step.channel_kind)?,
            channel_id: channel.map(|channel| channel.id),
            from_channel_id: channel.filter(|_| from.is_some()).map(|channel| channel.id),
            object,
            call_flow_id,
            upload_tag: (body.to.len() > 1).then(|| UploadTag { id: Uuid::now_v7(), name: name() }),
            status,
            scheduled_at,
            region: channel.and_then(region_of).or_else(|| first_phone().and_then(region_of)),
            channels: rows.channels.into_iter().map(|channel| channel.id).collect(),
        })
    }
}

fn kind(name: &str) -> Result<ChannelKind, Error> {
    Ok(serde_json::from_value(Value::from(name))?)
}
