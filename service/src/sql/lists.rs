//! The lists of the HTTP API. Every statement filters by organization.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use utoipa::ToSchema;

use enroll::contact::{Address, BirthDate};
use enroll::{EnrollmentId, OrganizationId, Rejection, RepositoryError, SequenceId, StepId, Timestamp};
use uuid::Uuid;

use super::{Page, Pagination, Param, Row, invalid_data, not_null};
use crate::handles::Handle;
use crate::http::docs::{AddressDoc, BirthDateDoc};

/// The state of an enrollment.
#[derive(Debug)]
pub(crate) struct EnrollmentRow {
    pub(crate) id: EnrollmentId,
    pub(crate) sequence_id: SequenceId,
    pub(crate) state: String,
    pub(crate) accepted_at: Timestamp,
    pub(crate) completed_at: Option<Timestamp>,
    pub(crate) removed_at: Option<Timestamp>,
    pub(crate) attempts: u32,
    /// True if an attempt failed.
    pub(crate) failed_before: bool,
    pub(crate) rejection: Option<Rejection>,
}

impl EnrollmentRow {
    /// The columns of the table `e`.
    pub(super) const COLUMNS: &str =
        "e.id, e.sequence_id, e.state, e.at, e.completed_at, e.removed_at, cast(e.attempts as bigint),
        cast(case when e.error is null then 0 else 1 end as bigint), cast(e.rejection as text)";

    /// Reads the columns in their order.
    pub(super) fn read(row: &mut dyn Row) -> Result<Self, RepositoryError> {
        Ok(Self {
            id: EnrollmentId::from_uuid(not_null(row.id()?)?),
            sequence_id: SequenceId::from_uuid(not_null(row.id()?)?),
            state: not_null(row.text()?)?,
            accepted_at: not_null(row.instant()?)?,
            completed_at: row.instant()?,
            removed_at: row.instant()?,
            attempts: to_u32(row.number()?)?,
            failed_before: row.number()? == Some(1),
            rejection: json(row.text()?.as_deref())?,
        })
    }
}

/// Returns a page of enrollments, the newest first.
pub(crate) async fn enrollments(
    handle: &mut Handle,
    organization_id: OrganizationId,
    states: &[String],
    pagination: Pagination,
) -> Result<Page<EnrollmentRow>, RepositoryError> {
    let (columns, table) = (EnrollmentRow::COLUMNS, "enroll.enrollments e");
    let mut list = List::new(organization_id, columns, table, "e", "e.at desc, e.id desc");
    list.filter("e.state", states.iter().cloned().map(Param::Text).collect());
    list.read(handle, pagination, EnrollmentRow::read).await
}

/// A contact in a step of a sequence.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepContactRow {
    pub(crate) id: Uuid,
    pub(crate) status: String,
    pub(crate) step_id: Uuid,
    pub(crate) sequence_id: Uuid,
    pub(crate) contact: NamedContact,
    pub(crate) channel_id: Option<Uuid>,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) scheduled_at: Timestamp,
    pub(crate) times_processed: u32,
    /// When its run started.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) created_at: Option<Timestamp>,
    /// The instant of the last request that enrolled it. Absent if a host wrote the row.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) updated_at: Option<Timestamp>,
}

/// The name and the keys of a contact.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NamedContact {
    pub(crate) id: Uuid,
    pub(crate) name: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) phone: Option<String>,
    pub(crate) external_id: Option<String>,
}

