//! Windows of time.

use super::*;

#[test]
fn a_window_is_of_whole_hours() {
    for (text, hours) in [("1h", 1), ("24h", 24), ("720h", 720)] {
        assert_eq!(text.parse(), Ok(Window(hours)), "{text}");
    }
    for text in [
        "",
        "h",
        "24",
        "0h",
        "721h",
        "+1h",
        "-1h",
        "1.5h",
        "1d",
        "99999999999h",
    ] {
        assert!(text.parse::<Window>().is_err(), "{text}");
    }
}

#[test]
fn a_window_ends_with_the_hour_that_it_is() {
    let now = Timestamp::now();
    let hours: Vec<_> = Window(3).hours(now).collect();
    let last = now.hour();
    assert_eq!(hours, [last.before(2 * HOUR), last.before(HOUR), last]);
}
