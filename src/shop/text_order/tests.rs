//! What texts order.

use super::*;
use crate::shop::fold::fold;
use uuid::Uuid;

fn product(sku: &str, aliases: &[&str]) -> Product {
    Product {
        id: Uuid::now_v7(),
        sku: sku.to_owned(),
        name: sku.to_owned(),
        aliases: aliases.iter().map(|&alias| alias.to_owned()).collect(),
        price_minor: 250,
    }
}

fn shop() -> Catalogue {
    Catalogue::new(vec![
        product("Pizza", &["بيتزا", "披萨"]),
        product("Margherita", &["بيتزا مارغريتا"]),
        product("Coca-Cola", &["cola", "كولا"]),
        product("Fish and chips", &[]),
        product("Fish", &[]),
        product("Macaroni", &["mac and cheese"]),
        product("Salt and oil and lime", &[]),
        product("7UP", &[]),
        product("Rice", &["أرز"]),
        product("Box", &[]),
        product("Berry", &[]),
        product("Glass", &[]),
        product("XL", &[]),
    ])
}

/// The lines of an order as "quantity sku", or nothing if the text is not one.
fn order(text: &str) -> Vec<String> {
    match read(text, &shop()) {
        Reading::Order(lines) => lines
            .iter()
            .map(|line| format!("{} {}", line.quantity, line.product.sku))
            .collect(),
        _ => Vec::new(),
    }
}

/// The texts that were misread, or nothing if none were.
fn misread(text: &str) -> Vec<String> {
    match read(text, &shop()) {
        Reading::Misunderstood(misreads) => misreads.into_iter().map(|m| m.text).collect(),
        _ => Vec::new(),
    }
}

fn suggestion(text: &str) -> Option<String> {
    match read(text, &shop()) {
        Reading::Misunderstood(misreads) => Some(misreads.first()?.nearest?.sku.clone()),
        _ => None,
    }
}

#[track_caller]
fn assert_orders(texts: &[&str], expected: &[&str]) {
    for text in texts {
        assert_eq!(order(text), expected, "{text:?}");
    }
}

#[track_caller]
fn assert_misreads(texts: &[&str]) {
    for text in texts {
        assert_eq!(misread(text), [*text], "{text:?}");
    }
}

#[test]
fn lines_are_cut_at_separators_and_at_and() {
    let texts = [
        "2 pizzas and 3 cola",
        "2 pizzas AND 3 cola and",
        "2 pizza, 3 cola",
        "2 pizza\r\n\r\n3 cola\n",
        "2 pizza; 3 cola",
        "2 pizza & 3 cola",
        "2 pizza + 3 cola",
        "2 pizza، 3 cola",
        "2 pizza؛ 3 cola",
        "2 披萨，3 cola",
    ];
    assert_orders(&texts, &["2 Pizza", "3 Coca-Cola"]);
}

#[test]
fn arabic_is_read_as_english_is() {
    let texts = [
        "٢ بيتزا مارغريتا و ٣ كولا",
        "٢ بيتزا مارغريتا و٣ كولا",
        "أريد ٢ بيتزا مارغريتا، ٣ كولا من فضلك",
        "\u{200F}۲ بيتزا مارغريتا\n\u{200F}۳ كولا",
    ];
    assert_orders(&texts, &["2 Margherita", "3 Coca-Cola"]);
    assert_orders(&["أريد ٢ بيتزا"], &["2 Pizza"]);
    assert_orders(&["طلب: ٢ بيتزات، شكراً"], &["2 Pizza"]);
}

#[test]
fn scripts_may_be_mixed() {
    assert_orders(
        &["٢ pizza و 3 كولا", "２ بيتزا and ३ Coca Cola"],
        &["2 Pizza", "3 Coca-Cola"],
    );
}

#[test]
fn a_plural_orders_the_singular() {
    assert_orders(
        &["2 pizzas, 3 boxes, 4 berries, 5 glasses, 6 margheritas"],
        &["2 Pizza", "3 Box", "4 Berry", "5 Glass", "6 Margherita"],
    );
}

