//! What `ops/` holds for Prometheus and Grafana names what the service serves, and nothing else.

use promql_parser::{
    label::Matchers,
    parser::{self, Expr, LabelModifier},
    util::{ExprVisitor, walk_expr},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
};

use crate::support::{
    database::Engine,
    requests::{Call, new_sid},
    shop::{Service, items},
    wait::until,
};

const ALERTS: &str = include_str!("../../ops/prometheus/alerts.yml");
const PROMETHEUS: &str = include_str!("../../ops/prometheus/prometheus.yml");
const DASHBOARD: &str = include_str!("../../ops/grafana/hookonce.json");

/// What Prometheus adds to every series that it scrapes.
const ADDED: [&str; 2] = ["instance", "job"];

/// Each metric that is served, with its labels; a histogram by the names of its series.
type Served = BTreeMap<String, BTreeSet<String>>;

/// Has the service serve each of its metrics, and reads them.
async fn served() -> Served {
    let service = Service::with(Engine::Sqlite, |config| config.cache_bytes = 1_000_000).await;
    let order = Call::twilio_text(&new_sid(), "1 cola");
    for call in [&order, &order, &order.clone().without("X-Twilio-Signature")] {
        service.app.send(call).await;
    }
    let pos = service.pos().await;
    pos.post("/api/v1/orders", &items(&[("PIZZA-MARG", 1)]))
        .await
        .must(201);
    let admin = service.client(None, "admin").await;
    admin
        .post("/api/v1/admin/cleanup", &Value::Null)
        .await
        .must(200);
    until("the database has been looked at", async || {
        let metrics = service.app.get("/metrics").await.body;
        metrics.contains("\nhookonce_cleanup_last_success 1")
    })
    .await;
    parse(&service.app.get("/metrics").await.body)
}

fn parse(metrics: &str) -> Served {
    let mut served = Served::new();
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let end = line.find(['{', ' ']).expect("a name");
        let (name, rest) = line.split_at(end);
        let labels = rest.split_once('}').map_or("", |(labels, _)| &labels[1..]);
        let labels = labels
            .split("\",")
            .filter_map(|label| label.split_once('='));
        let names = labels.map(|(name, _)| name.to_owned());
        served.entry(name.to_owned()).or_default().extend(names);
    }
    served
}

/// The expressions of a document, whatever it is: all texts that are called `expr`.
fn expressions(document: &Value) -> Vec<String> {
    match document {
        Value::Array(values) => values.iter().flat_map(expressions).collect(),
        Value::Object(members) => {
            let here = members.get("expr").and_then(Value::as_str);
            let below = members.values().flat_map(expressions);
            here.map(str::to_owned).into_iter().chain(below).collect()
        }
        _ => Vec::new(),
    }
}

/// Collects what an expression names: metrics with the labels that they are chosen by, and labels that are grouped by.
#[derive(Default)]
struct Named {
    metrics: Vec<(String, Vec<String>)>,
    labels: Vec<String>,
}

impl ExprVisitor for Named {
    type Error = Infallible;

    fn pre_visit(&mut self, expression: &Expr) -> Result<bool, Infallible> {
        let mut select = |name: &Option<String>, matchers: &Matchers| {
            let labels = matchers.matchers.iter().map(|matcher| matcher.name.clone());
            let name = name.clone().expect("a metric by its name");
            self.metrics.push((name, labels.collect()));
        };
        match expression {
            Expr::VectorSelector(selector) => select(&selector.name, &selector.matchers),
            Expr::MatrixSelector(selector) => select(&selector.vs.name, &selector.vs.matchers),
            Expr::Aggregate(aggregate) => match &aggregate.modifier {
                Some(LabelModifier::Include(labels) | LabelModifier::Exclude(labels)) => {
                    self.labels.extend(labels.labels.iter().cloned());
                }
                None => {}
            },
            _ => {}
        }
        Ok(true)
    }
}