/// Returns a page of the contacts of a sequence, the newest first.
pub(crate) async fn step_contacts(
    handle: &mut Handle,
    organization_id: OrganizationId,
    sequence_id: SequenceId,
    statuses: &[String],
    steps: &[StepId],
    pagination: Pagination,
) -> Result<Page<StepContactRow>, RepositoryError> {
    let columns = "s.id, s.status, s.step_id, s.sequence_id, c.id, c.name, c.email, c.phone, c.external_id,
        s.channel_id, s.scheduled_at, cast(s.times_processed as bigint), r.started_at, e.at";
    let tables = "enroll.step_contacts s
        join enroll.contacts c on c.organization_id = s.organization_id and c.id = s.contact_id
        left join enroll.runs r on r.organization_id = s.organization_id and r.id = s.run_id
        left join enroll.enrollments e on e.organization_id = s.organization_id and e.id = s.enrollment_id";
    let mut list = List::new(organization_id, columns, tables, "s", "s.id desc");
    list.filter("s.sequence_id", vec![Param::Id(sequence_id.as_uuid())]);
    list.filter("s.status", statuses.iter().cloned().map(Param::Text).collect());
    list.filter("s.step_id", steps.iter().map(|id| Param::Id(id.as_uuid())).collect());
    list.read(handle, pagination, |row| {
        Ok(StepContactRow {
            id: not_null(row.id()?)?,
            status: not_null(row.text()?)?,
            step_id: not_null(row.id()?)?,
            sequence_id: not_null(row.id()?)?,
            contact: NamedContact {
                id: not_null(row.id()?)?,
                name: row.text()?,
                email: row.text()?,
                phone: row.text()?,
                external_id: row.text()?,
            },
            channel_id: row.id()?,
            scheduled_at: not_null(row.instant()?)?,
            times_processed: to_u32(row.number()?)?,
            created_at: row.instant()?,
            updated_at: row.instant()?,
        })
    })
    .await
}

/// A contact.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ContactRow {
    pub(crate) id: Uuid,
    pub(crate) external_id: Option<String>,
    pub(crate) phone: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) first_name: Option<String>,
    pub(crate) last_name: Option<String>,
    pub(crate) language: Option<String>,
    pub(crate) default_channel_id: Option<Uuid>,
    #[schema(value_type = Option<AddressDoc>)]
    pub(crate) address: Option<Address>,
    #[schema(value_type = Option<BirthDateDoc>)]
    pub(crate) birth_date: Option<BirthDate>,
    pub(crate) state: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) created_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) updated_at: Option<Timestamp>,
}

/// The contact keys to search for.
#[derive(Debug, Default)]
pub(crate) struct ContactFilter {
    pub(crate) phone: Option<String>,
    /// In the form that is compared.
    pub(crate) email_key: Option<String>,
    pub(crate) external_id: Option<String>,
}

/// Returns a page of contacts, the newest first.
pub(crate) async fn contacts(
    handle: &mut Handle,
    organization_id: OrganizationId,
    filter: ContactFilter,
    pagination: Pagination,
) -> Result<Page<ContactRow>, RepositoryError> {
    let columns =
        "c.id, c.external_id, c.phone, c.email, c.name, c.first_name, c.last_name, c.language, c.default_channel_id,
        cast(c.address as text), cast(c.birth_day as bigint), cast(c.birth_month as bigint),
        cast(c.birth_year as bigint), c.state, c.created_at, c.updated_at";
    let mut list = List::new(organization_id, columns, "enroll.contacts c", "c", "c.id desc");
    let ContactFilter { phone, email_key, external_id } = filter;
    for (column, key) in [("c.held_phone", phone), ("c.held_email", email_key), ("c.held_external_id", external_id)] {
        list.filter(column, key.into_iter().map(Param::Text).collect());
    }
    list.read(handle, pagination, |row| {
        Ok(ContactRow {
            id: not_null(row.id()?)?,
            external_id: row.text()?,
            phone: row.text()?,
            email: row.text()?,
            name: row.text()?,
            first_name: row.text()?,
            last_name: row.text()?,
            language: row.text()?,
            default_channel_id: row.id()?,
            address: json(row.text()?.as_deref())?,
            birth_date: BirthDate::new(row.number()?, row.number()?, row.number()?).filter(|date| !date.is_empty()),
            state: not_null(row.text()?)?,
            created_at: row.instant()?,
            updated_at: row.instant()?,
        })
    })
    .await
}

/// A sequence.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SequenceRow {
    pub(crate) id: Uuid,
    pub(crate) title: String,
    pub(crate) status: String,
    pub(crate) steps: Vec<StepRow>,
}

/// A step of a sequence.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepRow {
    pub(crate) id: Uuid,
    pub(crate) position: i64,
    pub(crate) channel_kind: String,
}