#[test]
fn a_multiplication_sign_may_follow_the_quantity() {
    let texts = [
        "2x pizza",
        "2 x pizza",
        "2X pizza",
        "2×pizza",
        "2 × pizza",
        "2*pizza",
        "2xpizza",
    ];
    assert_orders(&texts, &["2 Pizza"]);
}

#[test]
fn a_name_that_begins_with_x_keeps_its_x() {
    assert_orders(&["2 xl", "2x xl", "2 x xl"], &["2 XL"]);
    let sizes = Catalogue::new(vec![product("XL", &[]), product("L", &[])]);
    assert!(matches!(read("2 xl", &sizes), Reading::Order(_)));
    assert!(matches!(read("2xl", &sizes), Reading::Misunderstood(_)));
}

#[test]
fn a_multiplication_sign_that_may_be_part_of_a_name_is_misread() {
    let shop = Catalogue::new(vec![product("X Large", &[]), product("Large", &[])]);
    let reading = read("2 x large", &shop);
    assert!(matches!(reading, Reading::Misunderstood(_)), "{reading:?}");
}

#[test]
fn a_name_that_begins_with_a_digit_needs_a_quantity_of_its_own() {
    assert_orders(&["2 7up", "2x 7up", "2x7 Up"], &["2 7UP"]);
    assert_misreads(&["7up"]);
    assert_eq!(suggestion("7up").as_deref(), Some("7UP"));
}

#[test]
fn a_quantity_may_touch_the_product_unless_together_they_name_another() {
    assert_orders(&["2pizza", "٢بيتزا"], &["2 Pizza"]);
    let shop = Catalogue::new(vec![product("7up", &[]), product("Up", &[])]);
    assert!(matches!(read("7up", &shop), Reading::Misunderstood(_)));
    assert!(matches!(read("7 up", &shop), Reading::Order(_)));
}

#[test]
fn a_name_may_have_and_in_it() {
    assert_orders(
        &["2 fish and chips and 1 cola", "2 fish & chips, 1 cola"],
        &["2 Fish and chips", "1 Coca-Cola"],
    );
    assert_orders(
        &["1 mac and cheese and 2 fish and 3 salt and oil and lime"],
        &["1 Macaroni", "2 Fish", "3 Salt and oil and lime"],
    );
}

#[test]
fn opening_and_closing_phrases_are_passed_over() {
    let texts = [
        "order 2 pizza",
        "Order:2 pizza",
        "Please order - 2 pizza.",
        "ORDER\n2 pizza\nThanks!",
        "I'd like 2 pizzas please, thank you 🙏",
        "I’d like: 2 pizza, please",
        "من فضلك أبي ٢ بيتزا",
        "Quisiera 2 pizzas por favor",
        "s'il vous plaît, 2 pizza merci",
        "can I have 2 pizzas?",
        "Could I have 2 pizzas",
        "can I get 2 pizzas",
        "I'll have 2 pizzas",
        "I will have 2 pizzas",
        "we want 2 pizzas",
        "give me 2 pizzas",
        "I would like to order 2 pizzas",
        "ممكن ٢ بيتزا",
        "عايز ٢ بيتزا",
        "عاوز ٢ بيتزا لو سمحت",
        "2 pizza thank you very much",
        "2 pizza, thank you so much!",
        "2 pizza\nthanks a lot",
        "٢ بيتزا شكرا جزيلا",
    ];
    assert_orders(&texts, &["2 Pizza"]);
}

#[test]
fn a_greeting_before_an_order_is_passed_over() {
    let texts = [
        "Hello\n2 pizza",
        "Hi, 2 pizzas please",
        "Hi 2 pizza",
        "Hi I want 2 pizzas",
        "Hi, I'd like 2 pizzas",
        "hey! 2 pizza",
        "Hello 👋\n\n2 pizza",
        "good morning, 2 pizza",
        "Good evening. 2 pizza",
        "Good afternoon can I have 2 pizzas",
        "السلام عليكم\n٢ بيتزا",
        "السلام عليكم ورحمة الله وبركاته، ٢ بيتزا",
        "السلام عليكم و رحمة الله و بركاته ٢ بيتزا",
        "مرحباً أريد ٢ بيتزا",
        "Bonjour, je voudrais 2 pizzas",
    ];
    assert_orders(&texts, &["2 Pizza"]);
}

