//! Keeps a text as what it has in common with another and where it differs: the objects of a kind are nearly equal.
//! It must not know what the texts mean.
//!
//! A packed text is a row of steps: so many new bytes, then so many bytes copied, from the other text or from what this one had so far.
//! Texts that differ in a name here and a time there go on side by side after each difference, so most copies go on where the
//! last one would have.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// The shortest run of bytes that is looked up.
const LOOKED_UP: usize = 4;
/// Ways to go on after new bytes, as the lowest bits of their count say: with a copy from the other text, beside the last one.
const BESIDE: usize = 0;
/// With a copy from elsewhere in the other text.
const ELSEWHERE: usize = 1;
/// With a copy from what this text had so far.
const OWN: usize = 2;
/// With a UUID, as its sixteen bytes; not at all if nothing is left.
const UUID: usize = 3;
/// The shortest copies of each way. Who copies from elsewhere leaves what is side by side, and must pay for the way back.
const SHORTEST: [usize; 3] = [3, 11, 5];
/// Places in a table of what was seen: 16 KiB.
const PLACES: usize = 1 << 12;
/// No more than this of a text is kept to pack others by.
const LONGEST: usize = 32 << 10;
/// One in so many texts of a kind is tried as the one to pack others by.
const TRIED: u32 = 64;

/// A text that others are packed by.
#[derive(Debug)]
pub(crate) struct Model(Box<[u8]>);

impl Model {
    fn of(text: &[u8]) -> Arc<Self> {
        Arc::new(Self(text[..text.len().min(LONGEST)].into()))
    }

    /// Adds the text that was packed by this model to `out`. Returns nothing if it was not packed by this one.
    pub(crate) fn unpack(&self, packed: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let start = out.len();
        let mut left = packed;
        let mut shift = 0;
        loop {
            let head = take_number(&mut left)?;
            let (new, rest) = left.split_at_checked(head >> 2)?;
            out.extend_from_slice(new);
            left = rest;
            if head & 3 == UUID {
                let Some((uuid, rest)) = left.split_first_chunk() else {
                    return left.is_empty().then_some(());
                };
                let mut text = Uuid::encode_buffer();
                let text = Uuid::from_bytes(*uuid).hyphenated().encode_lower(&mut text);
                out.extend_from_slice(text.as_bytes());
                left = rest;
                continue;
            }
            let count = take_number(&mut left)?;
            if head & 3 == OWN {
                let from = out.len().checked_sub(take_number(&mut left)?)?;
                let until = from.checked_add(count).filter(|until| *until <= out.len())?;
                if from < start {
                    return None;
                }
                out.extend_from_within(from..until);
            } else {
                if head & 3 == ELSEWHERE {
                    shift = add(shift, take_number(&mut left)?);
                }
                let from = (out.len() - start).wrapping_add(shift);
                out.extend_from_slice(self.0.get(from..from.checked_add(count)?)?);
            }
        }
    }
}

/// Where runs of bytes were seen.
struct Seen(Box<[u32]>);

impl Seen {
    fn new() -> Self {
        Self(vec![0; PLACES].into_boxed_slice())
    }

    fn place(text: &[u8], at: usize) -> Option<usize> {
        let run = text.get(at..at + LOOKED_UP)?;
        let run = run.iter().fold(0, |run, byte| run << 8 | u32::from(*byte));
        // Fibonacci hashing.
        Some((run.wrapping_mul(0x9E37_79B1) >> 20) as usize % PLACES)
    }

    fn add(&mut self, text: &[u8], at: usize) {
        if let (Some(place), Ok(at)) = (Self::place(text, at), u32::try_from(at + 1)) {
            self.0[place] = at;
        }
    }

    /// Where a run like this one may have been.
    fn find(&self, text: &[u8], at: usize) -> Option<usize> {
        (self.0[Self::place(text, at)?] as usize).checked_sub(1)
    }
}

/// A copy that can be made.
struct Copy {
    way: usize,
    from: usize,
    count: usize,
}

