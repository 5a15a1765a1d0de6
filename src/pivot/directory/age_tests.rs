//! What age writes is read, and what is written here can't be read by others or changed unseen. Keys are of these tests alone.

use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;

const FIRST: (&str, &str) = (
    "AGE-SECRET-KEY-19RSNATDCUV6CSF60MZCW24AXAL43SNANNPPJPGRH58EGQJDYKTEQYH7UJH",
    "age1x76j7rv7muafwx6mzs7l38nsr7h403e69vwgty468lq384dh554s3fcm4a",
);
const SECOND: (&str, &str) = (
    "AGE-SECRET-KEY-1FDRG0V74T6J3LVDKH05N5T3M75YSLLSFFA4YHU4FDNRRSG8NJ6ESKCWK4Q",
    "age14uck255agz0rs0gwxnfke9vuxj6eqg4qflzlfwe49dts0r782phqkhsd3f",
);
/// `hello` for the first, as age 0.11 writes it, with a stanza of a kind that nobody knows.
const HELLO: &str = "YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSA4cGsrYjV0aUFJT05uVFVqbDdYcWQwWVIrVUNvK1dXYy9aN2ZSRnJkdmowClBINEpXYzR0THlsVWhmTm9nNEp1RGtUb3ZkS3JPZmRQK2NhM0dMOWRVMXcKLT4gO3RcV3QtZ3JlYXNlIGEpaS58ISB5SU9kYGFIdApLTFdZSVhtbjMzY1UxZ2dZaHE4TVBlQmhXa3ljVmZoNnk0dVNpUXJoMW1mL01XYUJGYStvcU1JM2NqUURNaFJxCjlSTHJXekw2UWxzWFpPSUNkd3haYjIvMTNoNEg4V0pwS3cKLS0tIGxvTVNsWFVlelZEWkZXbkZTYXFwaVVxSDBoRkE0cVZlMUFWRlMvVWVxTVkK/wQn0C/TFSZumsEmLIRw/1hDbuHj5s794Ozdl8117MhN4ZxrHA==";
/// Nothing, for the second and the first, in the same way.
const EMPTY: &str = "YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSBMREZPM3dKam1xbW1wTkI4Z0I2YUVzUjBwVnJMQTVCUnk1SnFqMk1qd1hrCkpxelZHa2hXK1RPYktwSFBwK3dxbU1qZENkTlNiSjN0c0p0TmxjZHN4VEkKLT4gWDI1NTE5IG40YmFyMHVEdTdpK1dndTVuam94SEJ2LzJLL1hITWd1M1V5aWJrVmN6MGMKSWlTb1RkNnhadW1weWhKMFZkMHNrdk1VbmpYSFlsQ3ZoQ3RtVnF6ZEtyNAotPiBNUUNgLWdyZWFzZSBiTSUgfHdMdSBsfSQpaWZiUSAmZzE3eTtlCkUyVDU1S01zZzRUZTA4RUlybGl6cXYrWVVXc1pEa2dKOUdqNUhFZ2IyMVVXQXpRYlpDV29ZQVdKT2FlSE1aOHkKT2pzL2Rjd3kvN0FlTTJuL0ZKZwotLS0gT2pWVmpDdVJyaStqVENXVmVNMk9aQTVFMWU0TkxWOThQbTRON2gzcmo4dwr4TLdAoqvy0RcFJywZcO1FTcyTjeKOzoIQkB/sTm3eFw==";

fn identity(key: (&str, &str)) -> Identity {
    Identity::parse(key.0).unwrap()
}

fn recipient(key: (&str, &str)) -> Recipient {
    Recipient::parse(key.1).unwrap()
}

#[test]
fn what_age_writes_is_read() {
    let hello = STANDARD.decode(HELLO).unwrap();
    assert_eq!(
        open(&hello, &[identity(SECOND), identity(FIRST)]).unwrap(),
        b"hello"
    );
    assert_eq!(open(&hello, &[identity(SECOND)]), Err(Sealed::WrongKey));
    let empty = STANDARD.decode(EMPTY).unwrap();
    for key in [FIRST, SECOND] {
        assert_eq!(open(&empty, &[identity(key)]).unwrap(), b"");
    }
}

#[test]
fn each_recipient_reads_what_is_written_and_nobody_else() {
    assert_eq!(identity(FIRST).recipient(), recipient(FIRST));
    assert_eq!(recipient(FIRST).to_string(), FIRST.1);
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK] {
        let plain: Vec<u8> = (0..=255).cycle().take(length).collect();
        let sealed = seal(&plain, &[recipient(FIRST), recipient(SECOND)]).unwrap();
        for key in [FIRST, SECOND] {
            assert!(open(&sealed, &[identity(key)]).unwrap() == plain, "{length}");
        }
        let for_one = seal(&plain, &[recipient(FIRST)]).unwrap();
        assert_eq!(open(&for_one, &[identity(SECOND)]), Err(Sealed::WrongKey));
        assert_eq!(open(&for_one, &[]), Err(Sealed::WrongKey));
    }
}

#[test]
fn what_was_cut_off_or_grew_is_seen() {
    let plain = vec![7; CHUNK + 5];
    let sealed = seal(&plain, &[recipient(FIRST)]).unwrap();
    let keys = [identity(FIRST)];
    for length in [sealed.len() - 1, sealed.len() - 5 - TAG, 200, 60] {
        assert!(open(&sealed[..length], &keys).is_err(), "{length}");
    }
    assert_eq!(open(&[&sealed[..], b"x"].concat(), &keys), Err(Sealed::Damaged));
    assert_eq!(open(b"apiVersion: v1\n", &keys), Err(Sealed::NotAge));
    assert_eq!(open(b"", &keys), Err(Sealed::NotAge));
}

#[test]
fn keys_are_told_apart_and_do_not_show_themselves() {
    assert_eq!(Recipient::parse(FIRST.0), Err(BadKey::SecretGiven));
    assert_eq!(Recipient::parse("ssh-ed25519 AAAA"), Err(BadKey::Recipient));
    assert_eq!(Identity::parse(FIRST.1), Err(BadKey::Identity));
    let file = format!(
        "# created: today\n# public key: {}\n\n{}\n{}\n",
        FIRST.1, FIRST.0, SECOND.0
    );
    assert_eq!(
        Identity::parse_file(&file).unwrap(),
        [identity(FIRST), identity(SECOND)]
    );
    assert_eq!(Identity::parse_file("# nothing\n"), Err(BadKey::None));
    assert_eq!(
        Recipient::parse_file(&format!("{}\n{}", FIRST.1, SECOND.1))
            .unwrap()
            .len(),
        2
    );
    assert_eq!(format!("{:?}", identity(FIRST)), "Identity(..)");
}

#[test]
fn a_recipient_that_is_no_safe_point_is_refused() {
    assert_eq!(seal(b"x", &[Recipient([0; 32])]), Err(Sealed::Failed));
}

proptest! {
    #[test]
    fn any_change_is_seen(position in 0..400usize, bit in 0..8u8) {
        let mut sealed = STANDARD.decode(HELLO).unwrap();
        let position = position % sealed.len();
        sealed[position] ^= 1 << bit;
        prop_assert!(open(&sealed, &[identity(FIRST)]).is_err());
    }

    #[test]
    fn anything_can_be_tried_to_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let text = [format!("{VERSION}\n").as_bytes(), &bytes].concat();
        prop_assert!(open(&text, &[identity(FIRST)]).is_err());
    }
}
