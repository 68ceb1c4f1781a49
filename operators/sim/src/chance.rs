//! Chance that can be repeated: what is drawn depends on the seed and on what it is drawn for, never on the order of draws.

/// A seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chance(pub u64);

impl Chance {
    /// A number for one purpose.
    pub fn draw(self, purpose: &[&str]) -> u64 {
        let mut hash = self.0 ^ 0xcbf2_9ce4_8422_2325;
        for part in purpose {
            // 0xff is in no UTF-8 text, so that ("ab", "c") is not ("a", "bc").
            for byte in part.bytes().chain([0xff]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        mixed(hash)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(self, low: u64, high: u64, purpose: &[&str]) -> u64 {
        low + self.draw(purpose) % (high - low + 1)
    }

    /// A number from 0 to 1.
    #[allow(clippy::cast_precision_loss)] // 53 bits fit
    pub fn fraction(self, purpose: &[&str]) -> f64 {
        (self.draw(purpose) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Another seed, for one purpose.
    #[must_use]
    pub fn branch(self, purpose: &[&str]) -> Self {
        Self(self.draw(purpose))
    }
}

/// The finalizer of `SplitMix64`: every bit of the input moves every bit of the output.
fn mixed(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_depends_on_seed_and_purpose_alone() {
        let chance = Chance(7);
        assert_eq!(chance.draw(&["a", "b"]), Chance(7).draw(&["a", "b"]));
        assert_ne!(chance.draw(&["a", "b"]), chance.draw(&["ab", ""]));
        assert_ne!(chance.draw(&["a"]), Chance(8).draw(&["a"]));
        let drawn: std::collections::BTreeSet<u64> = (0..200)
            .map(|n| chance.between(3, 9, &[&n.to_string()]))
            .collect();
        assert_eq!(drawn, (3..=9).collect());
        assert!((0..200).all(|n| (0.0..1.0).contains(&chance.fraction(&[&n.to_string()]))));
    }
}
