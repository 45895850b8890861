//! Finds a retailer's product by what a person or a machine calls it. It must not know about
//! orders, quantities, messages or where products are stored.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use pluralizer::pluralize;
use strsim::jaro_winkler;
use uuid::Uuid;

use super::fold::{fold, fold_compact};

/// How alike, from 0 to 1, two texts must be for one to be worth suggesting for the other.
const LIKENESS_THRESHOLD: f64 = 0.85;

/// How much of a text is compared with each name, in characters: no product name is this long, and
/// the comparison's cost grows with it.
const MAX_COMPARED_CHARS: usize = 80;

/// The forms in which a folded name is indexed, the strictest first.
const FORMS: [fn(&str) -> String; 3] = [fold, fold_compact, loose];

/// One thing a retailer sells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// Identifies the product whatever it is called.
    pub id: Uuid,
    /// The retailer's own code for the product.
    pub sku: String,
    /// What the product is called.
    pub name: String,
    /// What else people call it, in any language.
    pub aliases: Vec<String>,
    /// The price of one, in minor units of the retailer's currency (cents, fils, halalas).
    pub price_minor: i64,
}

impl Product {
    fn written_names(&self) -> impl Iterator<Item = &str> {
        let aliases = self.aliases.iter().map(String::as_str);
        [self.name.as_str(), self.sku.as_str()]
            .into_iter()
            .chain(aliases)
    }
}

/// A retailer's products, indexed for look-up by what people write.
#[derive(Debug, Default)]
pub struct Catalogue {
    products: Vec<Product>,
    skus: Index,
    /// One index for each of [`FORMS`].
    names: [Index; FORMS.len()],
    /// Every folded name, with the position of its product.
    folded_names: Vec<(String, usize)>,
}

impl Catalogue {
    /// Indexes the products a retailer sells.
    pub fn new(products: Vec<Product>) -> Self {
        let mut catalogue = Self::default();
        for (position, product) in products.iter().enumerate() {
            catalogue.skus.insert(product.sku.clone(), position);
            for name in product.written_names() {
                catalogue.index_name(&fold(name), position);
            }
        }
        Self {
            products,
            ..catalogue
        }
    }

    /// The product with exactly this SKU, as a machine gives it: upper and lower case differ.
    /// `None` if there is none, or if two products share the SKU.
    pub fn by_sku(&self, sku: &str) -> Option<&Product> {
        self.product(self.skus.get(sku)?)
    }

    /// The product with this name, alias or SKU, as a person writes it: case, spacing,
    /// punctuation, diacritics, the script of digits and the plural do not matter. A name that fits
    /// closely wins over one that fits only as a plural. `None` if no product fits, or if two fit
    /// equally well.
    pub fn find(&self, written: &str) -> Option<&Product> {
        let folded = fold_something(written)?;
        let fit = FORMS
            .iter()
            .zip(&self.names)
            .find_map(|(form, index)| index.get(&form(&folded)))?;
        self.product(fit)
    }

    /// The product with the name, alias or SKU most like this one, to suggest to a person who
    /// misspelt it; of products equally alike, the first. `None` if nothing is much like it.
    pub fn nearest(&self, written: &str) -> Option<&Product> {
        let folded = fold_something(written)?;
        let start: String = folded.chars().take(MAX_COMPARED_CHARS).collect();
        let (position, _) = self
            .folded_names
            .iter()
            .map(|(name, position)| (*position, jaro_winkler(&start, name)))
            .filter(|(_, likeness)| *likeness >= LIKENESS_THRESHOLD)
            // `max_by` keeps the last of equals, so from the back it is the first.
            .rev()
            .max_by(|(_, one), (_, other)| one.total_cmp(other))?;
        self.products.get(position)
    }

    fn index_name(&mut self, folded: &str, position: usize) {
        for (form, index) in FORMS.iter().zip(&mut self.names) {
            index.insert(form(folded), position);
        }
        self.folded_names.push((folded.to_owned(), position));
    }

    fn product(&self, fit: Fit) -> Option<&Product> {
        match fit {
            Fit::One(position) => self.products.get(position),
            Fit::Several => None,
        }
    }
}

/// The products that fit one text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// The position of the only one.
    One(usize),
    Several,
}

/// Which products fit each text.
#[derive(Debug, Default)]
struct Index(HashMap<String, Fit>);

impl Index {
    fn insert(&mut self, text: String, position: usize) {
        match self.0.entry(text) {
            Entry::Vacant(entry) => {
                entry.insert(Fit::One(position));
            }
            Entry::Occupied(mut entry) if *entry.get() != Fit::One(position) => {
                entry.insert(Fit::Several);
            }
            Entry::Occupied(_) => {}
        }
    }

    fn get(&self, text: &str) -> Option<Fit> {
        self.0.get(text).copied()
    }
}

/// Text folded, unless nothing is left: a text of symbols only would fit every name of symbols only.
fn fold_something(written: &str) -> Option<String> {
    Some(fold(written)).filter(|folded| !folded.is_empty())
}

/// The form in which singular and plural agree, and "and" agrees with "&".
fn loose(folded: &str) -> String {
    folded
        .split(' ')
        .filter(|word| !matches!(*word, "and" | "و"))
        .map(stem)
        .collect()
}

fn stem(word: &str) -> String {
    // The plural rules are for English, and are not meant for other scripts or for codes.
    if word.bytes().all(|byte| byte.is_ascii_lowercase()) {
        pluralize(word, 1, false)
    } else {
        arabic_stem(word).to_owned()
    }
}

/// An Arabic word without its article and without the ending that its regular plural ("ات")
/// replaces. Other words are left as they are.
fn arabic_stem(word: &str) -> &str {
    let bare = strip(word, |word| word.strip_prefix("ال"));
    strip(bare, |word| {
        word.strip_suffix("ات")
            .or_else(|| word.strip_suffix(['ا', 'ه']))
    })
}