#[test]
fn a_line_that_only_greets_or_thanks_is_passed_over() {
    assert_orders(
        &[
            "2 pizza\nhello\n1 cola",
            "Thank you\n2 pizza\n\nThanks,\n1 cola",
            "2 pizza and thanks and 1 cola, hi, please",
        ],
        &["2 Pizza", "1 Coca-Cola"],
    );
    assert_eq!(misread("2 pizza\n\nThanks,\nAna"), ["Ana"]);
    let most = vec!["1 rice"; MAX_LINES].join("\nhello\n");
    assert_orders(&[&(most + "\nthanks")], &["100 Rice"]);
}

#[test]
fn a_name_that_is_or_has_a_closing_phrase_can_be_ordered() {
    let shop = Catalogue::new(vec![
        product("Merci", &[]),
        product("Toffee", &[]),
        product("Toffee merci", &[]),
        product("Salt", &[]),
        product("Salt and merci", &[]),
    ]);
    let orders = [
        ("2 merci", "Merci"),
        ("2 merci please", "Merci"),
        ("2 merci, merci", "Merci"),
        ("2 toffee merci, please", "Toffee merci"),
        ("2 toffee please, thanks", "Toffee"),
        ("2 salt and merci", "Salt and merci"),
    ];
    for (text, sku) in orders {
        let Reading::Order(lines) = read(text, &shop) else {
            panic!("{text:?} is not an order");
        };
        let ordered: Vec<_> = lines
            .iter()
            .map(|l| (l.quantity, &*l.product.sku))
            .collect();
        assert_eq!(ordered, [(2, sku)], "{text:?}");
    }
    assert_misreads(&["2 merci"]);
}

#[test]
fn a_full_stop_before_a_quantity_ends_a_line() {
    let texts = [
        "2 pizza. 1 cola.",
        "2 pizza.\t 1x cola",
        "2 pizza please. 1 cola. Thanks.",
        "Hi. 2 pizza. 1 cola",
        "٢ بيتزا. ١ كولا",
    ];
    assert_orders(&texts, &["2 Pizza", "1 Coca-Cola"]);
    assert_eq!(misread("2 piza. 1 cola"), ["2 piza."]);
    assert_misreads(&[
        "2 pizza.1 cola",
        "1.5 rice",
        "1. 5 rice",
        "2 pizza. -1 cola",
    ]);
    assert_eq!(
        read("See you at 5. 2 of us", &shop()),
        Reading::Conversation
    );
}

#[test]
fn a_name_may_have_a_full_stop_before_a_number() {
    let shop = Catalogue::new(vec![product("Chanel No. 5", &[]), product("Soap", &[])]);
    let Reading::Order(lines) = read("1 chanel no. 5. 2 soap", &shop) else {
        panic!("not an order");
    };
    assert_eq!(lines.len(), 2);
}

#[test]
fn a_number_in_a_list_is_not_the_quantity() {
    let texts = ["1) 2 pizza\n2) 1 cola", "١) ٢ بيتزا\n٢) ١ كولا"];
    assert_orders(&texts, &["2 Pizza", "1 Coca-Cola"]);
    assert_misreads(&["1) pizza", "1 ) pizza", "1) 0 pizza", "1. 2 pizza"]);
    let list = ["1 - pizza", "2 - cola", "3 - rice"];
    assert_eq!(misread(&list.join("\n")), list);
    assert_eq!(suggestion("1) 2 piza").as_deref(), Some("Pizza"));
}

