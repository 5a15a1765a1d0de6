//! What a program for Linux says of itself, as far as an image has to know it. Pure.

use super::ImageError;

/// Kind of a segment: names the interpreter, which loads libraries (ELF: `PT_INTERP`).
const INTERPRETER: u32 = 3;
/// Where the head keeps the place, size and number of sections, and which of them holds their names.
const SECTIONS_AT: std::ops::Range<usize> = 40..48;
const SECTIONS_COUNT: std::ops::Range<usize> = 60..64;

/// Says what processor a program is for, as images call it.
///
/// # Errors
/// It is no program for Linux on a processor that is known.
pub(super) fn architecture(program: &[u8]) -> Result<&'static str, ImageError> {
    // 64 bits, the lowest byte first.
    if !program.starts_with(b"\x7fELF\x02\x01") {
        return Err(ImageError::NotElf);
    }
    match half(program, 18).ok_or(ImageError::Cut)? {
        62 => Ok("amd64"),
        183 => Ok("arm64"),
        other => Err(ImageError::Machine(other)),
    }
}

/// A program without what only debuggers read: whatever lies behind its last segment is never loaded.
///
/// # Errors
/// It needs libraries of this system, or a part of it is missing.
pub(super) fn without_symbols(program: &[u8]) -> Result<Vec<u8>, ImageError> {
    let mut end = 0;
    for segment in segments(program).ok_or(ImageError::Cut)? {
        if segment.kind == INTERPRETER {
            return Err(ImageError::Dynamic);
        }
        end = end.max(segment.end);
    }
    let mut kept = program.get(..end).ok_or(ImageError::Cut)?.to_vec();
    for place in [SECTIONS_AT, SECTIONS_COUNT] {
        kept.get_mut(place).ok_or(ImageError::Cut)?.fill(0);
    }
    Ok(kept)
}

/// A part of a program that is put into memory, or tells how to.
struct Segment {
    kind: u32,
    /// Where it ends in the file.
    end: usize,
}

fn segments(program: &[u8]) -> Option<Vec<Segment>> {
    let table = long(program, 32)?;
    let (size, count) = (usize::from(half(program, 54)?), usize::from(half(program, 56)?));
    (0..count)
        .map(|n| {
            let entry = program.get(table.checked_add(n.checked_mul(size)?)?..)?;
            Some(Segment {
                kind: u32::from_le_bytes(*entry.first_chunk()?),
                end: long(entry, 8)?.checked_add(long(entry, 32)?)?,
            })
        })
        .collect()
}

/// A number of two bytes.
fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A number of eight bytes: a place in a file, or a length.
fn long(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?)).ok()
}
