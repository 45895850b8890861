//! A client sees and touches its own business alone: nothing of another retailer or client can be reached, or told
//! from what does not exist.

use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

use crate::support::{
    database::{Engine, on_both},
    requests::{SHOP_PHONE, SHOP_PHONE_NUMBER_ID},
    shop::{
        Answer, Client, EVERYTHING, Service, booking, items, new_key, payment, refund, text, with,
        work,
    },
};

on_both! {
    what_belongs_to_another_retailer_answers_as_what_does_not_exist
    lists_show_the_own_retailer_alone_whatever_filter_or_cursor_is_sent
    deliveries_are_listed_of_the_own_retailer_alone_whatever_filter_or_cursor_is_sent
    a_key_belongs_to_its_client_alone
    a_bound_client_needs_no_retailer_and_cannot_add_one
    a_bound_client_may_rename_its_retailer_and_not_take_another_number
    a_client_that_is_bound_to_none_sees_and_touches_all
    every_route_of_the_api_asks_for_a_token_with_its_scope
}

/// Two retailers, each with something of everything, and a client of each.
struct Town {
    service: Service,
    kitchen: Client,
    bakery: Client,
    bakery_id: String,
    /// What belongs to the bakery: orders, payments, refunds, bookings, products.
    theirs: Theirs,
}

struct Theirs {
    order: Value,
    payment: String,
    refund: String,
    booking: String,
    product: String,
    orders: Vec<String>,
    deliveries: Vec<String>,
}

impl Town {
    async fn new(engine: Engine) -> Self {
        let service = Service::new(engine).await;
        let kitchen = service.pos().await;
        let office = service.head_office().await;
        let bakery = json!({"name": "Bakery", "phone": "+14155238887", "currency": "USD"});
        let bakery_id = text(&office.create("/api/v1/retailers", &bakery).await["id"]);
        let bakery = service.client(Some(&bakery_id), EVERYTHING).await;
        let bread = json!({"sku": "BREAD", "name": "Bread", "price": "3.00"});
        let products = format!("/api/v1/retailers/{bakery_id}/products");
        let product = text(&bakery.create(&products, &bread).await["id"]);
        kitchen.order_of("7.00").await;
        let order = bakery
            .create("/api/v1/orders", &items(&[("BREAD", 5)]))
            .await;
        let id = text(&order["id"]);
        kitchen.order_of("8.00").await;
        let payment = bakery.pay(&id, "10.00").await;
        let refund = bakery
            .create("/api/v1/refunds", &refund(&payment, "2.00"))
            .await;
        let booking = bakery.create("/api/v1/bookings", &booking()).await;
        let orders = vec![bakery.order_of("9.00").await, id];
        let theirs = Theirs {
            deliveries: listed(&bakery, "/api/v1/deliveries").await,
            orders,
            order,
            payment,
            refund: text(&refund["id"]),
            booking: text(&booking["id"]),
            product,
        };
        kitchen.order_of("9.50").await;
        Self {
            service,
            kitchen,
            bakery,
            bakery_id,
            theirs,
        }
    }

    /// All that the bakery's client can see.
    async fn bakerys_view(&self) -> Vec<Answer> {
        let mut view = Vec::new();
        for path in self.paths(Owner::Bakery) {
            view.push(self.bakery.get(&path).await.must(200));
        }
        view
    }

    /// The path of each kind of thing: the bakery's, or of none.
    fn paths(&self, owner: Owner) -> Vec<String> {
        let (theirs, retailer) = (&self.theirs, owner.id(&self.bakery_id));
        let order = text(&theirs.order["id"]);
        let paths = [
            format!("orders/{}", owner.id(&order)),
            format!("payments/{}", owner.id(&theirs.payment)),
            format!("refunds/{}", owner.id(&theirs.refund)),
            format!("bookings/{}", owner.id(&theirs.booking)),
            format!("deliveries/{}", owner.id(&theirs.deliveries[0])),
            format!("retailers/{retailer}"),
            format!("retailers/{retailer}/balance"),
            format!("retailers/{retailer}/products"),
            format!(
                "retailers/{retailer}/products/{}",
                owner.id(&theirs.product)
            ),
        ];
        paths.map(|path| format!("/api/v1/{path}")).into()
    }

