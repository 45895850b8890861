//! Whose numbers events name: looked up once for all events of a transaction.

use std::collections::{HashMap, HashSet};

use crate::{
    provider::event::{Address, Event},
    store::{
        Conn, StoreError,
        retailers::{self, Retailer},
    },
};

/// The retailers whose numbers some events name.
pub(super) struct Retailers(HashMap<Address, Retailer>);

impl Retailers {
    /// Looks each number up.
    pub fn of<'a>(
        conn: &mut Conn<'_>,
        events: impl Iterator<Item = &'a Event>,
    ) -> Result<Self, StoreError> {
        let named = events.filter_map(|event| event.ours.as_ref());
        let (mut phones, mut ids) = (Vec::new(), Vec::new());
        for address in HashSet::<&Address>::from_iter(named) {
            match address {
                Address::Phone(phone) => phones.push(phone.as_str()),
                Address::PhoneNumberId(id) => ids.push(id.as_str()),
            }
        }
        let mut found = HashMap::new();
        for retailer in retailers::by_phones(conn, &phones)? {
            if let Ok(phone) = retailer.phone.parse() {
                found.insert(Address::Phone(phone), retailer);
            }
        }
        for retailer in retailers::by_phone_number_ids(conn, &ids)? {
            if let Some(id) = retailer.phone_number_id.clone() {
                found.insert(Address::PhoneNumberId(id), retailer);
            }
        }
        Ok(Self(found))
    }

    /// The retailer whose number an event names.
    pub fn find(&self, event: &Event) -> Option<&Retailer> {
        self.0.get(event.ours.as_ref()?)
    }
}
