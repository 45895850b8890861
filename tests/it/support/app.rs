//! The service in this process, on a free port and a database of its own, with a shop that the requests write to.

use hookonce::{
    app,
    config::Config,
    provider::{self, setting::Settings},
    shop::import,
    store::{
        Store,
        retailers::{self, Retailer},
        types::{Timestamp, Uuid},
    },
};

use super::{
    database::{Database, Engine},
    requests::{self, Call, PUBLIC_URL, Reply, SHOP_PHONE, SHOP_PHONE_NUMBER_ID},
};

pub struct App {
    pub url: String,
    pub client: reqwest::Client,
    pub store: Store,
    pub database: Database,
    handle: app::Handle,
}

/// The configuration of the tests, without a database yet.
pub fn config() -> Config {
    Config {
        bind: ([127, 0, 0, 1], 0).into(),
        database_connections: 6,
        // Tests change records by hand, and ask what the database says. Those of the caches turn them on.
        cache_bytes: 0,
        public_base_url: Some(PUBLIC_URL.parse().expect("a URL")),
        providers: provider_settings(),
        // All tests send from one address.
        rate_limit: false,
        // Tests send hundreds at once to a program that is built for debugging. Those of overload turn it on.
        max_queue_time: None,
        // Tests that clean up do it themselves, whatever the hour.
        cleanup_on_start: false,
        cleanup_schedule: "0 0 1 1 *".parse().expect("a schedule"),
        ..Config::default()
    }
}

/// A secret for each variable of a provider.
fn provider_settings() -> Settings {
    let mut settings = Settings::default();
    for (setting, value) in requests::provider_secrets() {
        settings.set(setting, &value).expect("a value");
    }
    settings
}

/// Gives a provider's variable another value.
pub fn set(config: &mut Config, variable: &str, value: &str) {
    let mut settings = provider::settings();
    let setting = settings.find(|setting| setting.variable == variable);
    let setting = setting.expect("a variable of a provider");
    config.providers.set(setting, value).expect("a value");
}

impl App {
    pub async fn new(engine: Engine) -> Self {
        Self::with(engine, |_| {}).await
    }

    /// With a configuration that differs.
    pub async fn with(engine: Engine, change: impl FnOnce(&mut Config)) -> Self {
        let database = Database::new(engine);
        let mut config = Config {
            database_url: database.parsed(),
            ..config()
        };
        change(&mut config);
        let application = app::build(config).await.expect("the service starts");
        let store = application.store();
        open_shop(&store).await;
        let app = Self {
            url: format!("http://{}", application.address),
            client: reqwest::Client::builder()
                .no_proxy()
                .build()
                .expect("a client"),
            store,
            database,
            handle: application.handle(),
        };
        actix_web::rt::spawn(application.run());
        app
    }

    /// Another instance of the service over the same database; the shop is open already.
    pub async fn another(&self, change: impl FnOnce(&mut Config)) -> Instance {
        let mut config = Config {
            database_url: self.database.parsed(),
            ..config()
        };
        change(&mut config);
        let application = app::build(config).await.expect("the service starts");
        let instance = Instance {
            url: format!("http://{}", application.address),
            handle: application.handle(),
        };
        actix_web::rt::spawn(application.run());
        instance
    }

    /// Stops the service; the database stays.
    pub async fn stop(&self) {
        self.handle.stop(true).await;
    }

    pub async fn send(&self, call: &Call) -> Reply {
        call.send(&self.client, &self.url).await.expect("an answer")
    }

    pub async fn get(&self, path: &str) -> Reply {
        let response = self.client.get(format!("{}{path}", self.url)).send().await;
        Reply::of(response.expect("an answer"))
            .await
            .expect("a body")
    }

    /// The status and the bytes of what need not be text.
    pub async fn get_bytes(&self, path: &str) -> (u16, Vec<u8>) {
        let response = self.client.get(format!("{}{path}", self.url)).send().await;
        let response = response.expect("an answer");
        let status = response.status().as_u16();
        (status, response.bytes().await.expect("a body").to_vec())
    }

    pub fn orders(&self) -> i64 {
        self.database.count("SELECT count(*) AS n FROM orders")
    }

    pub fn ledger_entries(&self) -> i64 {
        self.database
            .count("SELECT count(*) AS n FROM ledger_entries")
    }

    pub fn records(&self) -> i64 {
        self.database
            .count("SELECT count(*) AS n FROM webhook_idempotency")
    }

    pub fn events(&self) -> i64 {
        self.database
            .count("SELECT count(*) AS n FROM webhook_event")
    }
}

/// A service over a database that another owns.
pub struct Instance {
    pub url: String,
    handle: app::Handle,
}

impl Drop for Instance {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // Without waiting: the test is over.
        drop(self.handle.stop(false));
    }
}

/// The shop that the requests write to, with the catalogue of the fixtures.
pub async fn open_shop(store: &Store) {
    let now = Timestamp::now();
    let id = Uuid::in_order();
    let retailer = Retailer {
        id,
        name: "Test Kitchen".to_owned(),
        phone: SHOP_PHONE.to_owned(),
        phone_number_id: Some(SHOP_PHONE_NUMBER_ID.to_owned()),
        currency: "USD".to_owned(),
        catalogue_version: Uuid::random(),
        created_at: now,
        updated_at: now,
    };
    let catalogue = include_bytes!("../../../fixtures/catalogue.csv");
    let products = import::read_csv(&catalogue[..], "USD".parse().unwrap()).unwrap();
    store
        .write(move |conn| {
            retailers::insert(conn, &retailer)?;
            import::store(conn, id, &products, now)
        })
        .await
        .expect("a shop");
}
