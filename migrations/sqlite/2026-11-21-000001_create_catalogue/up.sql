CREATE TABLE retailers (
    id                TEXT PRIMARY KEY NOT NULL,
    name              TEXT NOT NULL,
    phone             TEXT NOT NULL UNIQUE,
    phone_number_id   TEXT UNIQUE,
    currency          TEXT NOT NULL,
    -- A new random value with every change of the products, so that a cached catalogue knows whether it is current.
    catalogue_version TEXT NOT NULL,
    created_at        TEXT NOT NULL,
    updated_at        TEXT NOT NULL
) STRICT;

CREATE TABLE products (
    id          TEXT PRIMARY KEY NOT NULL,
    retailer_id TEXT NOT NULL REFERENCES retailers (id),
    sku         TEXT NOT NULL,
    name        TEXT NOT NULL,
    aliases     TEXT NOT NULL,
    price_minor INTEGER NOT NULL CHECK (price_minor >= 0),
    created_at  TEXT NOT NULL,
    updated_at  TEXT NOT NULL,
    UNIQUE (retailer_id, sku)
) STRICT;
