//! What customers edited or took back of their messages afterwards.

use diesel::{prelude::*, sql_query, sql_types::BigInt};

use super::{
    Conn, StoreError, on_each,
    orders::{Order, OrderSource},
    schema::message_amendments as table,
    types::{Moment, Timestamp, Uuid, text_enum},
};

/// The most edits, and the most revokes, that are kept of a message: bounds what is shown of its order. Further ones are
/// known as events alone.
pub const MOST: i64 = 50;

text_enum! {
    /// The outcome of a message.
    AmendmentKind {
        /// It says something else now.
        Edit => "edit",
        /// It was taken back.
        Revoke => "revoke",
    }
}

/// What a customer changed of a message.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable, Insertable)]
#[diesel(table_name = table, check_for_backend(crate::store::Checked), treat_none_as_default_value = false)]
pub struct Amendment {
    /// Where the message came from.
    pub source: OrderSource,
    /// The message that was edited or taken back.
    pub message_id: String,
    /// The event that tells of it.
    pub event_id: String,
    /// Its outcome.
    pub kind: AmendmentKind,
    /// Whose number both were written to.
    pub retailer_id: Uuid,
    /// What the message says now.
    pub text: Option<String>,
    /// When the customer did it, as far as the provider tells it.
    pub amended_at: Timestamp,
    /// When we learnt it.
    pub created_at: Timestamp,
    /// The order, once both are there.
    pub order_id: Option<Uuid>,
}

/// Adds an amendment. `false`: it is known, or as many are kept as may be, and nothing was done.
pub fn insert(conn: &mut Conn<'_>, amendment: &Amendment) -> Result<bool, StoreError> {
    let kept: i64 = on_each!(conn, |c| table::table
        .filter(table::source.eq(&amendment.source))
        .filter(table::message_id.eq(&amendment.message_id))
        .filter(table::kind.eq(amendment.kind))
        .count()
        .get_result(c))?;
    if kept >= MOST {
        return Ok(false);
    }
    let rows = on_each!(conn, |c| diesel::insert_into(table::table)
        .values(amendment)
        .on_conflict((table::source, table::message_id, table::event_id))
        .do_nothing()
        .execute(c))?;
    Ok(rows == 1)
}

/// The amendments of several messages, in the order of their times.
pub fn of_messages(
    conn: &mut Conn<'_>,
    source: &OrderSource,
    message_ids: &[&str],
) -> Result<Vec<Amendment>, StoreError> {
    let order = (table::amended_at, table::event_id);
    let mut found = Vec::new();
    match conn {
        #[cfg(feature = "sqlite")]
        Conn::Sqlite(c) => {
            for message_id in message_ids {
                let of_message = table::table
                    .filter(table::source.eq(source))
                    .filter(table::message_id.eq(message_id))
                    .order(order)
                    .select(Amendment::as_select());
                found.extend(of_message.load::<Amendment>(*c)?);
            }
        }
        #[cfg(feature = "postgres")]
        Conn::Postgres(c) => {
            for message_ids in message_ids.chunks(super::MANY) {
                let of_messages = table::table
                    .filter(table::source.eq(source))
                    .filter(table::message_id.eq_any(message_ids))
                    .order(order)
                    .select(Amendment::as_select());
                found.extend(of_messages.load::<Amendment>(&mut **c)?);
            }
        }
    }
    Ok(found)
}

/// Says that an amendment is about an order.
pub fn link(conn: &mut Conn<'_>, amendment: &Amendment, order: &Order) -> Result<(), StoreError> {
    let Amendment {
        source,
        message_id,
        event_id,
        ..
    } = amendment;
    on_each!(conn, |c| diesel::update(
        table::table.find((source, message_id, event_id))
    )
    .set(table::order_id.eq(order.id))
    .execute(c))?;
    Ok(())
}

/// Deletes at most `most` amendments of messages that made no order and that came by `until`, the oldest first. Gives how
/// many.
pub fn delete_unused(conn: &mut Conn<'_>, until: Timestamp, most: i64) -> Result<i64, StoreError> {
    // One that came at the very moment of its order may not know of it.
    let order = match conn {
        #[cfg(feature = "sqlite")]
        Conn::Sqlite(_) => {
            "webhook_claim o WHERE o.id = a.message_id AND o.kind = 2 AND o.owner = a.source"
        }
        #[cfg(feature = "postgres")]
        Conn::Postgres(_) => "orders o WHERE o.source = a.source AND o.message_id = a.message_id",
    };
    let delete = sql_query(format!(
        "DELETE FROM message_amendments WHERE (source, message_id, event_id) IN (
             SELECT source, message_id, event_id FROM message_amendments a
             WHERE order_id IS NULL AND created_at <= $1 AND NOT EXISTS (SELECT 1 FROM {order})
             ORDER BY created_at LIMIT $2)"
    ))
    .bind::<Moment, _>(until)
    .bind::<BigInt, _>(most);
    Ok(on_each!(conn, |c| delete.execute(c))? as i64)
}
