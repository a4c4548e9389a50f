//! The filter forgets no holder. The tests of holders check that it is asked in the right places.
#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn holders_are_found_and_few_others_are() {
    let filter = HolderFilter::default();
    let user = |number: i64| format!("user {number}");
    let template = |number: i64| TemplateId(number % 7);
    for number in 0..200_000 {
        filter.add(template(number), &user(number));
    }
    assert!(!filter.surely_has_none(TemplateId(1), "before it is whole"));
    filter.declare_whole();
    for number in 0..200_000 {
        assert!(!filter.surely_has_none(template(number), &user(number)));
    }
    let strangers = (200_000..400_000)
        .filter(|&number| !filter.surely_has_none(template(number), &user(number)));
    let of_others =
        (0..200_000).filter(|&number| !filter.surely_has_none(template(number + 1), &user(number)));
    let mistaken = strangers.count() + of_others.count();
    assert!(mistaken < 400, "{mistaken} of 400,000");
}
