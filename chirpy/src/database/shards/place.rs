//! Where a post is, from its author or its id: pure.

/// A logical shard's number, from 0.
pub type Shard = i16;

/// As many as an id has room for.
pub const MAX_SHARDS: u16 = 64;

/// Bits of an id that tell its shard.
const BITS: u32 = MAX_SHARDS.trailing_zeros();
/// Ids below were given one after the other, before there were shards; those above are a number of `take_post_numbers` with
/// the shard in its lowest bits (schema/shards.sql). They stay below 2^53, the integers that JSON and Redis keep exactly.
const FIRST: i64 = 1 << 40;

/// The shard of an author's posts: multiplicative (Fibonacci) hashing of the id's lower 31 bits, as `post_shard` in
/// schema/shards.sql computes it. It may never change: posts are where it says.
pub fn of_author(author: i64, shards: u16) -> Shard {
    let hash = ((author & 0x7fff_ffff) * 2_654_435_761) & 0xffff_ffff;
    Shard::try_from((hash >> 16) % i64::from(shards)).unwrap_or_default()
}

/// The shard that an id tells; none of an id from before they did.
pub fn of_id(id: i64) -> Option<Shard> {
    let mask = (1 << BITS) - 1;
    (id >= FIRST).then(|| Shard::try_from(id & mask).unwrap_or_default())
}

/// The table of a shard.
pub fn table(shard: Shard) -> String {
    format!("posts_shard_{shard:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authors_stay_where_they_are() {
        // Of a stored post: these must never change.
        let of = |author| of_author(author, 8);
        assert_eq!([1, 2, 3, 4, 5, 3201, 1_000_000, i64::MAX].map(of), GOLDEN);
    }

    const GOLDEN: [Shard; 8] = [7, 6, 6, 5, 5, 0, 5, 0];

    #[test]
    fn authors_are_spread_evenly() {
        for shards in [2_u16, 7, 8, 64] {
            let mut counts = vec![0_u32; usize::from(shards)];
            for author in 1..=64_000 {
                if let Some(count) =
                    counts.get_mut(usize::try_from(of_author(author, shards)).unwrap_or_default())
                {
                    *count += 1;
                }
            }
            let even = 64_000 / u32::from(shards);
            for count in counts {
                assert!(
                    count * 10 > even * 8 && count * 10 < even * 12,
                    "{count} of {even}"
                );
            }
        }
    }

    #[test]
    fn an_id_tells_its_shard_unless_it_is_older_than_shards() {
        for shard in [0, 5, 63] {
            assert_eq!(of_id((1 << 40) | i64::from(shard)), Some(shard));
            assert_eq!(of_id((7 << 46) | i64::from(shard)), Some(shard));
        }
        assert_eq!(of_id(123_456), None);
        assert_eq!(of_id(-1), None);
    }
}
