//! The orders and their items.

#[cfg(feature = "sqlite")]
use diesel::sql_query;
use diesel::{
    backend::Backend,
    deserialize::{self, FromSql, FromSqlRow},
    dsl::sql,
    expression::AsExpression,
    prelude::*,
    serialize::{self, Output, ToSql},
    sql_types::Text,
};
#[cfg(feature = "postgres")]
use std::collections::HashSet;
use std::{borrow::Cow, collections::HashMap};

#[cfg(feature = "sqlite")]
use super::claims::ClaimMessage;
use super::{
    Conn, StoreError,
    cached::Insert,
    claims::is_of_message,
    on_each,
    schema::{order_items, orders as table},
    types::{Id, Timestamp, Uuid, text_enum},
};

/// Where an order came from: the name of the provider whose message made it, or [`OrderSource::API`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub struct OrderSource(Cow<'static, str>);

impl OrderSource {
    /// A client of the API.
    pub const API: Self = Self(Cow::Borrowed("api"));

    /// What has this name.
    pub const fn of(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// The name that is stored and shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<DB: Backend> ToSql<Text, DB> for OrderSource
where
    str: ToSql<Text, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.as_str().to_sql(out)
    }
}

impl<DB: Backend> FromSql<Text, DB> for OrderSource
where
    String: FromSql<Text, DB>,
{
    fn from_sql(raw: DB::RawValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(Cow::Owned(String::from_sql(raw)?)))
    }
}

text_enum! {
    /// How far an order has come.
    OrderStatus {
        /// Received, not looked at yet.
        Pending => "pending",
        /// The shop will do it.
        Confirmed => "confirmed",
        /// The shop is doing it.
        Preparing => "preparing",
        /// It can be fetched or brought.
        Ready => "ready",
        /// The customer has it.
        Delivered => "delivered",
        /// Nobody will do it.
        Cancelled => "cancelled",
    }
}

/// An order without its items.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable, Insertable)]
#[diesel(table_name = table, check_for_backend(crate::store::Checked), treat_none_as_default_value = false)]
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
    /// Who ordered, E.164 with `+`, where the number is told.
    pub customer_phone: Option<String>,
    /// Who ordered, by WhatsApp's business-scoped user id, where it is told.
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
    /// What was paid and not refunded, in minor units.
    pub paid_minor: i64,
    /// The kind of work, where it is made to measure and has no items.
    pub service_type: Option<String>,
    /// What is to be made.
    pub description: Option<String>,
}

/// One line of an order, with name and price as they were.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable, Insertable)]
#[diesel(table_name = order_items, check_for_backend(crate::store::Checked), treat_none_as_default_value = false)]
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
    struct AddOrder;
    #[cfg(feature = "sqlite")]
    if !claim_message(conn, order)? {
        return Ok(false);
    }
    let insert = diesel::insert_into(table::table)
        .values(order)
        .on_conflict_do_nothing();
    let insert = Insert::named::<AddOrder>(insert);
    let is_added = on_each!(conn, |c| insert.execute(c))? == 1;
    #[cfg(feature = "sqlite")]
    if !is_added {
        free_message(conn, order)?;
    }
    Ok(is_added)
}

/// Claims the message of an order that is added next. `false`: another order has it. PostgreSQL has an index for that.
#[cfg(feature = "sqlite")]
fn claim_message(conn: &mut Conn<'_>, order: &Order) -> Result<bool, StoreError> {
    let (Conn::Sqlite(c), Some(message_id)) = (conn, &order.message_id) else {
        return Ok(true);
    };
    let source = &order.source;
    let claim = ClaimMessage { source, message_id };
    Ok(claim.execute(*c)? == 1)
}

/// Gives the message of an order back that was not added, for its number is taken.
#[cfg(feature = "sqlite")]
fn free_message(conn: &mut Conn<'_>, order: &Order) -> Result<(), StoreError> {
    if let (Conn::Sqlite(c), Some(message_id)) = (conn, &order.message_id) {
        let free = sql_query("DELETE FROM webhook_claim WHERE id = ? AND kind = 2 AND owner = ?")
            .bind::<Text, _>(message_id)
            .bind::<Text, _>(&order.source);
        free.execute(*c)?;
    }
    Ok(())
}

