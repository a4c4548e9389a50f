//! Detects the passwords that attackers guess first: those that zxcvbn scores 0 (contract §2).

use zxcvbn::{Score, zxcvbn};

/// The symbols that zxcvbn reads as letters; each entry has the symbols of one letter.
const SYMBOLS: [&str; 12] = [
    "4@", "8", "({[<", "3", "69", "1!|", "1|7", "0", "$5", "+7", "%", "2",
];

/// The largest cost of a password that zxcvbn scores: its readings × its length squared. At this bound it takes some 90 ms,
/// as long as a hash; without a bound, 100 characters with many symbols take 2 s. A password of up to 20 characters is
/// always within it.
const MAX_SCORING_COST: usize = 250_000;

/// Returns whether an attacker who knows the texts `known` about a person guesses this password among the first.
pub fn is_guessed_first(password: &str, known: &[String]) -> bool {
    if is_too_costly(password) {
        return false;
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    zxcvbn(password, &known).score() == Score::Zero
}

/// Returns whether scoring a password costs too much: it is long and has several symbols for each of several letters, and
/// zxcvbn would try all their readings. No word or name written with symbols is like that, so such a password is not
/// guessed first.
fn is_too_costly(password: &str) -> bool {
    let length = password.chars().count();
    let readings = SYMBOLS.iter().map(|symbols| {
        let present = symbols.chars().filter(|symbol| password.contains(*symbol));
        present.count().max(1)
    });
    let readings: usize = readings.product();
    length * length * readings > MAX_SCORING_COST
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

    use super::*;

    fn about() -> Vec<String> {
        [
            "kim.sohee@shop-example.co.kr",
            "kim.sohee",
            "김소희",
            "goodpon",
        ]
        .map(str::to_owned)
        .into()
    }

    #[test]
    fn common_passwords_and_those_from_known_texts_are_refused() {
        let about = about();
        for bad in [
            "password",
            "password123",
            "Password1",
            "p4$$w0rd",
            "12345678",
            "        ",
            "aaaaaaaa",
            "qwertyuiop",
            "abcdefgh",
            "passwordpassword",
            "11111111111111111111",
            "kim.sohee",
            "kim.sohee@shop-example.co.kr",
            "KIM.SOHEE",
            "김소희김소희김소희",
            "goodpongoodpon",
        ] {
            assert!(is_guessed_first(bad, &about), "{bad}");
        }
        for good in [
            "correct horse battery",
            "eight888",
            "Tr0ub4dor&3",
            "비밀번호12",
            "0f3a9c1be77d4520",
            "unmistakable-password-3141",
        ] {
            assert!(!is_guessed_first(good, &about), "{good}");
        }
    }

    #[test]
    fn only_long_passwords_with_many_symbols_cost_too_much() {
        let all = SYMBOLS.concat();
        assert!(is_too_costly(&all.repeat(5)));
        assert!(!is_too_costly(&all[..20]));
        // Digits, letters and the signs of addresses, in a password of the greatest length.
        assert!(!is_too_costly(&"0123456789._-abcdefghi".repeat(5)[..100]));
        assert!(!is_too_costly(&"p4$$w0rd".repeat(12)));
    }

    /// Tries the shortest passwords that cost too much, in any order of symbols; longer ones are not guessed earlier.
    #[test]
    fn a_password_that_costs_too_much_would_not_be_refused() {
        let symbols: Vec<char> = SYMBOLS.concat().chars().collect();
        let config = Config {
            cases: 20,
            failure_persistence: None,
            ..Config::default()
        };
        let about = about();
        let about: Vec<&str> = about.iter().map(String::as_str).collect();
        TestRunner::new(config)
            .run(&Just(symbols).prop_shuffle(), |symbols| {
                let password: String = symbols.into_iter().collect();
                prop_assert!(is_too_costly(&password));
                prop_assert_ne!(zxcvbn(&password, &about).score(), Score::Zero);
                Ok(())
            })
            .unwrap_or_else(|error| panic!("{error}"));
    }
}
