//! A query for a page of a list, which reads as many rows as it returns.

use enroll::{OrganizationId, RepositoryError};
use uuid::Uuid;

use super::{Page, Pagination, Param, Position, Row};
use crate::handles::Handle;

/// The parts of a query that are the same for each page of a list. The table has the alias `t`.
pub(super) struct Shape {
    pub(super) table: &'static str,
    /// The columns that the joins and the order need. They are the columns of `k`.
    pub(super) keys: &'static str,
    pub(super) order: &'static str,
    /// The same order, of `k`.
    pub(super) merged_order: &'static str,
    pub(super) columns: &'static str,
    /// The tables that are joined with `k`.
    pub(super) joins: &'static str,
}

/// A list of an organization in an order of which an index has all rows of a part, such as those of one status.
///
/// A page merges the first rows of each part. The keys of its rows are found first, then joined with the other tables.
pub(super) struct List {
    shape: Shape,
    conditions: String,
    parts: Vec<String>,
    params: Vec<Param>,
}

impl List {
    /// Returns a list of the rows of an organization, which is the parameter `$1`.
    pub(super) fn new(organization_id: OrganizationId, shape: Shape) -> Self {
        let (conditions, params) = ("t.organization_id = $1".to_owned(), vec![Param::Id(organization_id.as_uuid())]);
        Self { shape, conditions, parts: Vec::new(), params }
    }

    /// Adds a parameter. Returns its placeholder.
    pub(super) fn param(&mut self, param: Param) -> String {
        self.params.push(param);
        format!("${}", self.params.len())
    }

    /// Keeps only rows that meet a condition.
    pub(super) fn filter(&mut self, condition: &str) {
        self.conditions.push_str(" and ");
        self.conditions.push_str(condition);
    }

    /// Keeps only rows whose column has one of the values. An empty list keeps all rows.
    pub(super) fn filter_one_of(&mut self, column: &str, values: impl IntoIterator<Item = Param>) {
        let places: Vec<String> = values.into_iter().map(|value| self.param(value)).collect();
        if !places.is_empty() {
            self.filter(&format!("{column} in ({})", places.join(", ")));
        }
    }

    /// Keeps only rows whose column contains a text. The case of ASCII letters does not matter.
    pub(super) fn filter_contains(&mut self, column: &str, text: &str) {
        // Both databases change only ASCII letters here: the columns have the collation `C` on PostgreSQL.
        let text = self.param(Param::Text(text.to_ascii_lowercase()));
        self.filter(&format!("strpos(lower({column}), {text}) > 0"));
    }

    /// Adds a part: the rows that meet a condition.
    pub(super) fn part(&mut self, condition: String) {
        self.parts.push(condition);
    }

    /// Returns the condition of the rows after a position in the order by a text, then by id.
    pub(super) fn after_text(&mut self, column: &str, text: &str, id: Uuid) -> String {
        let (text, id) = (self.param(Param::Text(text.to_owned())), self.param(Param::Id(id)));
        format!("({column}, t.id) > ({text}, {id})")
    }

    /// Returns the number of rows that meet the filters. It reads all of them.
    pub(super) async fn count(&self, handle: &mut Handle) -> Result<u64, RepositoryError> {
        self.first_number(handle, "count(*)").await
    }

    async fn first_number(&self, handle: &mut Handle, column: &str) -> Result<u64, RepositoryError> {
        let sql = format!("select {column} from {} where {}", self.shape.table, self.conditions);
        let numbers = handle.query(&sql, &self.params, |row| row.number()).await?;
        Ok(numbers.first().copied().flatten().map_or(0, i64::unsigned_abs))
    }

    /// Reads a page of a list that has `total` rows. `position` returns the place of a row in the order.
    pub(super) async fn read<T: Send>(
        mut self,
        handle: &mut Handle,
        pagination: &Pagination,
        total: u64,
        decode: impl FnMut(&mut dyn Row) -> Result<T, RepositoryError> + Send,
        position: impl Fn(&T) -> Position + Send,
    ) -> Result<Page<T>, RepositoryError> {
        if total == 0 {
            return Ok(Page { data: Vec::new(), total, next: None });
        }
        let (limit, offset) = (i64::from(pagination.limit), i64::from(pagination.offset));
        // One more row shows whether another page follows.
        let (first, rows) = (self.param(Param::Number(offset + limit + 1)), self.param(Param::Number(limit + 1)));
        let offset = self.param(Param::Number(offset));
        let Self { shape, conditions, parts, params } = self;
        let Shape { table, keys, order, merged_order, columns, joins } = shape;
        let part = |(number, part): (usize, &String)| {
            format!(
                "select * from (select {keys} from {table} where {conditions} and {part} order by {order} limit {first}) p{number}"
            )
        };
        let parts: Vec<String> = parts.iter().enumerate().map(part).collect();
        let sql = format!(
            "select {columns} from (
                select * from ({}) m order by {} limit {rows} offset {offset}
            ) k {joins} order by {merged_order}",
            parts.join(" union all "),
            merged_order.replace("k.", "m."),
        );
        let mut data = handle.query(&sql, &params, decode).await?;
        let limit = pagination.limit as usize;
        let has_more = data.len() > limit;
        data.truncate(limit);
        let next = data.last().filter(|_| has_more).map(position);
        Ok(Page { data, total, next })
    }
}

/// Returns the number of rows of a list that is counted as it is written.
pub(super) async fn total(
    handle: &mut Handle,
    organization_id: OrganizationId,
    list: &str,
    filter: impl FnOnce(&mut List),
) -> Result<u64, RepositoryError> {
    let mut counts = List::new(organization_id, COUNTS);
    counts.filter_one_of("t.list", [Param::Text(list.to_owned())]);
    filter(&mut counts);
    counts.first_number(handle, "cast(sum(t.entries) as bigint)").await
}

/// Only the table is used: the counts are summed.
const COUNTS: Shape = Shape { table: "enroll.counts t", keys: "", order: "", merged_order: "", columns: "", joins: "" };