/// Adds orders. Tells of each whether it was added: a number or a message that has one already gets no other.
pub fn insert_all(conn: &mut Conn<'_>, orders: &[&Order]) -> Result<Vec<bool>, StoreError> {
    let mut added = Vec::with_capacity(orders.len());
    match conn {
        #[cfg(feature = "sqlite")]
        Conn::Sqlite(_) => {
            for order in orders {
                added.push(insert(conn, order)?);
            }
        }
        #[cfg(feature = "postgres")]
        Conn::Postgres(c) => {
            for orders in orders.chunks(super::MANY) {
                let new: Vec<Uuid> = diesel::insert_into(table::table)
                    .values(orders.to_vec())
                    .on_conflict_do_nothing()
                    .returning(table::id)
                    .load(&mut **c)?;
                let new = HashSet::<Uuid>::from_iter(new);
                added.extend(orders.iter().map(|order| new.contains(&order.id)));
            }
        }
    }
    Ok(added)
}

/// Adds items of orders.
pub fn insert_items(conn: &mut Conn<'_>, items: &[&OrderItem]) -> Result<(), StoreError> {
    match conn {
        #[cfg(feature = "sqlite")]
        Conn::Sqlite(c) => {
            for item in items {
                diesel::insert_into(order_items::table)
                    .values(*item)
                    .execute(*c)?;
            }
        }
        #[cfg(feature = "postgres")]
        Conn::Postgres(c) => {
            for items in items.chunks(super::MANY) {
                diesel::insert_into(order_items::table)
                    .values(items.to_vec())
                    .execute(&mut **c)?;
            }
        }
    }
    Ok(())
}

/// The order that a message made.
pub fn by_message(
    conn: &mut Conn<'_>,
    source: &OrderSource,
    message_id: &str,
) -> Result<Option<Order>, StoreError> {
    Ok(on_each!(conn, |c| table::table
        .filter(is_of_message(source, message_id))
        .select(Order::as_select())
        .get_result(c)
        .optional())?)
}

/// The orders that a source's messages made.
pub fn by_messages(
    conn: &mut Conn<'_>,
    source: &OrderSource,
    messages: &[&str],
) -> Result<Vec<Order>, StoreError> {
    let mut found = Vec::new();
    match conn {
        #[cfg(feature = "sqlite")]
        Conn::Sqlite(_) => {
            for message in messages {
                found.extend(by_message(conn, source, message)?);
            }
        }
        #[cfg(feature = "postgres")]
        Conn::Postgres(c) => {
            for messages in messages.chunks(super::MANY) {
                let orders = table::table
                    .filter(table::source.eq(source))
                    .filter(table::message_id.eq_any(messages))
                    .select(Order::as_select());
                found.extend(orders.load::<Order>(&mut **c)?);
            }
        }
    }
    Ok(found)
}

/// The numbers of orders, by their ids.
pub fn numbers(conn: &mut Conn<'_>, orders: &[Uuid]) -> Result<HashMap<Uuid, String>, StoreError> {
    let columns = (table::id, table::order_number);
    let mut numbers = HashMap::new();
    match conn {
        #[cfg(feature = "sqlite")]
        Conn::Sqlite(c) => {
            for order in orders {
                let found = table::table.find(order).select(columns);
                numbers.extend(found.get_result::<(Uuid, String)>(*c).optional()?);
            }
        }
        #[cfg(feature = "postgres")]
        Conn::Postgres(c) => {
            for orders in orders.chunks(super::MANY) {
                let found = table::table
                    .filter(table::id.eq_any(orders))
                    .select(columns);
                numbers.extend(found.load::<(Uuid, String)>(&mut **c)?);
            }
        }
    }
    Ok(numbers)
}

/// The items of an order, in their order.
pub fn items(conn: &mut Conn<'_>, order: Uuid) -> Result<Vec<OrderItem>, StoreError> {
    Ok(on_each!(conn, |c| order_items::table
        .filter(order_items::order_id.eq(order))
        .order(order_items::position)
        .select(OrderItem::as_select())
        .load(c))?)
}

/// Which orders to list; none of these: all.
#[derive(Clone, Debug, Default)]
pub struct OrderFilter {
    /// Whose.
    pub retailer_id: Option<Uuid>,
    /// How far they have come.
    pub status: Option<OrderStatus>,
    /// Where they came from.
    pub source: Option<OrderSource>,
    /// The number that people use.
    pub order_number: Option<String>,
    /// Who ordered, E.164 with `+`.
    pub customer_phone: Option<String>,
    /// Who ordered, by WhatsApp's business-scoped user id.
    pub customer_user_id: Option<String>,
    /// Created then or later.
    pub created_from: Option<Timestamp>,
    /// Created before then.
    pub created_before: Option<Timestamp>,
}

