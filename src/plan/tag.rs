//! spec 4.7: the upload tag.

use super::planner::Planner;
use crate::ids::{ContactId, RowKind, TagId};
use crate::model::{ContactTag, Tag};
use crate::report::UploadTag;
use crate::snapshot::ContactAggregate;

impl Planner<'_> {
    /// Tags an enrolled contact with the upload tag. The first enrolled contact creates the tag, unless an earlier
    /// request of the list did.
    ///
    /// A request has a tag if its `to` has more than one entry (D4), or if it is a part of a list. Ignored and duplicate
    /// entries count.
    pub(super) fn add_upload_tag(&mut self, contact_id: ContactId, aggregate: Option<&ContactAggregate>) {
        let is_listed = self.command.list().is_some();
        if self.command.recipients().len() <= 1 && !is_listed {
            return;
        }
        let tag_id = match &self.upload_tag {
            Some(tag) => tag.id,
            None => self.find_upload_tag(),
        };
        // The contact can have the tag from an earlier request of the list.
        if !(is_listed && aggregate.is_some_and(|aggregate| aggregate.tags.contains(&tag_id))) {
            self.changes.rows.contact_tags_created.push(ContactTag { contact_id, tag_id });
        }
    }

    /// Finds the upload tag, or creates it.
    fn find_upload_tag(&mut self) -> TagId {
        let command = self.command;
        let (id, at) = match command.list() {
            Some(list) => (list.upload_tag_id(command.organization_id()), list.at),
            None => (self.minter.mint(RowKind::Tag, 0), command.at()),
        };
        let stored = command.list().and_then(|_| self.tags.get(&id));
        if command.list().is_some() {
            self.changes.upload_tag = Some((id, stored.map(|tag| tag.name.clone())));
        }
        // A host can have renamed the tag: it keeps its name.
        let name = match stored {
            Some(tag) => tag.name.clone(),
            None => self.changes.rows.tag_created.insert(Tag::new(id, &format!("Upload {at}"))).name.clone(),
        };
        self.upload_tag = Some(UploadTag { id, name });
        id
    }
}
