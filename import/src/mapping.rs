//! Which column is which field (spec 11, *Mapping*).

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::edits::ColumnRef;
use crate::error::ListError;
use crate::field::{Field, UnknownFieldError};
use crate::inspection::Warning;
use crate::options::Settings;
use crate::titles;

/// The fields of columns that a person chose by hand.
///
/// In JSON it is a list, `[{"column": "Phone Number", "field": "phone"}, {"column": 3, "field": "ignore"}]`, where a
/// number is the position of a column. An object of titles is read too: `{"Phone Number": "phone"}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Mapping {
    assignments: Vec<Assignment>,
}

/// One column and its field.
///
/// It is read from `Title=field`, or from `#3=field` with the position of the column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "`{\"column\": \"Title\", \"field\": \"phone\"}`")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(description = "One column and its field."))]
#[non_exhaustive]
pub struct Assignment {
    /// The column.
    pub column: ColumnRef,
    /// The field.
    pub field: Field,
}

impl Assignment {
    /// Creates an assignment.
    #[must_use]
    pub fn new(column: impl Into<ColumnRef>, field: Field) -> Self {
        Self { column: column.into(), field }
    }
}

/// A text is not `Title=field`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AssignmentError {
    /// The text has no `=`.
    #[error("`{0}` has no `=`; write `Title=field`, such as `Phone Number=phone`")]
    Syntax(String),
    /// The field does not exist.
    #[error(transparent)]
    Field(#[from] UnknownFieldError),
}

impl FromStr for Assignment {
    type Err = AssignmentError;

    fn from_str(text: &str) -> Result<Self, AssignmentError> {
        let (title, field) = text.rsplit_once('=').ok_or_else(|| AssignmentError::Syntax(text.to_owned()))?;
        let position = title.trim().strip_prefix('#').and_then(|digits| digits.parse().ok());
        let column = position.map_or_else(|| ColumnRef::Title(title.to_owned()), ColumnRef::Position);
        Ok(Self { column, field: field.parse()? })
    }
}

impl Mapping {
    /// Creates a mapping without a choice: each column has the suggested field.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns true if no column was chosen by hand.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.assignments.is_empty()
    }

    /// Returns the choices.
    pub fn iter(&self) -> impl Iterator<Item = &Assignment> {
        self.assignments.iter()
    }

    /// Chooses the field of a column. It replaces an earlier choice for the same title or position.
    pub fn set(&mut self, column: impl Into<ColumnRef>, field: Field) {
        let column = column.into();
        self.assignments.retain(|assignment| assignment.column != column);
        self.assignments.push(Assignment { column, field });
    }

    /// Returns the choices in an order that does not depend on the order in which they were made.
    pub(crate) fn sorted(&self) -> Self {
        let mut assignments = self.assignments.clone();
        assignments.sort_by(|a, b| (&a.column, &a.field).cmp(&(&b.column, &b.field)));
        Self { assignments }
    }

    /// Returns true if a hand-made choice makes a title a phone, an email or an external id.
    pub(crate) fn names_key(&self, title: &str) -> bool {
        self.iter().any(|assignment| {
            let titles = [title.to_owned()];
            assignment.field.is_key()
                && matches!(assignment.column, ColumnRef::Title(_))
                && assignment.column.find(&titles).is_ok()
        })
    }
}

impl FromIterator<Assignment> for Mapping {
    fn from_iter<I: IntoIterator<Item = Assignment>>(assignments: I) -> Self {
        Self { assignments: assignments.into_iter().collect() }
    }
}

impl Extend<Assignment> for Mapping {
    fn extend<I: IntoIterator<Item = Assignment>>(&mut self, assignments: I) {
        self.assignments.extend(assignments);
    }
}

impl<'de> Deserialize<'de> for Mapping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shapes;

        impl<'de> Visitor<'de> for Shapes {
            type Value = Mapping;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(r#"a list of {"column": …, "field": …} or an object of titles and fields"#)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Mapping, A::Error> {
                let mut mapping = Mapping::new();
                while let Some(assignment) = list.next_element()? {
                    mapping.assignments.push(assignment);
                }
                Ok(mapping)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut titles: A) -> Result<Mapping, A::Error> {
                let mut mapping = Mapping::new();
                while let Some((title, field)) = titles.next_entry::<String, Field>()? {
                    mapping.assignments.push(Assignment::new(title.as_str(), field));
                }
                Ok(mapping)
            }
        }

        // Not an untagged enum: its errors would not have the place in the JSON.
        deserializer.deserialize_any(Shapes)
    }
}