/// Returns a page of sequences, ordered by title, then id.
pub(crate) async fn sequences(
    handle: &mut Handle,
    organization_id: OrganizationId,
    pagination: Pagination,
) -> Result<Page<SequenceRow>, RepositoryError> {
    let columns = "s.id, s.title, s.status";
    let list = List::new(organization_id, columns, "enroll.sequences s", "s", "s.title, s.id");
    let mut page = list
        .read(handle, pagination, |row| {
            let (id, title, status) = (not_null(row.id()?)?, not_null(row.text()?)?, not_null(row.text()?)?);
            Ok(SequenceRow { id, title, status, steps: Vec::new() })
        })
        .await?;
    if page.data.is_empty() {
        return Ok(page);
    }
    let columns = "s.sequence_id, s.id, cast(s.position as bigint), s.channel_kind";
    let mut list = List::new(organization_id, columns, "enroll.steps s", "s", "s.position, s.id");
    list.filter("s.sequence_id", page.data.iter().map(|sequence| Param::Id(sequence.id)).collect());
    let steps = list
        .rows(handle, |row| {
            let (sequence, id) = (not_null(row.id()?)?, not_null(row.id()?)?);
            Ok((sequence, StepRow { id, position: not_null(row.number()?)?, channel_kind: not_null(row.text()?)? }))
        })
        .await?;
    let mut steps_of: BTreeMap<Uuid, Vec<StepRow>> = BTreeMap::new();
    for (sequence, step) in steps {
        steps_of.entry(sequence).or_default().push(step);
    }
    for sequence in &mut page.data {
        sequence.steps = steps_of.remove(&sequence.id).unwrap_or_default();
    }
    Ok(page)
}

/// Returns true if the organization has the sequence.
pub(crate) async fn has_sequence(
    handle: &mut Handle,
    organization_id: OrganizationId,
    sequence_id: SequenceId,
) -> Result<bool, RepositoryError> {
    let sql = "select id from enroll.sequences where organization_id = $1 and id = $2";
    let params = [Param::Id(organization_id.as_uuid()), Param::Id(sequence_id.as_uuid())];
    Ok(!handle.query(sql, &params, |row| row.id()).await?.is_empty())
}

/// A query for a list of an organization.
struct List {
    columns: &'static str,
    from: String,
    order: &'static str,
    params: Vec<Param>,
}

impl List {
    fn new(
        organization_id: OrganizationId,
        columns: &'static str,
        tables: &str,
        table: &str,
        order: &'static str,
    ) -> Self {
        let from = format!("from {tables} where {table}.organization_id = $1");
        Self { columns, from, order, params: vec![Param::Id(organization_id.as_uuid())] }
    }

    /// Keeps only rows whose column has one of the values. An empty list keeps all rows.
    fn filter(&mut self, column: &str, values: Vec<Param>) {
        if values.is_empty() {
            return;
        }
        let first = self.params.len() + 1;
        let placeholders: Vec<String> = (first..first + values.len()).map(|number| format!("${number}")).collect();
        let _infallible = write!(self.from, " and {column} in ({})", placeholders.join(", "));
        self.params.extend(values);
    }

    async fn read<T: Send>(
        mut self,
        handle: &mut Handle,
        pagination: Pagination,
        decode: impl FnMut(&mut dyn Row) -> Result<T, RepositoryError> + Send,
    ) -> Result<Page<T>, RepositoryError> {
        let count = format!("select count(*) {}", self.from);
        let counted = handle.query(&count, &self.params, |row| not_null(row.number()?)).await?;
        let total = counted.first().map_or(0, |count| count.unsigned_abs());
        let (limit, offset) = (self.params.len() + 1, self.params.len() + 2);
        let sql =
            format!("select {} {} order by {} limit ${limit} offset ${offset}", self.columns, self.from, self.order);
        self.params.extend([Param::Number(pagination.limit.into()), Param::Number(pagination.offset.into())]);
        Ok(Page { data: handle.query(&sql, &self.params, decode).await?, total })
    }

    async fn rows<T: Send>(
        self,
        handle: &mut Handle,
        decode: impl FnMut(&mut dyn Row) -> Result<T, RepositoryError> + Send,
    ) -> Result<Vec<T>, RepositoryError> {
        let sql = format!("select {} {} order by {}", self.columns, self.from, self.order);
        handle.query(&sql, &self.params, decode).await
    }
}

pub(super) fn json<T: serde::de::DeserializeOwned>(text: Option<&str>) -> Result<Option<T>, RepositoryError> {
    text.map(serde_json::from_str).transpose().map_err(invalid_data)
}

fn to_u32(number: Option<i64>) -> Result<u32, RepositoryError> {
    u32::try_from(not_null(number)?).map_err(invalid_data)
}
