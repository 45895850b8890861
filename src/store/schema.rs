//! The tables as Diesel sees them: one schema for both databases.
#![allow(missing_docs)] // Diesel's macro makes the items; the migrations say what each column is for.

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::{Id, Moment};

    retailers (id) {
        id -> Id,
        name -> Text,
        phone -> Text,
        phone_number_id -> Nullable<Text>,
        currency -> Text,
        catalogue_version -> Id,
        created_at -> Moment,
        updated_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::{Document, Id, Moment};

    products (id) {
        id -> Id,
        retailer_id -> Id,
        sku -> Text,
        name -> Text,
        aliases -> Document,
        price_minor -> BigInt,
        created_at -> Moment,
        updated_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::{Id, Moment};

    orders (id) {
        id -> Id,
        order_number -> Text,
        retailer_id -> Id,
        source -> Text,
        message_id -> Nullable<Text>,
        status -> Text,
        customer_phone -> Nullable<Text>,
        customer_user_id -> Nullable<Text>,
        customer_name -> Nullable<Text>,
        note -> Nullable<Text>,
        price_note -> Nullable<Text>,
        total_minor -> BigInt,
        currency -> Text,
        created_at -> Moment,
        updated_at -> Moment,
        paid_minor -> BigInt,
        service_type -> Nullable<Text>,
        description -> Nullable<Text>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::Id;

    order_items (order_id, position) {
        order_id -> Id,
        position -> Integer,
        product_id -> Id,
        sku -> Text,
        name -> Text,
        quantity -> Integer,
        unit_price_minor -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::{Id, Moment};

    ledger_entries (retailer_id, kind, id) {
        retailer_id -> Id,
        kind -> Text,
        id -> Id,
        order_id -> Id,
        amount_minor -> BigInt,
        currency -> Text,
        created_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::{Id, Moment};

    payments (id) {
        id -> Id,
        order_id -> Id,
        retailer_id -> Id,
        amount_minor -> BigInt,
        currency -> Text,
        method -> Text,
        refunded_minor -> BigInt,
        created_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::{Id, Moment};

    refunds (id) {
        id -> Id,
        payment_id -> Id,
        order_id -> Id,
        retailer_id -> Id,
        amount_minor -> BigInt,
        currency -> Text,
        reason -> Text,
        created_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::{Id, Moment};

    bookings (id) {
        id -> Id,
        retailer_id -> Id,
        service -> Text,
        customer_name -> Text,
        date -> Text,
        time -> Text,
        created_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::{Id, Moment};

    api_clients (id) {
        id -> Id,
        name -> Text,
        retailer_id -> Nullable<Id>,
        created_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::{Id, Moment};

    api_tokens (id) {
        id -> Id,
        client_id -> Id,
        token_sha256 -> Binary,
        scopes -> Text,
        created_at -> Moment,
        revoked_at -> Nullable<Moment>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::{Document, Id, Moment};

    webhook_event (provider, event_id) {
        provider -> Text,
        event_id -> Text,
        kind -> Text,
        digest -> Binary,
        delivery_fingerprint -> Binary,
        delivery_id -> Nullable<Id>,
        outcome -> Text,
        retailer_id -> Nullable<Id>,
        order_id -> Nullable<Id>,
        lasting -> Bool,
        reply -> Nullable<Text>,
        payload -> Document,
        created_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::{Id, Moment};

    message_amendments (source, message_id, event_id) {
        source -> Text,
        message_id -> Text,
        event_id -> Text,
        kind -> Text,
        retailer_id -> Id,
        text -> Nullable<Text>,
        amended_at -> Moment,
        created_at -> Moment,
        order_id -> Nullable<Id>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::Moment;

    message_status (provider, message_id) {
        provider -> Text,
        message_id -> Text,
        status -> Text,
        rank -> Integer,
        error_code -> Nullable<Text>,
        updated_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::{Document, Id, Moment};

    webhook_idempotency (id) {
        id -> Id,
        scope -> Text,
        idempotency_key -> Text,
        webhook_type -> Text,
        method -> Text,
        path -> Text,
        fingerprint -> Binary,
        status -> Text,
        request_body -> Nullable<Document>,
        body_places -> Nullable<Document>,
        response_status -> Nullable<SmallInt>,
        response_content_type -> Nullable<Text>,
        response_body -> Nullable<Document>,
        error_message -> Nullable<Text>,
        owner_token -> Nullable<Id>,
        lease_expires_at -> Moment,
        source_ip -> Nullable<Text>,
        retailer_id -> Nullable<Id>,
        order_id -> Nullable<Id>,
        replay_count -> BigInt,
        created_at -> Moment,
        last_accessed_at -> Moment,
        expires_at -> Moment,
        response_headers -> Nullable<Document>,
        response_encoding -> Nullable<Text>,
        events -> Nullable<Document>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::{Id, Moment};

    job_lease (name) {
        name -> Text,
        holder -> Nullable<Id>,
        expires_at -> Moment,
        last_tick -> Nullable<Moment>,
        deleted_before -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::{Id, Moment};

    cleanup_runs (id) {
        id -> Id,
        instance -> Id,
        trigger -> Text,
        tick -> Nullable<Moment>,
        started_at -> Moment,
        finished_at -> Nullable<Moment>,
        deleted_records -> BigInt,
        deleted_events -> BigInt,
        released -> BigInt,
        remaining -> Nullable<BigInt>,
        error -> Nullable<Text>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::{Id, Moment};

    traffic_hours (id) {
        id -> Id,
        hour -> Moment,
        instance -> Id,
        received -> BigInt,
        first -> BigInt,
        replayed -> BigInt,
        duplicate_events -> BigInt,
        conflicts -> BigInt,
        mismatched -> BigInt,
        in_progress_rejected -> BigInt,
        signature_rejected -> BigInt,
        malformed -> BigInt,
        failed -> BigInt,
        orders -> BigInt,
        first_latency -> Binary,
        replayed_latency -> Binary,
        lookup_latency -> Binary,
        edits_noted -> BigInt,
        revokes_noted -> BigInt,
        unknown_retailers -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::Moment;

    statistics_snapshots (hour) {
        hour -> Moment,
        taken_at -> Moment,
        active -> BigInt,
        expired -> BigInt,
        in_progress -> BigInt,
        completed -> BigInt,
        failed -> BigInt,
        total -> BigInt,
        size_bytes -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::{Id, Moment};

    alerts (name, instance) {
        name -> Text,
        instance -> Id,
        since -> Moment,
        seen_at -> Moment,
        detail -> Text,
    }
}

diesel::table! {
    installation (id) {
        id -> Text,
    }
}

diesel::joinable!(webhook_event -> orders (order_id));
diesel::allow_tables_to_appear_in_same_query!(webhook_event, orders);
diesel::joinable!(api_tokens -> api_clients (client_id));
diesel::allow_tables_to_appear_in_same_query!(api_tokens, api_clients);
