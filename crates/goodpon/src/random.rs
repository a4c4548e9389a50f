//! Random bytes from a ChaCha generator per thread, which the operating system seeds.

use goodpon_application::ports::Random;
use rand::Rng;

/// The generator: cheap per call, and fit for secrets.
pub struct SecureRandom;

impl Random for SecureRandom {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the implementation of the random port"
    )]
    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }
}

/// Returns `N` random bytes as lowercase hex digits.
pub fn hex<const N: usize>(random: &dyn Random) -> String {
    let mut bytes = [0; N];
    random.fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_has_two_digits_a_byte_and_never_repeats() {
        let (one, other) = (hex::<16>(&SecureRandom), hex::<16>(&SecureRandom));
        assert_eq!(one.len(), 32);
        assert_ne!(one, other);
    }
}