    /// Each request that would change something of the bakery's, or of nobody's.
    fn changes(&self, owner: Owner) -> Vec<(&'static str, String, Value)> {
        let theirs = &self.theirs;
        let retailer = owner.id(&self.bakery_id);
        let order = owner.id(&text(&theirs.order["id"]));
        let (paid, product) = (owner.id(&theirs.payment), owner.id(&theirs.product));
        let kitchen = &self.service.kitchen;
        let bread = json!({"sku": "BREAD", "name": "Stone", "price": "0.01"});
        let of_retailer = json!({"retailer_id": retailer});
        let retailer_of = json!({"name": "Ours now", "phone": "+14155238899", "currency": "USD"});
        let changes = [
            (
                "POST",
                "orders".to_owned(),
                with(items(&[("BREAD", 1)]), of_retailer.clone()),
            ),
            (
                "POST",
                "orders".to_owned(),
                with(work("1.00"), of_retailer.clone()),
            ),
            ("POST", "payments".to_owned(), payment(&order, "1.00")),
            ("POST", "payments".to_owned(), payment(&order, "1000.00")),
            ("POST", "refunds".to_owned(), refund(&paid, "1.00")),
            ("POST", "refunds".to_owned(), refund(&paid, "1000.00")),
            ("POST", "bookings".to_owned(), with(booking(), of_retailer)),
            (
                "PATCH",
                format!("orders/{order}"),
                json!({"status": "cancelled"}),
            ),
            (
                "PATCH",
                format!("orders/{order}"),
                json!({"status": "delivered"}),
            ),
            ("PUT", format!("retailers/{retailer}"), retailer_of.clone()),
            (
                "PUT",
                format!("retailers/{retailer}"),
                with(retailer_of, json!({"currency": "EUR"})),
            ),
            (
                "POST",
                format!("retailers/{retailer}/products"),
                bread.clone(),
            ),
            (
                "PUT",
                format!("retailers/{retailer}/products/{product}"),
                bread.clone(),
            ),
            // By way of one's own.
            (
                "PUT",
                format!("retailers/{kitchen}/products/{product}"),
                bread,
            ),
        ];
        let path = |(method, path, body)| (method, format!("/api/v1/{path}"), body);
        changes.map(path).into()
    }
}

/// Whose things are asked for.
#[derive(Clone, Copy)]
enum Owner {
    Bakery,
    Nobody,
}

impl Owner {
    /// The id, or one like it that does not exist: of the same age, so that it sorts as the other does.
    fn id(self, id: &str) -> String {
        match self {
            Self::Bakery => id.to_owned(),
            Self::Nobody => {
                let last = if id.ends_with('0') { '1' } else { '0' };
                format!("{}{last}", &id[..id.len() - 1])
            }
        }
    }
}

async fn what_belongs_to_another_retailer_answers_as_what_does_not_exist(engine: Engine) {
    let town = Town::new(engine).await;
    let view = town.bakerys_view().await;
    for (theirs, nobodys) in town
        .paths(Owner::Bakery)
        .iter()
        .zip(town.paths(Owner::Nobody))
    {
        for method in ["GET", "HEAD"] {
            let answer = Answer::to(town.kitchen.request(method, theirs))
                .await
                .must(404);
            let expected = Answer::to(town.kitchen.request(method, &nobodys)).await;
            assert_eq!(answer.essence(), expected.essence(), "{method} {theirs}");
        }
    }
    // A product is not found by way of one's own retailer either.
    let (product, kitchen) = (&town.theirs.product, &town.service.kitchen);
    let path = |id: &str| format!("/api/v1/retailers/{kitchen}/products/{id}");
    let answer = town.kitchen.get(&path(product)).await.must(404);
    assert_eq!(
        answer.essence(),
        town.kitchen.get(&path(&new_key())).await.essence()
    );

    let rows = [
        "orders",
        "payments",
        "refunds",
        "bookings",
        "ledger_entries",
        "retailers",
        "products",
    ];
    let count = || rows.map(|table| town.service.count(table));
    let before = count();
    let pairs = town
        .changes(Owner::Bakery)
        .into_iter()
        .zip(town.changes(Owner::Nobody));
    for ((method, path, theirs), (_, nobodys_path, nobodys)) in pairs {
        for keyed in [true, false] {
            let send = async |path: &str, body: &Value| {
                let request = town.kitchen.telling(method, path, body);
                let request = match keyed || method == "POST" {
                    true => request.header("Idempotency-Key", new_key()),
                    false => request,
                };
                Answer::to(request).await
            };
            let answer = send(&path, &theirs).await;
            assert_eq!(answer.status, 404, "{method} {path} {theirs}: {answer:?}");
            let expected = send(&nobodys_path, &nobodys).await;
            assert_eq!(
                answer.essence(),
                expected.essence(),
                "{method} {path} {theirs}"
            );
        }
    }
    assert_eq!(count(), before);
    for (before, now) in view.iter().zip(town.bakerys_view().await) {
        assert_eq!(before.body, now.body);
    }
    // Another's product is one that the retailer does not have.
    let answer = town
        .kitchen
        .post("/api/v1/orders", &items(&[("BREAD", 1)]))
        .await
        .must(400);
    let expected = town
        .kitchen
        .post("/api/v1/orders", &items(&[("STONE", 1)]))
        .await;
    assert_eq!(answer.essence(), expected.essence());
}

