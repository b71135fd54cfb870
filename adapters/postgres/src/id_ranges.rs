//! The scan over adjacent ids: related rows of contacts that one request created are read by range, the others by id.

use enroll::repository::are_adjacent;
use postgres_types::ToSql;
use std::collections::BTreeSet;
use uuid::Uuid;

use crate::tables::{Table, names};
use enroll::contact::Contact;

/// Contact ids, as parameters of [`select_contacts`] and [`select_related`].
pub(crate) struct ContactRanges {
    /// All ids, sorted.
    ids: Vec<Uuid>,
    /// The first and the last id of each range of adjacent ids. A single id is a range too.
    firsts: Vec<Uuid>,
    lasts: Vec<Uuid>,
    /// The first and the last id of a sample of the longest range.
    sample: [Option<Uuid>; 2],
    /// The number of rows in the sample from which all rows are read by id. It is 0 if no range is long.
    max_rows: i64,
}

impl ContactRanges {
    pub(crate) fn new(ids: BTreeSet<Uuid>) -> Self {
        let ids: Vec<Uuid> = ids.into_iter().collect();
        let ranges = || ids.chunk_by(|a, b| are_adjacent(*a, *b));
        let (firsts, lasts) = ranges().filter_map(|ids| Some((*ids.first()?, *ids.last()?))).unzip();
        let longest = ranges().max_by_key(|ids| ids.len()).filter(|ids| ids.len() >= MIN_RANGE);
        let sample = longest.map(|ids| ids.get(..SAMPLE).unwrap_or(ids)).unwrap_or_default();
        let max_rows = i64::try_from(sample.len()).unwrap_or(0) * MAX_ROWS_PER_CONTACT;
        let sample = [sample.first().copied(), sample.last().copied()];
        Self { ids, firsts, lasts, sample, max_rows }
    }

    /// Returns true if the id is one of these. A range also returns the contacts between them.
    pub(crate) fn contains(&self, id: Uuid) -> bool {
        self.ids.binary_search(&id).is_ok()
    }

    /// Returns the parameters of [`select_contacts`].
    pub(crate) fn contacts<'a>(&'a self, organization: &'a Uuid) -> Vec<&'a (dyn ToSql + Sync)> {
        vec![organization, &self.firsts, &self.lasts]
    }

    /// Returns the parameters of [`select_related`].
    pub(crate) fn related<'a>(
        &'a self,
        organization: &'a Uuid,
        belongs_to: &'a (dyn ToSql + Sync),
    ) -> Vec<&'a (dyn ToSql + Sync)> {
        let Self { ids, firsts, lasts, sample: [first, last], max_rows } = self;
        vec![organization, ids, firsts, lasts, first, last, max_rows, belongs_to]
    }
}

/// Selects the contacts in the ranges from `$2` to `$3`: the version, then the columns.
pub(crate) fn select_contacts() -> String {
    let columns = names::<Contact>();
    format!(
        "select version, {columns} from (
            select (select $1::uuid) as organization_id, first, last
            from unnest((select $2::uuid[]), (select $3::uuid[])) as k (first, last) offset 0
        ) as k cross join lateral (
            select * from enroll.contacts
            where organization_id = @k and id between k.first and k.last offset 0
        ) as c"
    )
}

/// Selects the related rows of contacts that belong to `$8`, from the part of the table that one index contains.
///
/// `$2` holds all contact ids. `$3` and `$4` hold the first and the last id of each range. A range scan takes a tenth of the
/// time of reading by id, but it also reads the rows that belong elsewhere. A sample decides: if the contacts from `$5` to
/// `$6` have `$7` rows or more, all rows are read by id.
///
/// The sub-queries hide the length of the lists and the organization from the planner. It would expect a range to match a
/// two-hundredth of the organization, and would compile the query. `@k` is the organization of the keys.
pub(crate) fn select_related<T: Table>(belongs_to: &str, first_columns: &str, part: &str) -> String {
    let (table, columns) = (T::NAME, names::<T>());
    format!(
        "(with sample as materialized (
            select count(*) < $7::bigint as is_small from (
                select from enroll.{table}
                where organization_id = $1 and contact_id between $5::uuid and $6::uuid and {part} limit $7
            ) as r
        ) select {first_columns}{columns} from (
            select (select $1::uuid) as organization_id, first, last
            from unnest((select $3::uuid[]), (select $4::uuid[])) as k (first, last)
            where (select is_small from sample) offset 0
        ) as k cross join lateral (
            select * from enroll.{table}
            where organization_id = @k
                and contact_id between k.first and k.last and {belongs_to} = $8::uuid and {part} offset 0
        ) as r union all select {first_columns}{columns} from (
            select (select $1::uuid) as organization_id, key
            from unnest((select $2::uuid[])) as key where not (select is_small from sample) offset 0
        ) as k cross join lateral (
            select * from enroll.{table}
            where organization_id = @k and contact_id = k.key
                and {belongs_to} = $8::uuid and {part} offset 0
        ) as r)"
    )
}

/// The number of adjacent ids from which a range scan is faster than reading by id.
const MIN_RANGE: usize = 8;
/// The number of contacts in the sample.
const SAMPLE: usize = 16;
/// The average number of rows per contact from which reading by id is faster than a range scan.
const MAX_ROWS_PER_CONTACT: i64 = 16;