/// The word as cut, unless the cut leaves too little to tell it from other words.
fn strip(word: &str, cut: impl Fn(&str) -> Option<&str>) -> &str {
    const MIN_STEM_CHARS: usize = 3;
    cut(word)
        .filter(|stem| stem.chars().count() >= MIN_STEM_CHARS)
        .unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(sku: &str, name: &str, aliases: &[&str]) -> Product {
        Product {
            id: Uuid::now_v7(),
            sku: sku.to_owned(),
            name: name.to_owned(),
            aliases: aliases.iter().map(|&alias| alias.to_owned()).collect(),
            price_minor: 500,
        }
    }

    fn shop() -> Catalogue {
        Catalogue::new(vec![
            product("PZ-1", "Pizza", &["بيتزا"]),
            product("CC-330", "Coca-Cola", &["كولا"]),
            product("BX", "Gift box", &[]),
            product("BR", "Blueberry", &[]),
            product("GL", "Wine glass", &[]),
            product("CF", "Café crème", &["قهوة"]),
            product("FC", "Fish and chips", &[]),
        ])
    }

    #[track_caller]
    fn assert_finds(written: &str, sku: &str) {
        let shop = shop();
        let found = shop.find(written).map(|product| product.sku.as_str());
        assert_eq!(found, Some(sku), "{written}");
    }

    #[test]
    fn a_machine_must_give_the_sku_exactly() {
        let shop = shop();
        assert_eq!(shop.by_sku("PZ-1").unwrap().name, "Pizza");
        assert_eq!(shop.by_sku("pz-1"), None);
        assert_eq!(shop.by_sku("Pizza"), None);
    }

    #[test]
    fn case_spacing_and_accents_do_not_matter() {
        assert_finds("PIZZA", "PZ-1");
        assert_finds("cocacola", "CC-330");
        assert_finds(" coca   cola ", "CC-330");
        assert_finds("cafe creme 🍰", "CF");
        assert_finds("pz1", "PZ-1");
        assert_finds("cc ٣٣٠", "CC-330");
    }

    #[test]
    fn a_plural_finds_the_singular() {
        assert_finds("pizzas", "PZ-1");
        assert_finds("gift boxes", "BX");
        assert_finds("Blueberries", "BR");
        assert_finds("wine glasses", "GL");
        assert_finds("Coca Colas", "CC-330");
    }

    #[test]
    fn a_singular_finds_the_plural() {
        assert_finds("fish and chip", "FC");
    }

    #[test]
    fn an_arabic_plural_or_article_finds_the_singular() {
        assert_finds("بيتزات", "PZ-1");
        assert_finds("البيتزا", "PZ-1");
        assert_finds("قهوات", "CF");
        assert_finds("قَهوه", "CF");
    }

    #[test]
    fn a_short_arabic_word_keeps_its_ending() {
        let shop = Catalogue::new(vec![product("A", "جبه", &[])]);
        assert_eq!(shop.find("جبا"), None);
    }

    #[test]
    fn an_ampersand_stands_for_and() {
        assert_finds("fish & chips", "FC");
    }

    #[test]
    fn a_name_shared_by_two_products_finds_neither() {
        let shop = Catalogue::new(vec![
            product("A", "Small pizza", &["pizza"]),
            product("B", "Large pizza", &["Pizza!"]),
        ]);
        assert_eq!(shop.find("pizza"), None);
        assert_eq!(shop.find("pizzas"), None);
        assert_eq!(shop.find("large pizzas").unwrap().sku, "B");
    }

    #[test]
    fn one_product_may_repeat_its_own_name() {
        let shop = Catalogue::new(vec![product("pizza", "Pizza", &["PIZZA", "pizzas"])]);
        assert_eq!(shop.find("pizza").unwrap().name, "Pizza");
    }

    #[test]
    fn a_close_fit_wins_over_a_plural() {
        let shop = Catalogue::new(vec![
            product("ONE", "Chip", &[]),
            product("MANY", "Chips", &[]),
        ]);
        assert_eq!(shop.find("chip").unwrap().sku, "ONE");
        assert_eq!(shop.find("CHIPS").unwrap().sku, "MANY");
    }

    #[test]
    fn a_sku_shared_by_two_products_finds_neither() {
        let shop = Catalogue::new(vec![product("A", "Tea", &[]), product("A", "Rice", &[])]);
        assert_eq!(shop.by_sku("A"), None);
    }

    #[test]
    fn nothing_written_finds_nothing() {
        let shop = Catalogue::new(vec![product("", "🍕", &["and"])]);
        for written in ["", "  ", "🍕", "!?"] {
            assert_eq!(shop.find(written), None, "{written:?}");
            assert_eq!(shop.nearest(written), None, "{written:?}");
        }
    }

    #[test]
    fn a_misspelling_is_near_the_name_it_resembles() {
        let shop = shop();
        assert_eq!(shop.nearest("piza").unwrap().sku, "PZ-1");
        assert_eq!(shop.nearest("cocacolla").unwrap().sku, "CC-330");
        assert_eq!(shop.nearest("بيتزه").unwrap().sku, "PZ-1");
    }

    #[test]
    fn what_resembles_no_name_is_near_nothing() {
        assert_eq!(shop().nearest("umbrella"), None);
    }

    #[test]
    fn of_products_equally_near_the_first_is_suggested() {
        let shop = Catalogue::new(vec![
            product("A", "Tea one", &["tea"]),
            product("B", "Tea two", &["tea"]),
        ]);
        assert_eq!(shop.nearest("tea").unwrap().sku, "A");
    }
}
