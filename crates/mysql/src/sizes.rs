//! Cuts lists of values into a few fixed sizes, so that lists of any length need only a few prepared statements.

/// The numbers of rows or values that one statement may have.
const SIZES: [usize; 4] = [256, 64, 8, 1];

/// Cuts `all` into pieces of [`SIZES`]. Each piece comes with the text that repeats `mark` once per value.
pub(crate) fn in_sizes<'a, T>(
    all: &'a [T],
    mark: &'static str,
) -> impl Iterator<Item = (String, &'a [T])> {
    let mut rest = all;
    std::iter::from_fn(move || {
        let size = SIZES.into_iter().find(|size| *size <= rest.len())?;
        let (some, after) = rest.split_at(size);
        rest = after;
        Some((vec![mark; size].join(", "), some))
    })
}

/// Cuts the values of an IN list into pieces of [`SIZES`]. Each piece comes with its question marks. The last piece is
/// filled up by repeating its last value, which does not change the rows that are found.
pub(crate) fn in_lists<T: Clone>(all: &[T]) -> impl Iterator<Item = (String, Vec<T>)> {
    let [largest, ..] = SIZES;
    all.chunks(largest).map(move |some| {
        let fits = SIZES.into_iter().rev().find(|size| *size >= some.len());
        let size = fits.unwrap_or(largest);
        let last = some.last().into_iter().cycle();
        let filled = some.iter().chain(last).take(size).cloned().collect();
        (vec!["?"; size].join(", "), filled)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn pieces_have_the_fixed_sizes_and_make_up_the_list() {
        let mut sizes = HashSet::new();
        for length in 0..600_usize {
            let all: Vec<usize> = (0..length).collect();
            let mut exact = Vec::new();
            for (marks, some) in in_sizes(&all, "(?, ?)") {
                assert_eq!(marks.matches("(?, ?)").count(), some.len());
                exact.extend_from_slice(some);
            }
            assert_eq!(exact, all);
            let mut asked = Vec::new();
            for (marks, some) in in_lists(&all) {
                assert_eq!(marks.matches('?').count(), some.len());
                sizes.insert(some.len());
                asked.extend(some);
            }
            asked.dedup();
            assert_eq!(asked, all);
        }
        assert_eq!(sizes, HashSet::from(SIZES));
    }
}