/// A column of the list with its field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column {
    pub(crate) title: String,
    pub(crate) suggested: Option<Field>,
    /// The field that the title suggests if it speaks of consent.
    pub(crate) consent: Option<Field>,
    pub(crate) by_hand: Option<Field>,
    mobile: bool,
}

impl Column {
    /// Returns the field that is read from the column.
    pub(crate) fn field(&self) -> Option<&Field> {
        self.by_hand.as_ref().or(self.suggested.as_ref()).filter(|field| **field != Field::Ignore)
    }
}

/// The columns of a list.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Columns {
    pub(crate) list: Vec<Column>,
    /// The indexes of the columns of each field. The first that has a value counts.
    by_field: BTreeMap<Field, Vec<usize>>,
}

impl Columns {
    /// Suggests the fields, and applies the choices by hand.
    pub(crate) fn new(titles: &[String], mapping: &Mapping) -> Result<Self, ListError> {
        let mut list = suggested(titles);
        for assignment in mapping.iter() {
            for index in assignment.column.find(titles)? {
                if let Some(first) = list[index].by_hand.replace(assignment.field.clone())
                    && first != assignment.field
                {
                    let (column, second) = (assignment.column.clone(), assignment.field.clone());
                    return Err(ListError::MappedTwice { column, first, second });
                }
            }
        }
        let mut by_field = BTreeMap::<Field, Vec<usize>>::new();
        for (index, column) in list.iter().enumerate() {
            if let Some(field) = column.field() {
                by_field.entry(field.clone()).or_default().push(index);
            }
        }
        for columns in by_field.values_mut() {
            // A column that was chosen by hand comes before a suggested one, and a mobile number before others.
            columns.sort_by_key(|index| (list[*index].by_hand.is_none(), !list[*index].mobile));
        }
        Ok(Self { list, by_field })
    }

