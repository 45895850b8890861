//! Where records are kept, and in which caches.

use super::{
    Variable,
    values::{positive, whole},
    variable::set,
};
use crate::{
    idempotency::cache::{InvalidRedisUrl, RedisUrl},
    store::{DatabaseUrl, SchemaName},
};

/// The variables, in the order of `.env.example`.
pub(super) const VARIABLES: &[Variable] = &[
    Variable::new("DATABASE_URL", |config, text| {
        set(&mut config.database_url, database_url(text))
    }),
    Variable::new("DATABASE_SCHEMA", |config, text| {
        let in_schema = in_schema(config.database_url.clone(), text);
        set(&mut config.database_url, in_schema)
    }),
    Variable::new("DATABASE_CONNECTIONS", |config, text| {
        set(&mut config.database_connections, positive(text))
    }),
    Variable::new("WRITE_BATCH", |config, text| {
        set(&mut config.write_batch, positive(text))
    }),
    Variable::new("REDIS_URL", |config, text| {
        set(&mut config.redis_url, redis_url(text))
    }),
    Variable::new("CACHE_BYTES", |config, text| {
        set(&mut config.cache_bytes, whole(text))
    }),
];

/// A database with its tables in a schema.
fn in_schema(database: DatabaseUrl, schema: &str) -> Result<DatabaseUrl, String> {
    let schema = schema.parse::<SchemaName>()?;
    Ok(database.in_schema(schema)?)
}

fn database_url(text: &str) -> Result<DatabaseUrl, String> {
    text.parse().map_err(str::to_owned)
}

fn redis_url(text: &str) -> Result<Option<RedisUrl>, String> {
    let url = text.parse().map(Some);
    url.map_err(|error: InvalidRedisUrl| error.to_string())
}
