//! A hash that is the same in every version of the SDK, on every machine.
//!
//! The standard library's hash may change between compiler versions, and every node would then choose differently after
//! an update.

/// Returns a hash of a text, evenly spread over all values (FNV-1a, then SplitMix64's finaliser).
///
/// With [`Context::seed`](crate::Context) nodes choose differently; with a constant they all choose the same.
pub fn stable(seed: u64, text: &str) -> u64 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut z = hash ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Returns a number below `limit`, chosen by the text; 0 if `limit` is 0.
pub fn below(seed: u64, text: &str, limit: u32) -> u32 {
    // The upper half of a product is as even as a remainder and needs no division.
    ((u128::from(stable(seed, text)) * u128::from(limit)) >> 64) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_never_changes() {
        assert_eq!(stable(0, ""), 17665956581633026203);
        assert_eq!(stable(0, "shop/web"), stable(0, "shop/web"));
        assert_ne!(stable(0, "shop/web"), stable(1, "shop/web"));
    }

    #[test]
    fn choices_are_even_and_in_range() {
        let mut counts = [0u32; 10];
        for i in 0..10_000 {
            counts[below(7, &format!("10.0.{}.{}", i / 256, i % 256), 10) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
        assert_eq!(below(7, "a", 0), 0);
        assert_eq!(below(7, "a", 1), 0);
    }
}