    /// Refuses a list that must not be enrolled with these columns.
    pub(crate) fn check(&self, settings: &Settings) -> Result<(), ListError> {
        let titles = || self.list.iter().map(|column| column.title.clone());
        if !self.by_field.keys().any(Field::is_key) {
            return Err(ListError::NoKeyColumn { titles: titles().collect() });
        }
        let open = |column: &&Column| column.consent.is_some() && column.by_hand.is_none();
        let titles: Vec<String> = self.list.iter().filter(open).map(|column| column.title.clone()).collect();
        if !titles.is_empty() {
            return Err(ListError::ConsentNotMapped { titles });
        }
        let property = self.by_field.iter().find(|(field, _)| matches!(field, Field::Property(_)));
        match property {
            Some((field, columns)) if settings.properties.is_none() => {
                Err(ListError::NoCustomObject { title: self.list[columns[0]].title.clone(), field: field.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Returns the indexes of the columns of a field. The first that has a value counts.
    pub(crate) fn of(&self, field: &Field) -> &[usize] {
        self.by_field.get(field).map_or(&[], Vec::as_slice)
    }

    /// Returns the fields of which only the first column with a value counts, although several columns have them.
    pub(crate) fn several(&self) -> impl Iterator<Item = Warning> {
        let several = self.by_field.iter().filter(|(field, columns)| columns.len() > 1 && !field.is_consent());
        several.map(|(field, columns)| Warning::SeveralColumns {
            field: field.clone(),
            columns: columns.iter().map(|index| self.list[*index].title.clone()).collect(),
        })
    }

    /// Returns the keys of the custom object that columns have.
    pub(crate) fn properties(&self) -> impl Iterator<Item = (&str, &Field)> {
        self.by_field.keys().filter_map(|field| match field {
            Field::Property(key) => Some((key.as_str(), field)),
            _ => None,
        })
    }
}

/// Suggests the field of each column from its title.
fn suggested(titles: &[String]) -> Vec<Column> {
    let meanings: Vec<_> = titles
        .iter()
        .map(|title| (titles::meaning(title).filter(|_| titles::consent(title).is_none()), titles::consent(title)))
        .collect();
    let has = |field: Field| meanings.iter().flat_map(|(meaning, _)| meaning).any(|meaning| meaning.field == field);
    let (has_first, has_last) = (has(Field::FirstName), has(Field::LastName));
    let column = |(title, (meaning, consent)): (&String, &(Option<titles::Meaning>, Option<Field>))| {
        let suggested = meaning.as_ref().map(|meaning| match meaning {
            // `Vorname, Name` and `Nome, Cognome`. With all three of them, `Name` is the full name.
            meaning if meaning.or_last && has_first && !has_last => Field::LastName,
            meaning if meaning.or_first && has_last && !has_first => Field::FirstName,
            meaning => meaning.field.clone(),
        });
        let mobile = meaning.as_ref().is_some_and(|meaning| meaning.mobile);
        Column { title: title.clone(), suggested, consent: consent.clone(), by_hand: None, mobile }
    };
    titles.iter().zip(&meanings).map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(titles: &[&str]) -> Vec<String> {
        let titles: Vec<String> = titles.iter().map(|title| (*title).to_owned()).collect();
        let columns = Columns::new(&titles, &Mapping::new()).unwrap();
        columns.list.iter().map(|column| column.field().map_or_else(String::new, Field::to_string)).collect()
    }

    #[test]
    fn name_is_a_part_next_to_the_other_part() {
        assert_eq!(fields(&["Name", "Email"]), ["name", "email"]);
        assert_eq!(fields(&["Vorname", "Name"]), ["first_name", "last_name"]);
        assert_eq!(fields(&["Prénom", "Nom"]), ["first_name", "last_name"]);
        assert_eq!(fields(&["Nome", "Cognome"]), ["first_name", "last_name"]);
        assert_eq!(fields(&["Nombre", "Apellidos"]), ["first_name", "last_name"]);
        assert_eq!(fields(&["Primeiro nome", "Nome"]), ["first_name", "last_name"]);
        assert_eq!(fields(&["Name", "Given Name", "Family Name"]), ["name", "first_name", "last_name"]);
        assert_eq!(fields(&["Name", "Last Name"]), ["name", "last_name"]);
    }

    #[test]
    fn a_mapping_is_read_from_both_shapes() {
        let list: Mapping =
            serde_json::from_str(r#"[{"column": "A", "field": "phone"}, {"column": 2, "field": "ignore"}]"#).unwrap();
        let object: Mapping = serde_json::from_str(r#"{"A": "phone"}"#).unwrap();
        assert_eq!(list.iter().count(), 2);
        assert_eq!(object.iter().next(), list.iter().next());
        assert_eq!(serde_json::from_str::<Mapping>(&serde_json::to_string(&list).unwrap()).unwrap(), list);
        assert!(serde_json::from_str::<Mapping>(r#"{"A": "fone"}"#).is_err());
    }

    #[test]
    fn an_assignment_is_read_from_title_and_field() {
        assert_eq!("a = b=phone".parse(), Ok(Assignment::new("a = b", Field::Phone)));
        assert_eq!("#3=properties.score".parse(), Ok(Assignment::new(3, Field::Property("score".into()))));
        assert!("phone".parse::<Assignment>().is_err());
        assert!("A=fone".parse::<Assignment>().is_err());
    }

    #[test]
    fn a_column_by_hand_comes_first_and_then_mobile() {
        let titles = ["Phone", "Mobile", "Other"].map(str::to_owned);
        let mut mapping = Mapping::new();
        assert_eq!(Columns::new(&titles, &mapping).unwrap().of(&Field::Phone), [1, 0]);
        mapping.set("other", Field::Phone);
        assert_eq!(Columns::new(&titles, &mapping).unwrap().of(&Field::Phone), [2, 1, 0]);
        mapping.set(3, Field::Email);
        assert!(matches!(Columns::new(&titles, &mapping), Err(ListError::MappedTwice { .. })));
        mapping = Mapping::from_iter([Assignment::new("Unknown", Field::Email)]);
        assert!(matches!(Columns::new(&titles, &mapping), Err(ListError::UnknownColumn { .. })));
    }
}