fn check(expression: &str, served: &Served) {
    // What Grafana puts in.
    let plain = expression.replace("$__rate_interval", "5m");
    let parsed = parser::parse(&plain).unwrap_or_else(|error| panic!("{expression}: {error}"));
    let mut named = Named::default();
    let Ok(_) = walk_expr(&mut named, &parsed);
    assert!(!named.metrics.is_empty(), "{expression} names no metric");
    let (mut known, nothing) = (BTreeSet::from(ADDED), BTreeSet::new());
    for (metric, labels) in &named.metrics {
        // Whether a scrape succeeds is Prometheus' own.
        let has = match metric.as_str() {
            "up" => &nothing,
            _ => served
                .get(metric)
                .unwrap_or_else(|| panic!("{metric} is not served: {expression}")),
        };
        for label in labels {
            let is_known = has.contains(label) || ADDED.contains(&label.as_str());
            assert!(is_known, "{metric} has no label {label}: {expression}");
        }
        known.extend(has.iter().map(String::as_str));
    }
    for label in &named.labels {
        assert!(
            known.contains(label.as_str()),
            "no label {label}: {expression}"
        );
    }
}

#[actix_web::test]
async fn every_name_in_the_alerts_and_on_the_dashboard_is_served() {
    let served = served().await;
    let alerts: Value = serde_saphyr::from_str(ALERTS).expect("YAML");
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    for (document, least) in [(&alerts, 10), (&dashboard, 20)] {
        let expressions = expressions(document);
        assert!(expressions.len() >= least, "{expressions:#?}");
        for expression in expressions {
            check(&expression, &served);
        }
    }
}

#[actix_web::test]
async fn every_metric_is_on_the_dashboard_or_in_an_alert_and_in_the_documentation() {
    let documentation = include_str!("../../docs/operations.md");
    for metric in served().await.into_keys() {
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| metric.strip_suffix(end))
            .unwrap_or(&metric);
        assert!(
            documentation.contains(&format!("`{family}")),
            "{family} is not in docs/operations.md"
        );
        let is_used = ALERTS.contains(family) || DASHBOARD.contains(family);
        assert!(is_used, "nobody looks at {family}");
    }
}

#[test]
fn a_name_that_is_not_served_is_noticed() {
    let served = parse("hookonce_requests_total{route=\"/\",outcome=\"new\"} 1\n");
    check(
        "rate(hookonce_requests_total{outcome=\"new\"}[$__rate_interval])",
        &served,
    );
    for wrong in [
        "rate(hookonce_request_total[5m])",
        "hookonce_requests_total{result=\"new\"}",
        "sum by (provider) (hookonce_requests_total)",
        "sum by (route) (hookonce_requests_total",
    ] {
        let checked = std::panic::catch_unwind(|| check(wrong, &served));
        assert!(checked.is_err(), "{wrong}");
    }
}

#[test]
fn each_alert_says_what_is_the_matter() {
    let alerts: Value = serde_saphyr::from_str(ALERTS).expect("YAML");
    let rules = alerts["groups"][0]["rules"].as_array().expect("rules");
    let mut names = BTreeSet::new();
    for rule in rules {
        let name = rule["alert"].as_str().expect("a name");
        assert!(names.insert(name), "{name} is there twice");
        let severity = rule["labels"]["severity"].as_str();
        assert!(matches!(severity, Some("critical" | "warning")), "{name}");
        assert!(rule["annotations"]["summary"].is_string(), "{name}");
    }
}

#[test]
fn prometheus_loads_the_alerts_and_the_dashboard_has_its_panels() {
    let prometheus: Value = serde_saphyr::from_str(PROMETHEUS).expect("YAML");
    assert_eq!(prometheus["rule_files"][0], "alerts.yml");
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_i64()).collect();
    assert_eq!(ids.len(), panels.len(), "a panel's id is its own");
    for panel in panels {
        let place = &panel["gridPos"];
        let right = place["x"].as_i64().unwrap() + place["w"].as_i64().unwrap();
        assert!(right <= 24, "{}", panel["title"]);
        assert!(
            !panel["targets"].as_array().unwrap().is_empty(),
            "{}",
            panel["title"]
        );
    }
}
