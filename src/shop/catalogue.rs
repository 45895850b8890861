//! Finds a retailer's product by what a person or a machine calls it. It must not know about
//! orders, quantities, messages or where products are stored.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use uuid::Uuid;

use super::{
    fold::{fold, fold_compact},
    stems::{loose, loosest},
};

/// How alike, from 0 to 1, two texts must be for one to be worth suggesting for the other.
const LIKENESS_THRESHOLD: f64 = 0.85;

/// How much of a text is compared with how much of each name, in characters: few product names are
/// longer, and the comparison's cost grows with it.
const MAX_COMPARED_CHARS: usize = 80;

/// The forms in which a folded name is indexed, the strictest first.
const FORMS: [fn(&str) -> String; 4] = [fold, fold_compact, loose, loosest];

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
    /// The start of every folded name, once, with the position of the first product called so.
    folded_names: Vec<(FoldedPrefix, usize)>,
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
    /// misspelt it; of products equally alike, the first. `None` if nothing is much like it, or if
    /// nothing like it is of about the same length.
    pub fn nearest(&self, written: &str) -> Option<&Product> {
        self.find(written)
            .or_else(|| self.nearest_spelling(&fold_something(written)?))
    }

    /// Looks at every name, so what it does for each must be cheap.
    fn nearest_spelling(&self, folded: &str) -> Option<&Product> {
        let start = FoldedPrefix::of(folded);
        let (position, _) = self
            .folded_names
            .iter()
            .filter(|(name, _)| start.is_of_like_length(name))
            .map(|(name, position)| (*position, start.likeness(name)))
            .filter(|(_, likeness)| *likeness >= LIKENESS_THRESHOLD)
            // `max_by` keeps the last of equals, so from the back it is the first.
            .rev()
            .max_by(|(_, one), (_, other)| one.total_cmp(other))?;
        self.products.get(position)
    }

    fn index_name(&mut self, folded: &str, position: usize) {
        let [exact, ..] = &self.names;
        if exact.get(folded).is_none() {
            self.folded_names.push((FoldedPrefix::of(folded), position));
        }
        for (form, index) in FORMS.iter().zip(&mut self.names) {
            index.insert(form(folded), position);
        }
    }

    fn product(&self, fit: Matches) -> Option<&Product> {
        match fit {
            Matches::One(position) => self.products.get(position),
            Matches::Several => None,
        }
    }
}

/// The products that fit one text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Matches {
    /// The position of the only one.
    One(usize),
    Several,
}

/// Which products fit each text.
#[derive(Debug, Default)]
struct Index(HashMap<String, Matches>);

impl Index {
    fn insert(&mut self, text: String, position: usize) {
        match self.0.entry(text) {
            Entry::Vacant(entry) => {
                entry.insert(Matches::One(position));
            }
            Entry::Occupied(mut entry) if *entry.get() != Matches::One(position) => {
                entry.insert(Matches::Several);
            }
            Entry::Occupied(_) => {}
        }
    }

    fn get(&self, text: &str) -> Option<Matches> {
        self.0.get(text).copied()
    }
}

/// Text folded, unless nothing is left: a text of symbols only would fit every name of symbols only.
fn fold_something(written: &str) -> Option<String> {
    Some(fold(written)).filter(|folded| !folded.is_empty())
}

/// The start of a folded text, as it is compared with others for likeness.
#[derive(Debug)]
struct FoldedPrefix {
    text: String,
    chars: usize,
}

impl FoldedPrefix {
    fn of(folded: &str) -> Self {
        let text: String = folded.chars().take(MAX_COMPARED_CHARS).collect();
        let chars = text.chars().count();
        Self { text, chars }
    }

    /// Whether a name's length differs by no more than 40 % from that of what was written. Told
    /// before the costly comparison, which a catalogue of thousands could not bear for each name.
    fn is_of_like_length(&self, name: &Self) -> bool {
        name.chars.abs_diff(self.chars) * 5 <= self.chars * 2
    }

    fn likeness(&self, name: &Self) -> f64 {
        strsim::jaro_winkler(&self.text, &name.text)
    }
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
    fn an_arabic_word_that_is_another_with_an_ending_is_not_that_word() {
        let labneh = Catalogue::new(vec![product("LABNEH", "لبنة", &[])]);
        assert_eq!(labneh.find("لبن"), None);
        assert_eq!(labneh.find("لبنات").unwrap().sku, "LABNEH");
        let milk = Catalogue::new(vec![product("MILK", "لبن", &[])]);
        for written in ["لبنة", "لبنا", "لبنات"] {
            assert_eq!(milk.find(written), None, "{written}");
        }
    }

    #[test]
    fn an_arabic_plural_finds_a_singular_without_an_ending() {
        let shop = Catalogue::new(vec![
            product("BG", "برجر", &[]),
            product("DR", "مشروبات", &[]),
        ]);
        assert_eq!(shop.find("برجرات").unwrap().sku, "BG");
        assert_eq!(shop.find("مشروب").unwrap().sku, "DR");
    }

    #[test]
    fn an_english_singular_that_looks_like_a_plural_agrees_with_its_plural() {
        let words = [
            ("Contact lens", "contact lenses"),
            ("Bus", "buses"),
            ("Dress", "dresses"),
            ("Gas", "gases"),
            ("Cactus", "cacti"),
            ("Octopus", "octopuses"),
            ("License", "licenses"),
            ("Bean", "beans"),
        ];
        for (singular, plural) in words {
            for (sold, written) in [(singular, plural), (plural, singular)] {
                let shop = Catalogue::new(vec![product("SKU", sold, &[])]);
                assert!(shop.find(written).is_some(), "{written} for {sold}");
            }
        }
    }

    #[test]
    fn a_decimal_is_not_the_number_without_its_point() {
        let shop = Catalogue::new(vec![
            product("W", "Water 15L", &[]),
            product("S", "Sneaker 45", &[]),
            product("J", "Juice 1.5 L", &[]),
        ]);
        for written in [
            "water 1.5L",
            "waters 1.5L",
            "sneaker 4.5",
            "sneakers 4 and 5",
        ] {
            assert_eq!(shop.find(written), None, "{written}");
        }
        for written in ["juice 1,5l", "juices 1.5l"] {
            assert_eq!(shop.find(written).unwrap().sku, "J", "{written}");
        }
    }

    #[test]
    fn a_plus_makes_another_product() {
        let shop = Catalogue::new(vec![product("15", "iPhone 15", &[])]);
        assert_eq!(shop.find("iPhone 15+"), None);
        assert_eq!(shop.find("iPhones 15+"), None);
        let shop = Catalogue::new(vec![product("15", "iPhone 15 Plus", &[])]);
        assert_eq!(shop.find("iphones 15+").unwrap().sku, "15");
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
    fn a_name_of_quite_another_length_is_not_near() {
        let shop = Catalogue::new(vec![product("M", "Margherita", &[])]);
        assert_eq!(shop.nearest("marg"), None);
        assert_eq!(shop.nearest("margerit").unwrap().sku, "M");
    }

    #[test]
    fn only_the_start_of_a_long_name_is_compared() {
        let shop = Catalogue::new(vec![product("LONG", &"long name ".repeat(30), &[])]);
        assert_eq!(shop.nearest(&"lnog name ".repeat(40)).unwrap().sku, "LONG");
    }

    #[test]
    fn a_name_that_several_products_share_is_compared_once() {
        let shop = Catalogue::new(vec![
            product("tea", "Tea", &["TEA"]),
            product("A", "tea", &[]),
        ]);
        assert_eq!(shop.folded_names.len(), 2);
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