/// Packs texts, those of a kind each by one that was like it.
pub(crate) struct Packer {
    kinds: HashMap<Arc<str>, Kind>,
    /// What `model` has where.
    of_model: Seen,
    model: Weak<Model>,
    /// What the text that is being packed had where.
    own: Seen,
}

/// What the texts of one kind are packed by. Only those that are packed keep it.
#[derive(Default)]
struct Kind {
    model: Weak<Model>,
    /// A text that the next one is packed by as well, to see whether that is better.
    candidate: Option<Arc<Model>>,
    packed: u32,
}

impl Packer {
    pub(crate) fn new() -> Self {
        Self {
            kinds: HashMap::new(),
            of_model: Seen::new(),
            model: Weak::new(),
            own: Seen::new(),
        }
    }

    /// Returns a text in less room, and by what it was packed; nothing if that does not pay.
    pub(crate) fn pack(&mut self, kind: &Arc<str>, text: &[u8]) -> Option<(Arc<Model>, Box<[u8]>)> {
        let known = self.kinds.entry(Arc::clone(kind)).or_default();
        known.packed = known.packed.wrapping_add(1);
        let mut model = known.model.upgrade().unwrap_or_else(|| Model::of(text));
        let candidate = known.candidate.take();
        if known.packed.is_multiple_of(TRIED) {
            known.candidate = Some(Model::of(text));
        }
        let mut packed = self.pack_by(&model, text);
        if let Some(candidate) = candidate {
            let other = self.pack_by(&candidate, text);
            // A model costs room too, so a new one must be clearly better.
            if other.len() < packed.len() / 4 * 3 {
                (model, packed) = (candidate, other);
            }
        }
        // What could not be read again would be lost: looking costs little.
        let mut again = Vec::with_capacity(text.len());
        if packed.len() >= text.len() || model.unpack(&packed, &mut again).is_none() || again != text {
            return None;
        }
        if let Some(known) = self.kinds.get_mut(kind) {
            known.model = Arc::downgrade(&model);
        }
        Some((model, packed.into_boxed_slice()))
    }

    fn pack_by(&mut self, model: &Arc<Model>, text: &[u8]) -> Vec<u8> {
        if self.model.as_ptr() != Arc::as_ptr(model) {
            self.model = Arc::downgrade(model);
            self.of_model.0.fill(0);
            // Of equal runs the first is found.
            for at in (0..model.0.len()).rev() {
                self.of_model.add(&model.0, at);
            }
        }
        self.own.0.fill(0);
        let mut packed = Vec::new();
        let (mut at, mut told, mut shift) = (0, 0, 0);
        while at < text.len() {
            let copy = self.copy(&model.0, text, at, shift);
            if copy.as_ref().is_none_or(|c| c.count < Hyphenated::LENGTH)
                && let Some(uuid) = uuid_at(text, at)
            {
                put_new(&mut packed, &text[told..at], UUID);
                packed.extend_from_slice(uuid.as_bytes());
                self.own.add(text, at);
                at += Hyphenated::LENGTH;
                told = at;
                continue;
            }
            let Some(copy) = copy else {
                self.own.add(text, at);
                at += 1;
                continue;
            };
            put_new(&mut packed, &text[told..at], copy.way);
            put_number(&mut packed, copy.count);
            let goes_on = copy.from.wrapping_sub(at);
            match copy.way {
                OWN => put_number(&mut packed, at - copy.from),
                ELSEWHERE => {
                    put_number(&mut packed, difference(shift, goes_on));
                    shift = goes_on;
                }
                _ => {}
            }
            at += copy.count;
            told = at;
        }
        put_new(&mut packed, &text[told..], UUID);
        packed
    }

