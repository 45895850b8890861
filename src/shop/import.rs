//! Reads a retailer's catalogue from CSV and stores it: all of it or nothing.

use serde::Deserialize;
use std::{collections::HashMap, io::Read};

use super::money::Currency;
use crate::store::{
    Conn, StoreError,
    products::{self, Product},
    retailers,
    types::{Json, Timestamp, Uuid},
};

/// One line of the file, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedProduct {
    sku: String,
    name: String,
    aliases: Vec<String>,
    price_minor: i64,
}

/// A line that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct BadLine {
    /// Its number in the file, from 1, the heading included.
    pub line: u64,
    /// What is wrong with it.
    pub message: String,
}

#[derive(Deserialize)]
struct Row {
    sku: String,
    name: String,
    aliases: String,
    price: String,
}

/// Reads the columns `sku,name,aliases,price`; aliases are separated by `|`, the price is decimal in `currency`.
///
/// # Errors
/// Every bad line.
pub fn read_csv(file: impl Read, currency: Currency) -> Result<Vec<ImportedProduct>, Vec<BadLine>> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(file);
    check_heading(&mut reader).map_err(|bad| vec![bad])?;
    let (mut products, mut bad) = (Vec::new(), Vec::new());
    let mut lines_by_sku = HashMap::new();
    for row in reader.records() {
        let line = match &row {
            Ok(record) => record.position().map_or(0, csv::Position::line),
            Err(error) => error.position().map_or(0, csv::Position::line),
        };
        let product = row
            .and_then(|record| record.deserialize(Some(&HEADING.to_vec().into())))
            .map_err(|error| describe(&error))
            .and_then(|row| check(row, currency));
        match product {
            Ok(product) => match lines_by_sku.insert(product.sku.clone(), line) {
                Some(earlier) => bad.push(BadLine {
                    line,
                    message: format!("the SKU {:?} is on line {earlier} too", product.sku),
                }),
                None => products.push(product),
            },
            Err(message) => bad.push(BadLine { line, message }),
        }
    }
    if bad.is_empty() {
        Ok(products)
    } else {
        Err(bad)
    }
}

const HEADING: [&str; 4] = ["sku", "name", "aliases", "price"];

fn check_heading(reader: &mut csv::Reader<impl Read>) -> Result<(), BadLine> {
    let message = match reader.headers() {
        // Spreadsheets put a byte order mark before the first name.
        Ok(names)
            if names
                .iter()
                .map(|name| name.trim_start_matches('\u{feff}'))
                .eq(HEADING) =>
        {
            return Ok(());
        }
        Ok(_) => format!("the heading must be {}", HEADING.join(",")),
        Err(error) => describe(&error),
    };
    Err(BadLine { line: 1, message })
}

fn describe(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "it is not UTF-8".to_owned(),
        csv::ErrorKind::UnequalLengths { len, .. } => format!("it has {len} fields instead of 4"),
        _ => error.to_string(),
    }
}

fn check(row: Row, currency: Currency) -> Result<ImportedProduct, String> {
    let aliases = row
        .aliases
        .split('|')
        .map(str::trim)
        .filter(|alias| !alias.is_empty());
    let aliases = aliases
        .map(|alias| checked("alias", alias))
        .collect::<Result<_, _>>()?;
    Ok(ImportedProduct {
        sku: checked("sku", &row.sku)?,
        name: checked("name", &row.name)?,
        aliases,
        price_minor: currency
            .minor_units(&row.price)
            .map_err(|error| error.to_string())?,
    })
}

fn checked(what: &str, text: &str) -> Result<String, String> {
    const MOST: usize = 200;
    if text.is_empty() {
        Err(format!("the {what} is empty"))
    } else if text.chars().count() > MOST {
        Err(format!("the {what} is longer than {MOST} characters"))
    } else if text.chars().any(char::is_control) {
        Err(format!("the {what} has a control character"))
    } else {
        Ok(text.to_owned())
    }
}

/// Stores products: new ones are added, those with a SKU that is there are changed, others stay.
///
/// # Errors
/// Where the database refuses.
pub fn store(
    conn: &mut Conn<'_>,
    retailer: Uuid,
    imported: &[ImportedProduct],
    now: Timestamp,
) -> Result<(), StoreError> {
    for product in imported {
        let aliases = product.aliases.iter().map(String::as_str).collect();
        products::upsert(
            conn,
            &Product {
                id: Uuid::in_order(),
                retailer_id: retailer,
                sku: product.sku.clone(),
                name: product.name.clone(),
                aliases: Json::of(&aliases),
                price_minor: product.price_minor,
                created_at: now,
                updated_at: now,
            },
        )?;
    }
    retailers::touch_catalogue(conn, retailer, Uuid::random(), now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<ImportedProduct>, Vec<String>> {
        read_csv(text.as_bytes(), "USD".parse().unwrap())
            .map_err(|bad| bad.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_catalogue_is_read_with_its_aliases_and_prices() {
        let products = read(
            "\u{feff}sku,name,aliases,price\nP1,\"Pizza, large\",pizza | بيتزا,8.50\nC1,Cola,,1\n",
        );
        let products = products.unwrap();
        assert_eq!(products[0].name, "Pizza, large");
        assert_eq!(products[0].aliases, ["pizza", "بيتزا"]);
        assert_eq!(
            (products[0].price_minor, products[1].price_minor),
            (850, 100)
        );
    }

    #[test]
    fn every_bad_line_is_named_with_its_number() {
        let bad = read(
            "sku,name,aliases,price\nA,Ayran,,1\n,No sku,,1\nB,Bun,,1.999\nA,Again,,1\nC,Cake,1\nD,,,x\n",
        );
        insta::assert_snapshot!(bad.unwrap_err().join("\n"), @r#"
        line 3: the sku is empty
        line 4: USD has at most 2 decimals
        line 5: the SKU "A" is on line 2 too
        line 6: it has 3 fields instead of 4
        line 7: the name is empty
        "#);
    }

    #[test]
    fn a_file_without_the_columns_is_refused() {
        for text in [
            "",
            "sku;name;aliases;price\n",
            "name,sku,aliases,price\nA,B,,1\n",
        ] {
            assert!(read(text).unwrap_err()[0].starts_with("line 1:"), "{text}");
        }
        let bad = read_csv(
            &b"sku,name,aliases,price\nA,\xff,,1\n"[..],
            "USD".parse().unwrap(),
        );
        assert_eq!(bad.unwrap_err()[0].to_string(), "line 2: it is not UTF-8");
    }
}
