//! spec 4.7: the upload tag.

use super::planner::Planner;
use crate::ids::{ContactId, RowKind};
use crate::model::{ContactTag, Tag};
use crate::report::UploadTag;

impl Planner<'_> {
    /// Tags an enrolled contact with the request's upload tag. The first enrolled contact creates the tag.
    ///
    /// A request has a tag if its `to` has more than one entry (D4). Ignored and duplicate entries count.
    pub(super) fn add_upload_tag(&mut self, contact_id: ContactId) {
        if self.command.recipients().len() <= 1 {
            return;
        }
        let (at, minter) = (self.command.at(), &self.minter);
        let create = || Tag::new(minter.mint(RowKind::Tag, 0), &format!("Upload {at}"));
        let tag_id = self.changes.rows.tag_created.get_or_insert_with(create).id;
        self.changes.rows.contact_tags_created.push(ContactTag { contact_id, tag_id });
    }

    /// Returns the tag for the report, if a contact got it.
    pub(super) fn upload_tag(&self) -> Option<UploadTag> {
        self.changes.rows.tag_created.as_ref().map(|tag| UploadTag { id: tag.id, name: tag.name.clone() })
    }
}
