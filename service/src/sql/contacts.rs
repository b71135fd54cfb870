//! Contacts of the HTTP API, with their tags, communication preferences and conversations. Every statement filters by
//! organization.

use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

use enroll::contact::{Address, BirthDate};
use enroll::{ContactId, OrganizationId, RepositoryError, Timestamp};
use uuid::Uuid;

use super::list::{List, Shape, total};
use super::lists::json;
use super::{Page, Pagination, Param, Position, Row, Sort, id_places, not_null, sort_text};
use crate::handles::Handle;

/// A contact.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ContactRow {
    pub(crate) id: Uuid,
    pub(crate) external_id: Option<String>,
    pub(crate) phone: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) name: Option<String>,
    /// As stored. If neither this nor `last_name` is stored, the first word of `name`.
    pub(crate) first_name: Option<String>,
    /// As stored. If neither this nor `first_name` is stored, `name` without its first word.
    pub(crate) last_name: Option<String>,
    pub(crate) language: Option<String>,
    pub(crate) default_channel_id: Option<Uuid>,
    pub(crate) address: Option<Address>,
    pub(crate) birth_date: Option<BirthDate>,
    pub(crate) state: String,
    /// True if the state is `blocked`.
    pub(crate) blocked: bool,
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) updated_at: Option<Timestamp>,
    /// The newest tags by id, at most 100.
    pub(crate) contact_tags: Vec<ContactTagRow>,
    /// The choices of the contact, for at most 100 channels.
    pub(crate) communication_preferences: Vec<CommunicationPreferenceRow>,
    /// The newest conversations by id, at most 100.
    pub(crate) conversations: Vec<ConversationRow>,
}

/// A tag of a contact.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ContactTag)]
pub(crate) struct ContactTagRow {
    contact_id: Uuid,
    tag_id: Uuid,
    tag: TagRow,
}

/// A tag.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tag)]
struct TagRow {
    id: Uuid,
    name: String,
    /// True for the tag of an upload.
    system_created: bool,
}

/// Whether a contact takes messages on a channel.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CommunicationPreference)]
pub(crate) struct CommunicationPreferenceRow {
    contact_id: Uuid,
    channel_id: Uuid,
    opt_in: bool,
}

/// A conversation with a contact.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Conversation)]
pub(crate) struct ConversationRow {
    id: Uuid,
    contact_id: Uuid,
    channel_id: Uuid,
    /// The kind of the channel. Absent if the channel does not exist.
    channel_type: Option<String>,
    status: String,
    created_at: Option<Timestamp>,
}

impl ContactRow {
    const COLUMNS: &str = "c.id, c.external_id, c.phone, c.email, c.name, c.first_name, c.last_name, c.language,
        c.default_channel_id, cast(c.address as text), cast(c.birth_day as bigint), cast(c.birth_month as bigint),
        cast(c.birth_year as bigint), c.state, c.created_at, c.updated_at";

    /// Reads the columns in their order.
    fn read(row: &mut dyn Row) -> Result<Self, RepositoryError> {
        let (id, external_id, phone, email) = (not_null(row.id()?)?, row.text()?, row.text()?, row.text()?);
        let name = row.text()?;
        let mut part = || Ok::<_, RepositoryError>(row.text()?.filter(|text| !text.trim().is_empty()));
        let (first_name, last_name) = match (part()?, part()?) {
            (None, None) => split(name.as_deref().unwrap_or_default()),
            stored => stored,
        };
        let (language, default_channel_id, address) = (row.text()?, row.id()?, json(row.text()?.as_deref())?);
        let birth_date = BirthDate::new(row.number()?, row.number()?, row.number()?).filter(|date| !date.is_empty());
        let state = not_null(row.text()?)?;
        Ok(Self {
            id,
            external_id,
            phone,
            email,
            name,
            first_name,
            last_name,
            language,
            default_channel_id,
            address,
            birth_date,
            blocked: state == "blocked",
            state,
            created_at: row.instant()?,
            updated_at: row.instant()?,
            contact_tags: Vec::new(),
            communication_preferences: Vec::new(),
            conversations: Vec::new(),
        })
    }
}

/// Splits a name into its first word and the rest.
fn split(name: &str) -> (Option<String>, Option<String>) {
    let (first, rest) = name.trim().split_once(char::is_whitespace).unwrap_or((name.trim(), ""));
    let part = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    (part(first), part(rest))
}