async fn lists_show_the_own_retailer_alone_whatever_filter_or_cursor_is_sent(engine: Engine) {
    let town = Town::new(engine).await;
    let own: BTreeSet<_> = listed(&town.kitchen, "/api/v1/orders")
        .await
        .into_iter()
        .collect();
    assert_eq!(own.len(), 3);
    let theirs = &town.theirs;
    assert_eq!(listed(&town.bakery, "/api/v1/orders").await, theirs.orders);
    let number = text(&theirs.order["order_number"]);
    let created = text(&theirs.order["created_at"]);
    let retailer = &town.bakery_id;
    for query in [
        format!("retailer_id={retailer}"),
        format!("order_number={number}"),
        format!("order_number={number}&retailer_id={retailer}"),
        format!("retailer_id={retailer}&status=pending&source=api"),
    ] {
        let path = format!("/api/v1/orders?{query}");
        assert_eq!(
            listed(&town.kitchen, &path).await,
            [] as [&str; 0],
            "{query}"
        );
        assert_ne!(
            listed(&town.bakery, &path).await,
            [] as [&str; 0],
            "{query}"
        );
        // Nothing tells it from a retailer or a number that does not exist.
        let answer = town.kitchen.get(&path).await;
        let nobody = town
            .kitchen
            .get(&format!("/api/v1/orders?retailer_id={}", new_key()))
            .await;
        assert_eq!(answer.essence(), nobody.essence(), "{query}");
    }
    let mut queries = vec![
        format!("created_from={created}"),
        "customer_phone=%2B14155550100".into(),
    ];
    for cursor in &theirs.orders {
        queries.push(format!("cursor={}", cursor.replace('-', "")));
        queries.push(format!("cursor={}&limit=1", cursor.replace('-', "")));
    }
    for query in queries {
        let seen = listed(&town.kitchen, &format!("/api/v1/orders?{query}")).await;
        assert!(seen.iter().all(|id| own.contains(id)), "{query}: {seen:?}");
    }
    // A cursor of the next page never names another's.
    let page = town.kitchen.get("/api/v1/orders?limit=1").await.json();
    let cursor: uuid::Uuid = text(&page["next_cursor"]).parse().expect("a UUID");
    assert!(own.contains(&cursor.to_string()));

    let kitchen = [town.service.kitchen.clone()];
    let all = "f".repeat(32);
    for query in [
        "",
        "?limit=1",
        &format!("?cursor={all}"),
        &format!("?cursor={all}&limit=100"),
    ] {
        let seen = listed(&town.kitchen, &format!("/api/v1/retailers{query}")).await;
        assert_eq!(seen, kitchen, "{query}");
    }
    let theirs = format!("?cursor={}", town.bakery_id.replace('-', ""));
    let seen = listed(&town.kitchen, &format!("/api/v1/retailers{theirs}")).await;
    assert!(seen.iter().all(|id| kitchen.contains(id)), "{seen:?}");
    let products = format!("/api/v1/retailers/{}/products?cursor={all}", kitchen[0]);
    assert!(
        !listed(&town.kitchen, &products)
            .await
            .contains(&town.theirs.product)
    );
}

