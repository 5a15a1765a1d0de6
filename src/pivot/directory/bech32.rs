//! Bech32, the form in which age writes keys (BIP 173). Pure.

const LETTERS: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// Reads a text of any length; returns the part before the last `1`, in lower case, and the bytes after it. Nothing if it is mistyped.
pub(super) fn decode(text: &str) -> Option<(String, Vec<u8>)> {
    let mixed = text.bytes().any(|b| b.is_ascii_uppercase()) && text.bytes().any(|b| b.is_ascii_lowercase());
    if mixed || !text.is_ascii() {
        return None;
    }
    let text = text.to_ascii_lowercase();
    let (prefix, rest) = text.rsplit_once('1')?;
    if prefix.is_empty() {
        return None;
    }
    let digits = rest.bytes().map(|b| LETTERS.iter().position(|l| *l == b));
    let digits: Vec<u8> = digits
        .map(|d| d.and_then(|d| u8::try_from(d).ok()))
        .collect::<Option<_>>()?;
    let data = digits.get(..digits.len().checked_sub(6)?)?;
    let sum = checksum(expanded(prefix).chain(digits.iter().copied()));
    if sum != 1 {
        return None;
    }
    Some((prefix.to_owned(), regroup(data, 5, 8, false)?))
}

/// Writes bytes with a prefix, in lower case.
pub(super) fn encode(prefix: &str, bytes: &[u8]) -> String {
    let data = regroup(bytes, 8, 5, true).unwrap_or_default();
    let sum = checksum(expanded(prefix).chain(data.iter().copied()).chain([0; 6])) ^ 1;
    let check = (0..6u32).map(|i| u8::try_from((sum >> (5 * (5 - i))) & 31).unwrap_or(0));
    let letters = data.iter().copied().chain(check);
    let text: String = letters
        .map(|digit| char::from(LETTERS[usize::from(digit)]))
        .collect();
    format!("{prefix}1{text}")
}

/// The prefix as it goes into the checksum.
fn expanded(prefix: &str) -> impl Iterator<Item = u8> + '_ {
    let high = prefix.bytes().map(|b| b >> 5);
    high.chain([0]).chain(prefix.bytes().map(|b| b & 31))
}

fn checksum(digits: impl Iterator<Item = u8>) -> u32 {
    const GENERATORS: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    digits.fold(1, |sum, digit| {
        let top = sum >> 25;
        let shifted = ((sum & 0x01ff_ffff) << 5) ^ u32::from(digit);
        let taken = GENERATORS
            .iter()
            .enumerate()
            .filter(|(bit, _)| (top >> bit) & 1 == 1);
        taken.fold(shifted, |sum, (_, generator)| sum ^ generator)
    })
}

/// Cuts a row of bits anew. Without padding what is left over must be zero, and less than a whole unit.
fn regroup(units: &[u8], from: u32, to: u32, pad: bool) -> Option<Vec<u8>> {
    let (mut bits, mut count, mut out) = (0u32, 0, Vec::new());
    let mask = (1u32 << to) - 1;
    for unit in units {
        bits = (bits << from) | u32::from(*unit);
        count += from;
        while count >= to {
            count -= to;
            out.push(u8::try_from((bits >> count) & mask).ok()?);
        }
        bits &= (1 << count) - 1;
    }
    if pad {
        if count > 0 {
            out.push(u8::try_from((bits << (to - count)) & mask).ok()?);
        }
    } else if count >= from || bits != 0 {
        return None;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_slip_is_seen() {
        let bytes: Vec<u8> = (0..32).collect();
        let text = encode("age", &bytes);
        assert_eq!(decode(&text), Some(("age".to_owned(), bytes.clone())));
        assert_eq!(decode(&text.to_uppercase()), Some(("age".to_owned(), bytes)));
        for position in 4..text.len() {
            let mut wrong = text.clone().into_bytes();
            wrong[position] = if wrong[position] == b'q' { b'p' } else { b'q' };
            assert_eq!(decode(&String::from_utf8(wrong).unwrap()), None, "{position}");
        }
    }

    #[test]
    fn texts_of_the_standard_are_read_and_others_refused() {
        // From BIP 173.
        for good in [
            "A12UEL5L",
            "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw",
            "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w",
        ] {
            assert!(decode(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "1",
            "pzry9x0s0muk",
            "1pzry9x0s0muk",
            "x1b4n0q5v",
            "li1dgmt3",
            "A1G7SGD8",
            "10a06t8",
            "1qzzfhee",
            "a12UEL5L",
            "äge1q",
        ] {
            assert!(decode(bad).is_none(), "{bad}");
        }
    }
}
