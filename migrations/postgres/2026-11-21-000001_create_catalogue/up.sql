CREATE TABLE retailers (
    id                UUID PRIMARY KEY,
    name              TEXT NOT NULL,
    phone             TEXT NOT NULL UNIQUE,
    phone_number_id   TEXT UNIQUE,
    currency          TEXT NOT NULL,
    -- A new random value with every change of the products, so that a cached catalogue knows whether it is current.
    catalogue_version UUID NOT NULL,
    created_at        TIMESTAMPTZ NOT NULL,
    updated_at        TIMESTAMPTZ NOT NULL
);

CREATE TABLE products (
    id          UUID PRIMARY KEY,
    retailer_id UUID NOT NULL REFERENCES retailers (id),
    sku         TEXT NOT NULL,
    name        TEXT NOT NULL,
    aliases     JSON NOT NULL,
    price_minor BIGINT NOT NULL CHECK (price_minor >= 0),
    created_at  TIMESTAMPTZ NOT NULL,
    updated_at  TIMESTAMPTZ NOT NULL,
    UNIQUE (retailer_id, sku)
);