/// What the contacts of a list must have.
#[derive(Debug, Default)]
pub(crate) struct ContactFilter {
    /// One of these phones. If empty, any.
    pub(crate) phones: Vec<String>,
    /// In the form that is compared.
    pub(crate) email_key: Option<String>,
    pub(crate) external_id: Option<String>,
    /// A part of the name. The case of ASCII letters does not matter.
    pub(crate) name: Option<String>,
}

/// Returns a page of contacts, by name, then id. Contacts without a name come last.
pub(crate) async fn contacts(
    handle: &mut Handle,
    organization_id: OrganizationId,
    filter: ContactFilter,
    pagination: &Pagination,
) -> Result<Page<ContactRow>, RepositoryError> {
    let mut list = List::new(
        organization_id,
        Shape {
            table: "enroll.contacts t",
            keys: "t.id, substr(t.name, 1, 255) as name",
            order: "substr(t.name, 1, 255), t.id",
            merged_order: "case when k.name is null then 1 else 0 end, k.name, k.id",
            columns: ContactRow::COLUMNS,
            joins: "join enroll.contacts c on c.organization_id = $1 and c.id = k.id",
        },
    );
    let ContactFilter { phones, email_key, external_id, name } = filter;
    let is_filtered = !phones.is_empty() || email_key.is_some() || external_id.is_some() || name.is_some();
    list.filter_one_of("t.held_phone", phones.iter().cloned().map(Param::Text));
    list.filter_one_of("t.held_email", email_key.map(Param::Text));
    list.filter_one_of("t.held_external_id", external_id.map(Param::Text));
    if let Some(name) = &name {
        list.filter_contains("t.name", name);
    }
    let total = if is_filtered {
        list.count(handle).await?
    } else {
        total(handle, organization_id, "contacts", |_| {}).await?
    };
    // SQLite searches the index of the phones for one phone. For one of several, it would read the whole list.
    let mut phones: Vec<String> = phones.into_iter().map(|phone| list.param(Param::Text(phone))).collect();
    phones.iter_mut().for_each(|phone| *phone = format!("t.held_phone = {phone} and "));
    if phones.is_empty() {
        phones.push(String::new());
    }
    for of_phone in phones {
        let unnamed = format!("{of_phone}{LISTED_NAME} is null");
        match &pagination.after {
            // Each name is one of these. SQLite does not search an index by `is not null`.
            None => list.part(format!("{of_phone}{LISTED_NAME} >= ''")),
            Some(Position { sort: Sort::Text(name), id }) => {
                let after = list.after_text(LISTED_NAME, name, *id);
                list.part(format!("{of_phone}{after}"));
            }
            Some(Position { id, .. }) => {
                let id = list.param(Param::Id(*id));
                list.part(format!("{unnamed} and t.id > {id}"));
                continue;
            }
        }
        // A contact without a name has no part of one.
        if name.is_none() {
            list.part(unnamed);
        }
    }
    let position = |row: &ContactRow| {
        let sort = row.name.as_deref().map_or(Sort::None, |name| Sort::Text(sort_text(name)));
        Position { sort, id: row.id }
    };
    let mut page = list.read(handle, pagination, total, ContactRow::read, position).await?;
    add_related_rows(handle, organization_id, &mut page.data).await?;
    Ok(page)
}

/// Returns a contact, or `None` if the organization does not have it.
pub(crate) async fn contact(
    handle: &mut Handle,
    organization_id: OrganizationId,
    id: ContactId,
) -> Result<Option<ContactRow>, RepositoryError> {
    let sql =
        format!("select {} from enroll.contacts c where c.organization_id = $1 and c.id = $2", ContactRow::COLUMNS);
    let params = [Param::Id(organization_id.as_uuid()), Param::Id(id.as_uuid())];
    let mut found = handle.query(&sql, &params, ContactRow::read).await?;
    add_related_rows(handle, organization_id, &mut found).await?;
    Ok(found.pop())
}

