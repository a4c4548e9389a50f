//! The partition of a user's events.

/// Returns the partition of a user's events among `partitions`, the same in every process and version: Kafka's own hash
/// of keys (32-bit MurmurHash2 of the UTF-8 bytes with seed 0x9747b28c, its sign bit cleared), so that any other client
/// that partitions by the user finds the same one.
///
/// `partitions` is at least 1; returns 0 for less.
#[must_use]
pub fn partition_of(user_id: &str, partitions: i32) -> i32 {
    let positive = (murmur2(user_id.as_bytes()) & 0x7fff_ffff).cast_signed();
    positive % partitions.max(1)
}

/// Computes the 32-bit MurmurHash2 with the seed that Kafka uses.
fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const MULTIPLIER: u32 = 0x5bd1_e995;
    // The hash takes the length modulo 2^32.
    #[allow(clippy::cast_possible_truncation)]
    let mut hash = SEED ^ bytes.len() as u32;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut word = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        word ^= word >> 24;
        hash = hash.wrapping_mul(MULTIPLIER) ^ word.wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u32::from_le_bytes(last)).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// These must never change: a user's events would no longer be in order, and a user could be written twice.
    #[test]
    fn the_hash_is_kafkas() {
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), hash, "{text}");
        }
    }

    #[test]
    fn users_keep_their_partition() {
        let of = |user| (partition_of(user, 3), partition_of(user, 12));
        assert_eq!(of("user-1"), (2, 8));
        assert_eq!(of("abc"), (0, 3));
        assert_eq!(of("회원-7"), (2, 5));
        assert_eq!(of(""), (0, 9));
    }

    #[test]
    fn users_spread_over_all_partitions() {
        let mut counts = [0; 12];
        for user in 0..12_000 {
            counts[usize::try_from(partition_of(&user.to_string(), 12)).unwrap()] += 1;
        }
        assert!(
            counts.iter().all(|count| (800..1_200).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn no_number_of_partitions_is_too_odd() {
        assert_eq!(partition_of("user-1", 1), 0);
        assert_eq!(partition_of("user-1", 0), 0);
    }
}