    /// Finds what can be copied to `at`. `shift` is how far apart the last copy and its source were.
    fn copy(&self, model: &[u8], text: &[u8], at: usize, shift: usize) -> Option<Copy> {
        let copy = |way: usize, source: &[u8], from| {
            let count = equal(source, from, &text[at..]);
            (count >= SHORTEST[way]).then_some(Copy { way, from, count })
        };
        copy(BESIDE, model, at.wrapping_add(shift)).or_else(|| {
            // What is copied must be there already.
            let own = self.own.find(text, at);
            let own = own.and_then(|from| copy(OWN, &text[..at], from));
            let elsewhere = self.of_model.find(text, at);
            let elsewhere = elsewhere.and_then(|from| copy(ELSEWHERE, model, from));
            own.into_iter().chain(elsewhere).max_by_key(|copy| copy.count)
        })
    }
}

/// The UUID that stands there, if it is written as the server writes them.
fn uuid_at(text: &[u8], at: usize) -> Option<Uuid> {
    let text = text.get(at..at + Hyphenated::LENGTH)?;
    let uuid = Uuid::try_parse_ascii(text).ok()?;
    let mut written = Uuid::encode_buffer();
    (uuid.hyphenated().encode_lower(&mut written).as_bytes() == text).then_some(uuid)
}