/// Adds the tags, preferences and conversations of contacts.
async fn add_related_rows(
    handle: &mut Handle,
    organization_id: OrganizationId,
    contacts: &mut [ContactRow],
) -> Result<(), RepositoryError> {
    if contacts.is_empty() {
        return Ok(());
    }
    let mut params = vec![Param::Id(organization_id.as_uuid())];
    let places = id_places(&mut params, contacts.iter().map(|contact| contact.id));
    let of_contacts = |alias: &str| format!("{alias}.organization_id = $1 and {alias}.contact_id in ({places})");
    let tags = format!(
        "select g.contact_id, g.tag_id as id, t.name, t.system_created
        from enroll.contact_tags g join enroll.tags t on t.organization_id = $1 and t.id = g.tag_id where {}",
        of_contacts("g")
    );
    let columns = "r.contact_id, r.id, r.name, cast(case when r.system_created then 1 else 0 end as bigint)";
    let mut tags = related(handle, &params, columns, &tags, |row, contact_id| {
        let tag_id = not_null(row.id()?)?;
        let tag = TagRow { id: tag_id, name: not_null(row.text()?)?, system_created: row.number()? == Some(1) };
        Ok(ContactTagRow { contact_id, tag_id, tag })
    })
    .await?;
    let preferences = format!(
        "select p.contact_id, p.channel_id as id, p.opt_in from enroll.communication_preferences p where {}",
        of_contacts("p")
    );
    let columns = "r.contact_id, r.id, cast(case when r.opt_in then 1 else 0 end as bigint)";
    let mut preferences = related(handle, &params, columns, &preferences, |row, contact_id| {
        let (channel_id, opt_in) = (not_null(row.id()?)?, row.number()? == Some(1));
        Ok(CommunicationPreferenceRow { contact_id, channel_id, opt_in })
    })
    .await?;
    // PostgreSQL has one index for each of the two kinds of conversations.
    let conversations = ["v.one_at_most", "not v.one_at_most"].map(|kind| {
        format!(
            "select v.contact_id, v.id, v.channel_id, h.kind, v.status, v.created_at from enroll.conversations v
            left join enroll.channels h on h.organization_id = $1 and h.id = v.channel_id where {} and {kind}",
            of_contacts("v")
        )
    });
    let columns = "r.contact_id, r.id, r.channel_id, r.kind, r.status, r.created_at";
    let conversations = conversations.join(" union all ");
    let mut conversations = related(handle, &params, columns, &conversations, |row, contact_id| {
        Ok(ConversationRow {
            id: not_null(row.id()?)?,
            contact_id,
            channel_id: not_null(row.id()?)?,
            channel_type: row.text()?,
            status: not_null(row.text()?)?,
            created_at: row.instant()?,
        })
    })
    .await?;
    for contact in contacts {
        contact.contact_tags = tags.remove(&contact.id).unwrap_or_default();
        contact.communication_preferences = preferences.remove(&contact.id).unwrap_or_default();
        contact.conversations = conversations.remove(&contact.id).unwrap_or_default();
    }
    Ok(())
}

/// Reads the rows of a query, at most [`MAX_RELATED`] of each contact: those with the greatest ids. The first column is
/// the contact.
async fn related<T: Send>(
    handle: &mut Handle,
    params: &[Param],
    columns: &str,
    rows: &str,
    mut read: impl FnMut(&mut dyn Row, Uuid) -> Result<T, RepositoryError> + Send,
) -> Result<BTreeMap<Uuid, Vec<T>>, RepositoryError> {
    let sql = format!(
        "select {columns} from (
            select q.*, row_number() over (partition by q.contact_id order by q.id desc) as place from ({rows}) q
        ) r where r.place <= {MAX_RELATED} order by r.contact_id, r.id desc"
    );
    let rows = handle.query(&sql, params, |row| {
        let contact_id = not_null(row.id()?)?;
        Ok((contact_id, read(row, contact_id)?))
    });
    let mut of_contacts: BTreeMap<Uuid, Vec<T>> = BTreeMap::new();
    for (contact_id, row) in rows.await? {
        of_contacts.entry(contact_id).or_default().push(row);
    }
    Ok(of_contacts)
}

/// The number of tags, of preferences and of conversations that a contact is shown with. It bounds the size of a page.
const MAX_RELATED: u32 = 100;

/// The part of a name by which contacts are ordered. On SQLite it is a column.
pub(super) const LISTED_NAME: &str = "substr(t.name, 1, 255)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_split_after_its_first_word() {
        for (name, first, last) in [
            ("Ada Example", Some("Ada"), Some("Example")),
            ("  Ada\tvan  Example ", Some("Ada"), Some("van  Example")),
            ("Ada", Some("Ada"), None),
            (" ", None, None),
        ] {
            let (first_name, last_name) = split(name);
            assert_eq!((first_name.as_deref(), last_name.as_deref()), (first, last), "{name}");
        }
    }
}
