//! Chance that is the same for the same seed: planners are given a seed and stay pure.

/// Letters and digits of generated names: those of Kubernetes, without vowels and what looks alike, so that no words come up.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A row of numbers that follows from a seed (`SplitMix64`).
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    /// Begins a row.
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number.
    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns so many letters.
    pub(super) fn letters(&mut self, count: usize) -> String {
        let mut number = self.next();
        let base = LETTERS.len() as u64;
        (0..count)
            .map(|_| {
                let letter = usize::try_from(number % base).unwrap_or_default();
                number /= base;
                char::from(LETTERS[letter])
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_row_and_another_one_another() {
        let row = |seed| {
            let mut random = Random::new(seed);
            (0..4).map(|_| random.letters(5)).collect::<Vec<_>>()
        };
        assert_eq!(row(1), row(1));
        assert_ne!(row(1), row(2));
    }

    #[test]
    fn names_rarely_meet() {
        let mut random = Random::new(7);
        let names: BTreeSet<String> = (0..1000).map(|_| random.letters(5)).collect();
        assert!(names.len() >= 999);
        assert!(names.iter().all(|n| n.bytes().all(|b| LETTERS.contains(&b))));
    }
}
