//! Redis Cluster's key space: CRC16, hash tags, and which node serves which slot.

use redis::Value;

/// Slots of a Redis Cluster.
pub const SLOTS: u16 = 16384;
/// Shards a fan-out is divided into: thirds of the slots, as `redis-cli --cluster create` deals them to three primaries.
pub const SHARDS: i16 = 3;

const TABLE: [u16; 256] = crc_table();

const fn crc_table() -> [u16; 256] {
    let mut table = [0_u16; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 {
                (crc << 1) ^ 0x1021
            } else {
                crc << 1
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// CRC-16/XMODEM, the one Redis Cluster uses.
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)]
    })
}

/// The slot of a key: of the part between the first `{` and the next `}` when that is not empty.
pub fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter()
            .position(|byte| *byte == b'}')
            .filter(|length| *length > 0)
            .map(|length| &rest[..length])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// The third of the slots that `slot` lies in: 0, 1 or 2.
pub fn shard(slot: u16) -> i16 {
    // redis-cli rounds the borders as 16384 / 3 * i: 0-5460, 5461-10922, 10923-16383.
    match slot {
        0..=5460 => 0,
        5461..=10922 => 1,
        _ => 2,
    }
}

/// Which primary serves which slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotMap {
    /// (first slot, last slot, `host:port` of the primary), sorted.
    ranges: Vec<(u16, u16, String)>,
}

impl SlotMap {
    /// The primary of `slot`, when one is known.
    pub fn node(&self, slot: u16) -> Option<&str> {
        let after = self.ranges.partition_point(|(first, _, _)| *first <= slot);
        let (_, last, node) = self.ranges.get(after.checked_sub(1)?)?;
        (slot <= *last).then_some(node)
    }

    /// All primaries, each once.
    pub fn nodes(&self) -> Vec<&str> {
        let mut nodes: Vec<_> = self.ranges.iter().map(|(_, _, node)| node.as_str()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// Slots that some primary serves.
    pub fn covered(&self) -> usize {
        self.ranges
            .iter()
            .map(|(first, last, _)| usize::from(last - first) + 1)
            .sum()
    }

    /// Reads a `CLUSTER SLOTS` reply that `asked` gave; an empty host means the node asked.
    pub fn parse(reply: &Value, asked: &str) -> Option<Self> {
        let Value::Array(rows) = reply else { return None };
        let mut ranges = Vec::with_capacity(rows.len());
        for row in rows {
            let Value::Array(row) = row else { return None };
            let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = row.as_slice() else {
                return None;
            };
            let [host, Value::Int(port), ..] = primary.as_slice() else {
                return None;
            };
            let host = match host {
                Value::BulkString(host) if !host.is_empty() => String::from_utf8(host.clone()).ok()?,
                _ => asked.rsplit_once(':')?.0.to_owned(),
            };
            ranges.push((
                u16::try_from(*first).ok()?,
                u16::try_from(*last).ok()?,
                format!("{host}:{port}"),
            ));
        }
        ranges.sort();
        Some(Self { ranges })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_and_slots_agree_with_redis() {
        // From the Redis Cluster specification and CLUSTER KEYSLOT.
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(slot(b"foo"), 12182);
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(slot(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot(b"foo{{bar}}zap"), crc16(b"{bar") % SLOTS);
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
        assert_eq!(slot(b""), 0);
    }

    fn row(first: i64, last: i64, host: &str) -> Value {
        let host = Value::BulkString(host.as_bytes().to_vec());
        Value::Array(vec![
            Value::Int(first),
            Value::Int(last),
            Value::Array(vec![host, Value::Int(6379)]),
        ])
    }

    #[test]
    fn a_map_knows_its_holes() {
        let reply = Value::Array(vec![row(10923, 16383, "c"), row(0, 5460, "")]);
        let map = SlotMap::parse(&reply, "seed:7000").expect("parses");
        assert_eq!(map.node(0), Some("seed:6379"));
        assert_eq!(map.node(5460), Some("seed:6379"));
        assert_eq!(map.node(5461), None);
        assert_eq!(map.node(16383), Some("c:6379"));
        assert_eq!(map.covered(), 5461 + 5461);
        assert_eq!(map.nodes(), ["c:6379", "seed:6379"]);
    }

    #[test]
    fn every_slot_has_a_shard_of_a_third() {
        let mut sizes = [0; 3];
        for slot in 0..SLOTS {
            sizes[usize::try_from(shard(slot)).expect("0, 1 or 2")] += 1;
        }
        assert_eq!(sizes, [5461, 5462, 5461]);
    }
}