async fn deliveries_are_listed_of_the_own_retailer_alone_whatever_filter_or_cursor_is_sent(
    engine: Engine,
) {
    let town = Town::new(engine).await;
    // One of nobody's, and one of the bakery's that failed.
    town.kitchen
        .post("/api/v1/orders", &json!({}))
        .await
        .must(400);
    let failed = format!(
        "UPDATE webhook_idempotency SET status = 'failed' WHERE id = '{}'",
        town.theirs.deliveries[1]
    );
    town.service.database().execute(&failed);
    let list = "/api/v1/deliveries";
    let own: BTreeSet<_> = listed(&town.kitchen, list).await.into_iter().collect();
    assert_eq!(own.len(), 3);
    let theirs = &town.theirs.deliveries;
    assert_eq!(&listed(&town.bakery, list).await, theirs);
    assert_eq!(theirs.len(), 7, "with the request that added the bakery");
    let of_bakery = town.bakery.get(&format!("{list}?limit=1")).await.json();
    let (key, cursor) = (
        text(&of_bakery["data"][0]["key"]),
        text(&of_bakery["next_cursor"]),
    );
    let (bakery, nobody) = (&town.bakery_id, new_key());
    // What is asked for is theirs, and answered as if it were nobody's.
    for (theirs, nobodys) in [
        (format!("key={key}"), format!("key={nobody}")),
        (
            format!("retailer_id={bakery}"),
            format!("retailer_id={nobody}"),
        ),
        (
            format!("retailer_id={bakery}&status=failed"),
            format!("retailer_id={nobody}&status=failed"),
        ),
        (
            "status=failed".to_owned(),
            format!("key={nobody}&status=failed"),
        ),
        ("status=in_progress".to_owned(), format!("key={nobody}")),
    ] {
        let answer = town.kitchen.get(&format!("{list}?{theirs}")).await;
        let expected = town.kitchen.get(&format!("{list}?{nobodys}")).await;
        assert_eq!(answer.essence(), expected.essence(), "{theirs}");
        assert_eq!(answer.data(), json!([]), "{theirs}");
        assert_eq!(answer.json()["next_cursor"], Value::Null, "{theirs}");
    }
    // Under a key that both have used there is one's own, and no more.
    for client in [&town.bakery, &town.kitchen, &town.bakery] {
        client
            .post_keyed("/api/v1/bookings", "shared", &booking())
            .await
            .must(201);
        let page = client
            .get(&format!("{list}?key=shared&limit=1"))
            .await
            .json();
        assert_eq!(page["data"].as_array().map(Vec::len), Some(1));
        assert_eq!(page["next_cursor"], Value::Null);
    }
    let own: BTreeSet<_> = listed(&town.kitchen, list).await.into_iter().collect();
    // A place among theirs is one like any other.
    for query in [
        format!("cursor={cursor}"),
        format!("cursor={cursor}&limit=1&provider=api"),
    ] {
        let answer = town.kitchen.get(&format!("{list}?{query}")).await.must(200);
        let rows = answer.data();
        let rows = rows.as_array().expect("a list").iter();
        assert!(
            rows.map(|row| text(&row["id"])).all(|id| own.contains(&id)),
            "{query}"
        );
    }
    // An order of another is not shown by way of a delivery either.
    let mixed = format!(
        "UPDATE webhook_idempotency SET order_id = '{}' WHERE retailer_id = '{}'",
        text(&town.theirs.order["id"]),
        town.service.kitchen,
    );
    town.service.database().execute(&mixed);
    for id in &own {
        let shown = town
            .kitchen
            .get(&format!("{list}/{id}"))
            .await
            .must(200)
            .data();
        assert_eq!(shown["order"], Value::Null);
    }
}

/// The ids of a list.
async fn listed(client: &Client, path: &str) -> Vec<String> {
    let data = client.get(path).await.must(200).data();
    let rows = data.as_array().expect("a list").iter();
    rows.map(|row| text(&row["id"])).collect()
}

