//! 4.7: the conversation on the channel used.

use crate::ids::ConversationId;
use crate::model::Channel;
use crate::snapshot::ContactAggregate;

/// The conversation that is reused: the newest on the channel, whatever its status. A phone kind has one at most.
pub(super) fn standing(person: &ContactAggregate, channel: &Channel) -> Option<ConversationId> {
    let on_channel = person.conversations.iter().filter(|conversation| conversation.channel_id == channel.id);
    on_channel.max_by_key(|conversation| (conversation.created_at, conversation.id)).map(|conversation| conversation.id)
}