/// How many bytes of `one` from a place on are as those of `other`.
fn equal(one: &[u8], from: usize, other: &[u8]) -> usize {
    let one = one.get(from..).unwrap_or_default();
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

fn put_new(packed: &mut Vec<u8>, new: &[u8], way: usize) {
    put_number(packed, new.len() << 2 | way);
    packed.extend_from_slice(new);
}

/// Seven bits a byte, the lowest first; all but the last byte have the highest bit.
fn put_number(packed: &mut Vec<u8>, mut number: usize) {
    while number > 0x7F {
        packed.push(0x80 | number.to_le_bytes()[0]);
        number >>= 7;
    }
    packed.push(number.to_le_bytes()[0]);
}

fn take_number(packed: &mut &[u8]) -> Option<usize> {
    let mut number = 0;
    for shift in (0..usize::BITS).step_by(7) {
        let (byte, rest) = packed.split_first()?;
        *packed = rest;
        number |= usize::from(byte & 0x7F).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// The way from one number to another; short ways are small numbers, whether up or down.
fn difference(from: usize, to: usize) -> usize {
    let way = to.wrapping_sub(from).cast_signed();
    (way << 1 ^ way >> (isize::BITS - 1)).cast_unsigned()
}

fn add(from: usize, difference: usize) -> usize {
    from.wrapping_add((difference >> 1) ^ (difference & 1).wrapping_neg())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// An object as there are many, with what differs between them.
    fn text(n: u32) -> Vec<u8> {
        let at = format!("2026-01-02T03:{:02}:{:02}Z", n / 60 % 60, n % 60);
        let id = n.wrapping_mul(0x9E37_79B1);
        let name = format!("set-{id:08x}");
        let uid = format!(
            "{id:08x}-{:04x}-4000-8000-{:012x}",
            id & 0xFFFF,
            u64::from(id) * 77_777
        );
        let condition = |kind: &str| json!({"lastTransitionTime": at, "observedGeneration": 2, "reason": kind, "status": "True", "type": kind});
        let fields = |kind: &str| json!({format!("k:{{\"type\":\"{kind}\"}}"): {".": {}, "f:lastTransitionTime": {}, "f:reason": {}, "f:status": {}, "f:type": {}}});
        let kinds = [
            "BootstrapReady",
            "InfrastructureReady",
            "Drainable",
            "NodeHealthy",
            "Ready",
        ];
        let object = json!({
            "metadata": {"creationTimestamp": at, "labels": {"set": "one"}, "name": name, "namespace": "default", "uid": uid,
                "resourceVersion": (n + 5000).to_string(),
                "managedFields": [{"apiVersion": "v1", "fieldsType": "FieldsV1", "manager": "machines", "operation": "Apply", "time": at,
                    "fieldsV1": {"f:status": {"f:phase": {}, "f:conditions": kinds.map(fields)}}}]},
            "spec": {"providerID": format!("hollow://default/{name}")},
            "status": {"addresses": [{"address": format!("10.0.{}.{}", n / 256 % 256, n % 256), "type": "InternalIP"}],
                "conditions": kinds.map(condition), "nodeRef": {"kind": "Node", "name": name}, "phase": "Running"},
        });
        object.to_string().into_bytes()
    }

    fn unpacked((model, packed): &(Arc<Model>, Box<[u8]>)) -> Vec<u8> {
        let mut out = b"before".to_vec();
        model.unpack(packed, &mut out).unwrap();
        out.split_off(6)
    }

    #[test]
    fn a_thousand_similar_texts_take_a_fifteenth_of_the_room() {
        let (mut packer, kind) = (Packer::new(), "machines".into());
        let texts: Vec<_> = (0..1000).map(text).collect();
        let kept: Vec<_> = texts.iter().map(|t| packer.pack(&kind, t).unwrap()).collect();
        for (text, packed) in texts.iter().zip(&kept) {
            assert_eq!(&unpacked(packed), text);
        }
        let plain: usize = texts.iter().map(Vec::len).sum();
        let mut models: Vec<_> = kept.iter().map(|(model, _)| model).collect();
        models.dedup_by_key(|m| Arc::as_ptr(m));
        let room = kept.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
            + models.iter().map(|m| m.0.len()).sum::<usize>();
        assert!(
            room < plain / 15,
            "{room} of {plain} bytes, {} models",
            models.len()
        );
    }

    #[test]
    fn a_model_that_no_longer_fits_is_replaced_and_goes_with_its_last_text() {
        let (mut packer, kind) = (Packer::new(), "machines".into());
        let old = packer
            .pack(&kind, br#"{"metadata":{"name":"a"},"metadata":{"name":"a"}}"#)
            .unwrap();
        let model = Arc::downgrade(&old.0);
        let kept: Vec<_> = (0..3 * TRIED)
            .map(|n| packer.pack(&kind, &text(n)).unwrap())
            .collect();
        let last = kept.last().unwrap();
        assert!(!Arc::ptr_eq(&last.0, &old.0) && last.1.len() < text(0).len() / 10);
        drop((old, kept));
        assert!(model.upgrade().is_none());
        // Nothing is packed: the next text is what others are packed by.
        let next = packer.pack(&kind, &text(1)).unwrap();
        assert_eq!((next.0.0.to_vec(), unpacked(&next)), (text(1), text(1)));
    }

    #[test]
    fn texts_that_have_nothing_in_common_stay_as_they_are() {
        let (mut packer, kind) = (Packer::new(), "secrets".into());
        let noise = |n: u32| {
            (0..50)
                .map(|i| (n * 50 + i).wrapping_mul(0x9E37_79B1).to_le_bytes())
                .collect::<Vec<_>>()
                .concat()
        };
        let first = packer.pack(&kind, &noise(0)).unwrap();
        assert!((1..1000).all(|n| packer.pack(&kind, &noise(n)).is_none()));
        assert_eq!(unpacked(&first), noise(0));
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked_as_it_was(texts in prop::collection::vec("([ab]{1,9}|[a-z]{1,20}|(abcdefgh){1,300}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\\PC{0,9}){0,12}", 1..8)) {
            let (mut packer, kind) = (Packer::new(), "things".into());
            for text in texts {
                if let Some(packed) = packer.pack(&kind, text.as_bytes()) {
                    prop_assert!(packed.1.len() < text.len());
                    prop_assert_eq!(unpacked(&packed), text.into_bytes());
                }
            }
        }

        #[test]
        fn any_bytes_can_be_unpacked(model in prop::collection::vec(any::<u8>(), 0..50), packed in prop::collection::vec(any::<u8>(), 0..50)) {
            let mut out = Vec::new();
            let _ = Model::of(&model).unpack(&packed, &mut out);
            prop_assert!(out.len() <= 50 * 50 * 50);
        }
    }
}
