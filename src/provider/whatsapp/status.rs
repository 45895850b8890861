//! How far a message of ours has come, as Meta tells it.

use crate::{
    json::Value,
    provider::{
        event::{Content, Event, StatusChange},
        value::{as_written, sha256_hex, text, told, usable_id, without_nul},
    },
};

/// The event of a status. `None` where it says too little to be known by what it says.
pub(super) fn status_event(status: &Value) -> Option<Event> {
    /// Who of a group is told to have got the message, or to have read it.
    const PARTICIPANT: [&str; 3] = [
        "recipient_participant_user_id",
        "recipient_participant_id",
        "participant_recipient_id",
    ];
    let message_id = status["id"].as_str().map(without_nul);
    let step = text(status, "status");
    let (Some(message_id), Some(step)) = (message_id, step) else {
        return None;
    };
    // Each status of a message is an event, in a group one for each participant. Two that differ only in their errors are
    // the same event.
    let participant = PARTICIPANT.iter().find_map(|member| told(status, member));
    let id = match participant {
        Some(participant) => format!("{message_id}:{step}:{participant}"),
        None => format!("{message_id}:{step}"),
    };
    if !usable_id(&id) {
        return None;
    }
    Some(Event {
        digest: sha256_hex(id.as_bytes()),
        id,
        kind: "status".to_owned(),
        payload: status.clone(),
        ours: None,
        content: Content::Status(StatusChange {
            message_id,
            rank: rank(&step),
            status: step,
            error_code: as_written(status["errors"][0].get("code")),
        }),
    })
}

/// How far a step is: see [`StatusChange::rank`]. Of Meta's documentation of message statuses.
fn rank(step: &str) -> i32 {
    match step {
        "accepted" => 10,
        "sent" => 30,
        "failed" => 40,
        "delivered" => 50,
        "read" => 60,
        "played" => 70,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_participant_of_a_group_has_a_status_of_its_own() {
        let status = |participant: serde_json::Value| {
            let mut status = json!({
                "id": "wamid.G", "status": "read", "recipient_id": "Y2FwaS1ncm91cA", "recipient_type": "group",
            });
            status
                .as_object_mut()
                .unwrap()
                .extend(participant.as_object().unwrap().clone());
            status
        };
        let statuses = json!([
            status(json!({})),
            status(json!({"recipient_participant_id": "14155550101"})),
            status(json!({"recipient_participant_id": "14155550102"})),
            status(json!({"recipient_participant_id": "14155550102", "timestamp": "2"})),
            status(
                json!({"recipient_participant_id": "14155550102", "recipient_participant_user_id": "US.1"})
            ),
            status(json!({"participant_recipient_id": "14155550103"})),
        ]);
        let statuses = Value::parse(statuses.to_string().as_bytes()).unwrap();
        let statuses = statuses.as_array().unwrap().iter();
        let events: Vec<_> = statuses.filter_map(status_event).collect();
        let ids: Vec<_> = events.iter().map(|event| event.id.as_str()).collect();
        assert_eq!(
            ids,
            [
                "wamid.G:read",
                "wamid.G:read:14155550101",
                "wamid.G:read:14155550102",
                "wamid.G:read:14155550102",
                "wamid.G:read:US.1",
                "wamid.G:read:14155550103",
            ]
        );
        let of_g = |event: &Event| matches!(&event.content, Content::Status(step) if step.message_id == "wamid.G");
        assert!(events.iter().all(of_g));
    }

    #[test]
    fn the_steps_of_a_message_are_in_the_order_in_which_they_come() {
        let order = [
            "unheard of",
            "accepted",
            "sent",
            "failed",
            "delivered",
            "read",
            "played",
        ];
        assert!(
            order
                .map(rank)
                .is_sorted_by(|earlier, later| earlier < later)
        );
    }
}