#[test]
fn a_sign_between_quantity_and_name_is_misread() {
    assert_misreads(&[
        "5 $ rice",
        "2 % rice",
        "5 € rice",
        "1 – rice",
        "1 : rice",
        "1 . rice",
        "2 x - rice",
    ]);
    let texts = [
        "2 (rice)",
        "2 \"rice\"",
        "2 x “rice”",
        "2 *rice*",
        "2 _rice_",
        "2 ⌚ rice",
    ];
    assert_orders(&texts, &["2 Rice"]);
}

#[test]
fn another_product_than_the_one_written_is_not_ordered() {
    let shop = Catalogue::new(vec![
        product("Water 15L", &[]),
        product("Sneaker 45", &[]),
        product("لبنة", &[]),
        product("iPhone 15", &[]),
    ]);
    for text in ["2 water 1.5L", "1 sneaker 4.5", "2 لبن", "1 iPhone 15+"] {
        let reading = read(text, &shop);
        assert!(matches!(reading, Reading::Misunderstood(_)), "{text:?}");
    }
}

#[test]
fn bullets_and_emoji_are_passed_over() {
    let texts = [
        "- 2 pizza\n- 1 cola",
        "• 2 pizza\n•1 cola",
        "* 2 pizza\n– 1 cola",
        "🍕 2 🍕 pizza 🍕, 🥤, 1 cola",
        "2\u{FE0F}\u{20E3} pizza\n1🥤cola",
        "*2 pizza*, *1 cola*",
    ];
    assert_orders(&texts, &["2 Pizza", "1 Coca-Cola"]);
}

#[test]
fn a_text_without_a_quantity_is_conversation() {
    let texts = [
        "",
        " \n ,",
        "hello",
        "Hi",
        "Hi, thank you very much!",
        "السلام عليكم",
        "order",
        "thanks",
        "what time do you open?",
        "I paid yesterday",
        "pizza and cola",
        "I want to pay, please",
        "السلام عليكم و رحمة الله",
        "🍕🍕",
        "my number is 2",
    ];
    for text in texts {
        assert_eq!(read(text, &shop()), Reading::Conversation, "{text:?}");
    }
}

#[test]
fn a_text_longer_than_any_message_is_conversation() {
    let longest = format!("2 pizza{}", " ".repeat(MAX_TEXT_CHARS - 7));
    assert_orders(&[&longest], &["2 Pizza"]);
    let too_long = longest + " ";
    assert_eq!(read(&too_long, &shop()), Reading::Conversation);
}

#[test]
fn a_quantity_that_cannot_be_ordered_is_misread() {
    assert_misreads(&[
        "0 rice",
        "10000 rice",
        "4294967298 rice",
        "99999999999999999999999 rice",
        "-2 rice",
        "−2 rice",
        "+2 rice",
        "1.5 rice",
        ".5 rice",
        "١٫٥ أرز",
        "½ rice",
        "2½ rice",
        "2² rice",
        "1/2 rice",
        "2% rice",
        "2 -2 7up",
    ]);
    assert_orders(&["9999 rice", "0009999 rice"], &["9999 Rice"]);
}

#[test]
fn a_minus_after_an_opening_or_a_bullet_is_still_a_minus() {
    assert_eq!(misread("order -2 rice"), ["-2 rice"]);
    assert_eq!(misread("- -2 rice"), ["- -2 rice"]);
}

#[test]
fn a_decimal_comma_is_misread() {
    assert_eq!(misread("1,5 rice"), ["1"]);
    assert_eq!(misread("1,000 rice"), ["1", "000 rice"]);
}

#[test]
fn a_quantity_without_a_product_is_misread() {
    assert_misreads(&["2", "2 🍕", "2 x", "2."]);
}

#[test]
fn one_misread_piece_spoils_the_order_and_only_misreads_are_listed() {
    let text = "2 piza, 3 cola, as always, 4 umbrellas";
    assert_eq!(misread(text), ["2 piza", "as always", "4 umbrellas"]);
}

