//! Which passwords are guessed first: those that zxcvbn scores 0.

use zxcvbn::{Score, zxcvbn};

/// What zxcvbn reads as a letter: each entry is one letter's symbols.
const SYMBOLS: [&str; 12] = [
    "4@", "8", "({[<", "3", "69", "1!|", "1|7", "0", "$5", "+7", "%", "2",
];

/// The most that a judgement may cost, in readings of the password × its length squared: some 90 ms, as a hash does.
/// Without a bound 100 characters of many symbols take 2 s. Up to 20 characters are judged whatever they are.
const MOST_WORK: usize = 250_000;

/// Whether a password is among the first that are guessed of somebody of whom `about` is known.
pub fn is_guessed_first(password: &str, about: &[String]) -> bool {
    if is_laborious(password) {
        return false;
    }
    let about: Vec<&str> = about.iter().map(String::as_str).collect();
    zxcvbn(password, &about).score() == Score::Zero
}

/// Whether a password is long and has several symbols each for several letters, all of whose readings zxcvbn would try
/// one by one. No word or name that is written with symbols for letters has that, so it is not guessed first.
fn is_laborious(password: &str) -> bool {
    let length = password.chars().count();
    let readings = SYMBOLS.iter().map(|symbols| {
        let there = symbols.chars().filter(|symbol| password.contains(*symbol));
        there.count().max(1)
    });
    let readings: usize = readings.product();
    length * length * readings > MOST_WORK
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
    fn what_everybody_tries_first_is_refused() {
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
    fn whatever_is_judged_is_judged_at_a_bounded_cost() {
        let all = SYMBOLS.concat();
        assert!(is_laborious(&all.repeat(5)));
        assert!(!is_laborious(&all[..20]));
        // Digits, letters and what stands in addresses, as long as a password may be.
        assert!(!is_laborious(&"0123456789._-abcdefghi".repeat(5)[..100]));
        assert!(!is_laborious(&"p4$$w0rd".repeat(12)));
    }

    /// The shortest that are passed over, in any order: what is longer is guessed no earlier.
    #[test]
    fn what_is_passed_over_would_not_be_refused() {
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
                prop_assert!(is_laborious(&password));
                prop_assert_ne!(zxcvbn(&password, &about).score(), Score::Zero);
                Ok(())
            })
            .unwrap_or_else(|error| panic!("{error}"));
    }
}