async fn a_key_belongs_to_its_client_alone(engine: Engine) {
    let town = Town::new(engine).await;
    let colleague = town.service.pos().await;
    let mut made = BTreeSet::new();
    for client in [&town.kitchen, &colleague, &town.bakery] {
        let body = json!({"customer": {"name": client.id}});
        let body = with(work("1.00"), body);
        let answer = client
            .post_keyed("/api/v1/orders", "shared", &body)
            .await
            .must(201);
        assert_eq!(answer.header("Idempotent-Replayed"), Some("false"));
        assert_eq!(answer.data()["customer"]["name"], client.id);
        assert!(
            made.insert(text(&answer.data()["id"])),
            "an order of its own"
        );
        let again = client.post_keyed("/api/v1/orders", "shared", &body).await;
        assert_eq!(again.header("Idempotent-Replayed"), Some("true"));
        assert_eq!(again.body, answer.body);
        let asked = client.get("/api/v1/orders/status/shared").await.json();
        assert_eq!(asked["result"]["body"], answer.json());
    }
    // A change under a key is a client's own, too.
    let order = made.first().expect("an order");
    for (client, key) in [(&town.kitchen, "step"), (&colleague, "step")] {
        let cancel = json!({"status": "cancelled"});
        let path = format!("/api/v1/orders/{order}");
        let request = client
            .telling("PATCH", &path, &cancel)
            .header("Idempotency-Key", key);
        assert_eq!(
            Answer::to(request).await.header("Idempotent-Replayed"),
            Some("false")
        );
    }
    // A webhook's key is nobody's.
    let taken = "UPDATE webhook_idempotency SET scope = 'webhook:twilio', idempotency_key = 'of-twilio'
                 WHERE idempotency_key = 'shared' AND retailer_id IN (SELECT id FROM retailers WHERE name = 'Bakery')";
    town.service.database().execute(taken);
    for client in [&town.kitchen, &town.bakery] {
        let asked = client.get("/api/v1/orders/status/of-twilio").await.json();
        assert_eq!(
            (&asked["status"], &asked["result"]),
            (&json!("not_found"), &Value::Null)
        );
    }
}

async fn a_bound_client_needs_no_retailer_and_cannot_add_one(engine: Engine) {
    let town = Town::new(engine).await;
    let before = town.service.rows();
    let new = json!({"name": "Grill", "phone": "+14155238890", "currency": "USD"});
    let refused = town.kitchen.post("/api/v1/retailers", &new).await.must(403);
    assert_eq!(refused.error_code(), "SCOPE_MISSING");
    assert_eq!(town.service.rows(), before);
    let named = json!({"retailer_id": town.service.kitchen});
    for (path, body) in [
        ("/api/v1/orders", items(&[("COLA", 1)])),
        ("/api/v1/orders", work("1.00")),
        ("/api/v1/bookings", booking()),
    ] {
        for body in [body.clone(), with(body, named.clone())] {
            let made = town.kitchen.create(path, &body).await;
            assert_eq!(made["retailer_id"], town.service.kitchen, "{body}");
        }
    }
}

/// Whoever has a number gets the messages that are written to it.
async fn a_bound_client_may_rename_its_retailer_and_not_take_another_number(engine: Engine) {
    let town = Town::new(engine).await;
    let path = format!("/api/v1/retailers/{}", town.service.kitchen);
    let is = json!({
        "name": "Renamed",
        "phone": SHOP_PHONE,
        "phone_number_id": SHOP_PHONE_NUMBER_ID,
        "currency": "USD",
    });
    assert_eq!(
        town.kitchen.put(&path, &is).await.must(200).data()["name"],
        "Renamed"
    );
    let office = town.service.head_office().await;
    for moved in [
        json!({"phone": "+14155238890"}),
        json!({"phone_number_id": "999"}),
        json!({"phone_number_id": null}),
    ] {
        let moved = with(is.clone(), moved);
        let refused = town.kitchen.put(&path, &moved).await.must(400);
        assert_eq!(refused.errors(), ["/phone fixed"]);
        office.put(&path, &moved).await.must(200);
        office.put(&path, &is).await.must(200);
    }
}

async fn a_client_that_is_bound_to_none_sees_and_touches_all(engine: Engine) {
    let town = Town::new(engine).await;
    let office = town.service.head_office().await;
    for (path, theirs) in town
        .paths(Owner::Bakery)
        .iter()
        .zip(town.bakerys_view().await)
    {
        assert_eq!(office.get(path).await.must(200).body, theirs.body, "{path}");
    }
    let all = listed(&office, "/api/v1/orders").await;
    assert_eq!(all.len(), 5);
    for (method, path, body) in town.changes(Owner::Bakery) {
        let request = office.telling(method, &path, &body);
        let answer = Answer::to(request.header("Idempotency-Key", new_key())).await;
        // It is told what is wrong with them, for it may know of them.
        let by_way_of_another = path.contains(&town.service.kitchen);
        assert_eq!(
            answer.status == 404,
            by_way_of_another,
            "{method} {path} {body}: {answer:?}"
        );
    }
}

