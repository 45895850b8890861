//! The orders and their items.

use diesel::prelude::*;

use super::{
    Conn, StoreError, on_each,
    schema::{order_items, orders as table},
    types::{Timestamp, Uuid, text_enum},
};

text_enum! {
    /// Where an order came from.
    OrderSource {
        /// A message through Twilio.
        Twilio => "twilio",
        /// A message through Meta's Cloud API.
        WhatsApp => "whatsapp",
    }
}

text_enum! {
    /// How far an order has come.
    OrderStatus {
        /// Received, not looked at yet.
        Pending => "pending",
    }
}

/// An order without its items.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable, Insertable)]
#[diesel(table_name = table, check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg), treat_none_as_default_value = false)]
pub struct Order {
    /// Its id.
    pub id: Uuid,
    /// The number that people use.
    pub order_number: String,
    /// Whose it is.
    pub retailer_id: Uuid,
    /// Where it came from.
    pub source: OrderSource,
    /// The message that made it, unique for the source for ever.
    pub message_id: Option<String>,
    /// How far it has come.
    pub status: OrderStatus,
    /// Who ordered, E.164 with `+`.
    pub customer_phone: Option<String>,
    /// Who ordered, where WhatsApp tells a user id and no number.
    pub customer_user_id: Option<String>,
    /// The customer's name as the provider tells it.
    pub customer_name: Option<String>,
    /// What the customer wrote beside the items.
    pub note: Option<String>,
    /// Where the message named other prices than the catalogue.
    pub price_note: Option<String>,
    /// Sum of the items in minor units of `currency`.
    pub total_minor: i64,
    /// ISO 4217 code.
    pub currency: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// One line of an order, with name and price as they were.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable, Insertable)]
#[diesel(table_name = order_items, check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg), treat_none_as_default_value = false)]
pub struct OrderItem {
    /// The order.
    pub order_id: Uuid,
    /// Place in the order, from 0.
    pub position: i32,
    /// The product.
    pub product_id: Uuid,
    /// Its SKU then.
    pub sku: String,
    /// Its name then.
    pub name: String,
    /// How many.
    pub quantity: i32,
    /// Price of one then, in minor units of the order's currency.
    pub unit_price_minor: i64,
}

/// Adds an order. `false`: its number or its message has one already, and nothing was done.
pub fn insert(conn: &mut Conn<'_>, order: &Order) -> Result<bool, StoreError> {
    let rows = on_each!(conn, |c| diesel::insert_into(table::table)
        .values(order)
        .on_conflict_do_nothing()
        .execute(c))?;
    Ok(rows == 1)
}

/// Adds the items of an order.
pub fn insert_items(conn: &mut Conn<'_>, items: &[OrderItem]) -> Result<(), StoreError> {
    match conn {
        // Row by row, since SQLite keeps the prepared statement of a single row.
        Conn::Sqlite(c) => {
            for item in items {
                diesel::insert_into(order_items::table)
                    .values(item)
                    .execute(*c)?;
            }
        }
        Conn::Postgres(c) => {
            diesel::insert_into(order_items::table)
                .values(items)
                .execute(*c)?;
        }
    }
    Ok(())
}

/// The order that a message made.
pub fn by_message(
    conn: &mut Conn<'_>,
    source: OrderSource,
    message_id: &str,
) -> Result<Option<Order>, StoreError> {
    Ok(on_each!(conn, |c| table::table
        .filter(table::source.eq(source))
        .filter(table::message_id.eq(message_id))
        .select(Order::as_select())
        .get_result(c)
        .optional())?)
}

/// The items of an order, in their order.
pub fn items(conn: &mut Conn<'_>, order: Uuid) -> Result<Vec<OrderItem>, StoreError> {
    Ok(on_each!(conn, |c| order_items::table
        .filter(order_items::order_id.eq(order))
        .order(order_items::position)
        .select(OrderItem::as_select())
        .load(c))?)
}
