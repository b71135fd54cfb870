//! spec 4.7: the conversation on the channel used.

use super::planner::Planner;
use crate::ids::{ContactId, ConversationId, RowKind};
use crate::model::{Channel, Conversation};
use crate::report::Outcome;
use crate::snapshot::ContactAggregate;

/// Returns the newest conversation of a contact on a channel, in any status.
fn existing_conversation(aggregate: &ContactAggregate, channel: &Channel) -> Option<ConversationId> {
    let on_channel = aggregate.conversations.iter().filter(|conversation| conversation.channel_id == channel.id);
    on_channel.max_by_key(|conversation| (conversation.created_at, conversation.id)).map(|conversation| conversation.id)
}

impl Planner<'_> {
    /// Reuses the contact's conversation on the channel used, or creates one. Does nothing if no channel is used.
    pub(super) fn add_conversation(
        &mut self,
        contact_id: ContactId,
        aggregate: Option<&ContactAggregate>,
        outcome: &mut Outcome,
    ) {
        let Some(channel) = self.target.channel else { return };
        let existing = aggregate.and_then(|aggregate| existing_conversation(aggregate, channel));
        outcome.conversation_created = existing.is_none();
        outcome.conversation_id = Some(existing.unwrap_or_else(|| {
            let id = self.minter.mint(RowKind::Conversation, outcome.index);
            let mut conversation = Conversation::new(id, contact_id, channel.id);
            conversation.created_at = Some(self.command.at());
            self.changes.rows.conversations_created.push(conversation);
            id
        }));
    }
}