async fn every_route_of_the_api_asks_for_a_token_with_its_scope(engine: Engine) {
    const SCOPES: [&str; 14] = [
        "orders:read",
        "orders:write",
        "payments:read",
        "payments:write",
        "refunds:read",
        "refunds:write",
        "bookings:read",
        "bookings:write",
        "catalogue:read",
        "catalogue:write",
        "ledger:read",
        "stats:read",
        "deliveries:read",
        "admin",
    ];
    let service = Service::new(engine).await;
    let mut clients = Vec::new();
    for scope in SCOPES {
        clients.push((scope, service.client(None, scope).await));
    }
    let document = clients[0].1.get("/openapi.json").await.must(200).json();
    let rows = service.rows();
    let mut walked = 0;
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let Ok(method) = method.to_uppercase().parse::<Method>() else {
                continue;
            };
            if !path.starts_with("/api/v1/") || path.starts_with("/api/v1/whatsapp/") {
                assert!(
                    operation["security"].pointer("/0/token").is_none(),
                    "{method} {path}"
                );
                continue;
            }
            walked += 1;
            let needed = operation.pointer("/security/0/token/0");
            let needed = needed.unwrap_or_else(|| panic!("{method} {path} needs no scope"));
            let needed = text(needed);
            // What does not exist, and a body that is none: whoever may ask learns that, and does nothing.
            let path = fill(path);
            let mut methods = vec![method.clone()];
            methods.extend((method == Method::GET).then_some(Method::HEAD));
            for method in methods {
                walk(&clients, &method, &path, &needed).await;
            }
        }
    }
    assert!(walked >= 20, "{walked} operations");
    assert_eq!(service.rows(), rows, "nothing was done");
}

/// A path with an id that does not exist for each parameter.
fn fill(path: &str) -> String {
    let part = |part: &str| match part.starts_with('{') {
        true => new_key(),
        false => part.to_owned(),
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

async fn walk(clients: &[(&str, Client)], method: &Method, path: &str, needed: &str) {
    let read_of = |scope: &str| {
        scope
            .strip_suffix(":write")
            .map(|part| format!("{part}:read"))
    };
    let (_, first) = &clients[0];
    let with_headers = async |tokens: &[&str]| {
        let request = first
            .http
            .request(method.clone(), format!("{}{path}", first.url));
        let request = tokens.iter().fold(request, |request, token| {
            request.header("Authorization", *token)
        });
        Answer::to(request).await
    };
    let is = |answer: &Answer, status: u16, code: &str| {
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        if *method != Method::HEAD {
            assert_eq!(answer.error_code(), code, "{method} {path}");
        }
    };
    let none = with_headers(&[]).await;
    is(&none, 401, "TOKEN_MISSING");
    assert_eq!(none.header("WWW-Authenticate"), Some("Bearer"));
    is(
        &with_headers(&["Basic aGs6aGs="]).await,
        401,
        "TOKEN_MISSING",
    );
    is(
        &with_headers(&["Bearer hk_none"]).await,
        401,
        "TOKEN_INVALID",
    );
    let well_formed = format!("Bearer hk_{}", "A".repeat(43));
    is(&with_headers(&[&well_formed]).await, 401, "TOKEN_INVALID");
    let real = format!("Bearer {}", first.token);
    is(&with_headers(&[&real, &real]).await, 401, "TOKEN_INVALID");
    for (scope, client) in clients {
        let answer = Answer::to(client.request(method.as_str(), path)).await;
        let may =
            *scope == needed || *scope == "admin" || read_of(scope).as_deref() == Some(needed);
        match may {
            false => is(&answer, 403, "SCOPE_MISSING"),
            true => {
                let refused = [401, 403].contains(&answer.status) || answer.status >= 500;
                assert!(!refused, "{method} {path} with {scope}: {answer:?}");
            }
        }
    }
}