#[test]
fn a_misread_suggests_the_nearest_product() {
    assert_eq!(suggestion("2 piza").as_deref(), Some("Pizza"));
    assert_eq!(suggestion("2x margarita").as_deref(), Some("Margherita"));
    assert_eq!(suggestion("1.5 rice please").as_deref(), Some("Rice"));
    assert_eq!(suggestion("2 7upp").as_deref(), Some("7UP"));
    assert_eq!(suggestion("٢ بيتزززا").as_deref(), Some("Pizza"));
    assert_eq!(suggestion("2 umbrellas"), None);
}

#[test]
fn only_the_first_misreads_of_a_text_get_a_suggestion() {
    let shop = shop();
    let text = ["2 piza"; MAX_SUGGESTIONS + 2].join("\n");
    let Reading::Misunderstood(misreads) = read(&text, &shop) else {
        panic!("misspelt pizzas were understood");
    };
    let suggested = misreads.iter().take_while(|m| m.nearest.is_some());
    assert_eq!(suggested.count(), MAX_SUGGESTIONS);
    assert_eq!(misreads.len(), MAX_SUGGESTIONS + 2);
}

#[test]
fn a_misspelt_name_with_and_in_it_is_one_misread() {
    let text = "2 fsh and chips and 1 cola";
    assert_eq!(misread(text), ["2 fsh and chips"]);
    assert_eq!(suggestion(text).as_deref(), Some("Fish and chips"));
}

#[test]
fn a_misread_is_quoted_short_and_without_control_characters() {
    assert_eq!(misread(" 2\tfoo\u{7}\u{202E}bar "), ["2 foobar"]);
    let quotation = misread(&format!("2 {}", "é".repeat(500)));
    assert_eq!(quotation, [format!("2 {}", "é".repeat(78))]);
}

#[test]
fn lines_for_the_same_product_are_added_up() {
    assert_orders(&["2 pizza, 1 cola, 3 بيتزا"], &["5 Pizza", "1 Coca-Cola"]);
}

#[test]
fn lines_that_add_up_to_too_many_are_misread() {
    assert_orders(&["9998 rice and 1 rice"], &["9999 Rice"]);
    assert_eq!(misread("9999 rice and 1 rice"), ["1 rice"]);
}

#[test]
fn too_many_lines_are_misread_from_the_first_too_many() {
    let most = vec!["1 rice"; MAX_LINES].join("\n");
    assert_orders(&[&most], &["100 Rice"]);
    assert_eq!(misread(&(most + "\n2 rice\n3 rice")), ["2 rice"]);
}

#[test]
fn no_text_makes_reading_fail() {
    const NASTY: [&str; 45] = [
        "2",
        "٣",
        "0",
        "9",
        "½",
        "²",
        "①",
        "x",
        "×",
        "*",
        "-",
        "−",
        ".",
        ",",
        "،",
        "\n",
        " ",
        "\t",
        "and",
        " and ",
        " و ",
        "و٣",
        "&",
        "order:",
        "please",
        " hi ",
        "pizza. 2 ",
        "1)",
        "+",
        "ات",
        "شكرا",
        "pizza",
        "fish",
        "chips",
        "İ",
        "ß",
        "\u{301}",
        "\u{202E}",
        "\0",
        "🍕",
        "👨\u{200D}👩",
        "ﷺ",
        "한",
        "\u{FFFF}",
        "\u{10FFFF}",
    ];
    let shop = shop();
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..3_000 {
        let text: String = (0..random(30))
            .map(|_| NASTY[random(NASTY.len())])
            .collect();
        if let Reading::Order(lines) = read(&text, &shop) {
            let mut quantities = lines.iter().map(|line| line.quantity);
            assert!(
                quantities.all(|q| (1..=MAX_QUANTITY).contains(&q)),
                "{text:?}"
            );
        }
        assert_eq!(fold(&fold(&text)), fold(&text), "{text:?}");
    }
    for unit in NASTY {
        for length in [1, 100, MAX_TEXT_CHARS / unit.chars().count(), 100_000] {
            read(&unit.repeat(length), &shop);
            read(
                &format!("2 {}", unit.repeat(length.saturating_sub(2))),
                &shop,
            );
        }
    }
}