impl OrderFilter {
    fn is_of_customer(&self) -> bool {
        self.customer_phone.is_some() || self.customer_user_id.is_some()
    }
}

/// The retailer of an order, as no index has it.
const UNINDEXED_RETAILER: &str = "coalesce(retailer_id, retailer_id)";

/// The orders of a filter, the newest first, that come after the order `after`; at most `limit`. Ids are made in the
/// order of time.
pub fn list(
    conn: &mut Conn<'_>,
    filter: &OrderFilter,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Order>, StoreError> {
    Ok(on_each!(conn, |c| {
        let mut query = table::table.select(Order::as_select()).into_boxed();
        if let Some(id) = filter.retailer_id {
            query = match filter.is_of_customer() {
                // The index of a customer's orders is the short one, which SQLite cannot know.
                true => query.filter(sql::<Id>(UNINDEXED_RETAILER).eq(id)),
                false => query.filter(table::retailer_id.eq(id)),
            };
        }
        if let Some(status) = filter.status {
            query = query.filter(table::status.eq(status));
        }
        if let Some(source) = &filter.source {
            query = query.filter(table::source.eq(source));
        }
        if let Some(number) = &filter.order_number {
            query = query.filter(table::order_number.eq(number));
        }
        if let Some(phone) = &filter.customer_phone {
            query = query.filter(table::customer_phone.eq(phone));
        }
        if let Some(user_id) = &filter.customer_user_id {
            query = query.filter(table::customer_user_id.eq(user_id));
        }
        if let Some(from) = filter.created_from {
            query = query.filter(table::created_at.ge(from));
        }
        if let Some(before) = filter.created_before {
            query = query.filter(table::created_at.lt(before));
        }
        if let Some(after) = after {
            query = query.filter(table::id.lt(after));
        }
        query.order(table::id.desc()).limit(limit).load(c)
    })?)
}

/// The order with this id.
pub fn find(conn: &mut Conn<'_>, id: Uuid) -> Result<Option<Order>, StoreError> {
    Ok(on_each!(conn, |c| table::table
        .find(id)
        .select(Order::as_select())
        .get_result(c)
        .optional())?)
}

/// The items of several orders, by order and place.
pub fn items_of(conn: &mut Conn<'_>, orders: &[Uuid]) -> Result<Vec<OrderItem>, StoreError> {
    Ok(on_each!(conn, |c| order_items::table
        .filter(order_items::order_id.eq_any(orders))
        .order((order_items::order_id, order_items::position))
        .select(OrderItem::as_select())
        .load(c))?)
}

/// Moves an order from one status to the next. `false`: it was no longer in the first, and nothing was done.
pub fn change_status(
    conn: &mut Conn<'_>,
    id: Uuid,
    from: OrderStatus,
    to: OrderStatus,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let rows = on_each!(conn, |c| diesel::update(table::table.find(id))
        .filter(table::status.eq(from))
        .set((table::status.eq(to), table::updated_at.eq(now)))
        .execute(c))?;
    Ok(rows == 1)
}

/// Counts a payment. `false`: it is more than is owed, and nothing was done. Of payments that come at once, the second
/// waits here for the first, and then counts with it.
pub fn add_paid(
    conn: &mut Conn<'_>,
    id: Uuid,
    minor: i64,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let is_owed = || {
        let fits = table::paid_minor.le(table::total_minor - minor);
        fits.and(table::status.ne(OrderStatus::Cancelled))
    };
    let rows = on_each!(conn, |c| diesel::update(table::table.find(id))
        .filter(is_owed())
        .set((
            table::paid_minor.eq(table::paid_minor + minor),
            table::updated_at.eq(now),
        ))
        .execute(c))?;
    Ok(rows == 1)
}

/// Takes a refund off what was paid.
pub fn take_off_paid(
    conn: &mut Conn<'_>,
    id: Uuid,
    minor: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    on_each!(conn, |c| diesel::update(table::table.find(id))
        .set((
            table::paid_minor.eq(table::paid_minor - minor),
            table::updated_at.eq(now),
        ))
        .execute(c))?;
    Ok(())
}
