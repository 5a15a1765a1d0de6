//! What lies in the database file: its tables, its numbers, and each object with a checksum of its own.
//! It must not decide what becomes of a file that is damaged.
//!
//! Format 1: an object is the JSON without its opening brace and type.
//! Format 2: before that stand one byte for the form of the JSON (only [`PLAIN`] is known) and four of a checksum.
//! Format 3: there is also the form [`VERSIONED`], in which the JSON comes after the API version in which it is written.

use std::fmt;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::stored::{Key, Stored};

/// Objects by resource, namespace and name.
const OBJECTS: TableDefinition<'_, (&str, &str, &str), &[u8]> = TableDefinition::new("objects");
/// Numbers about the store itself.
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
/// Newest layout of the tables that this release knows, and the only one that it writes.
pub(super) const FORMAT: u64 = 3;
/// Layouts that this release reads.
const OLDEST: u64 = 1;
/// The JSON as it is; nobody knows in which version it was written.
const PLAIN: u8 = 0;
/// One byte for the length of the API version in which the object was written (`v1`), that version, then the JSON.
const VERSIONED: u8 = 1;
/// Bytes before the JSON.
const HEAD: usize = 5;

/// Where an object lies: resource, namespace and name.
type Place<'a> = (&'a str, &'a str, &'a str);

/// What is wrong with a stored object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) key: Key,
    pub(crate) what: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.key.resource)?;
        if !self.key.namespace.is_empty() {
            write!(f, "{}/", self.key.namespace)?;
        }
        write!(f, "{}: {}", self.key.name, self.what)
    }
}

/// What a file holds.
pub(super) struct Content {
    pub(super) format: u64,
    /// The resourceVersion of the last write.
    pub(super) version: u64,
    /// Objects that can't be read, in the order in which they lie there.
    pub(super) flaws: Vec<Flaw>,
}

/// Why a file can't be read at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// It has a layout that a newer release made.
    #[error("format {0} is newer than {FORMAT}")]
    Newer(u64),
    /// It is no file of this program.
    #[error("{0}")]
    Foreign(&'static str),
    /// The database says so.
    #[error(transparent)]
    Database(#[from] redb::Error),
}

/// Makes the tables of an empty state.
pub(super) fn initialise(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        transaction.open_table(OBJECTS)?;
        let mut numbers = transaction.open_table(NUMBERS)?;
        numbers.insert("format", FORMAT)?;
        numbers.insert("version", 1)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Reads all objects, and gives those that are whole to `each`.
pub(super) fn read(database: &Database, mut each: impl FnMut(Stored)) -> Result<Content, ReadError> {
    let transaction = database.begin_read().map_err(redb::Error::from)?;
    let numbers = transaction.open_table(NUMBERS).map_err(not_ours)?;
    let number = |name: &str| Ok::<_, redb::Error>(numbers.get(name)?.map(|n| n.value()));
    let format = number("format")?.ok_or(ReadError::Foreign("it does not say what format it has"))?;
    if format > FORMAT {
        return Err(ReadError::Newer(format));
    }
    if format < OLDEST {
        return Err(ReadError::Foreign("it has a format that there never was"));
    }
    let version = number("version")?.ok_or(ReadError::Foreign("it does not say how far it goes"))?;
    let mut flaws = Vec::new();
    let objects = transaction.open_table(OBJECTS).map_err(not_ours)?;
    for entry in objects.iter().map_err(redb::Error::from)? {
        let (place, value) = entry.map_err(redb::Error::from)?;
        let (resource, namespace, name) = place.value();
        let key = Key::new(resource, namespace, name);
        match decode(format, place.value(), value.value()) {
            Ok((written, rest)) => match Stored::load(key.clone(), written, rest) {
                Ok(stored) => each(stored),
                Err(error) => flaws.push(Flaw {
                    key,
                    what: format!("its text is no JSON object: {error}"),
                }),
            },
            Err(what) => flaws.push(Flaw { key, what }),
        }
    }
    Ok(Content {
        format,
        version,
        flaws,
    })
}

/// Returns the resourceVersion of the last write in a file that has been read before.
pub(super) fn version(database: &Database) -> Result<Option<u64>, redb::Error> {
    let transaction = database.begin_read()?;
    let numbers = transaction.open_table(NUMBERS)?;
    Ok(numbers.get("version")?.map(|n| n.value()))
}

fn not_ours(error: redb::TableError) -> ReadError {
    match error {
        redb::TableError::TableDoesNotExist(_) => ReadError::Foreign("it has no tables of this program"),
        error => ReadError::Database(error.into()),
    }
}

/// Writes changes, all or none, and `version` with them. Nothing in place of an object removes it.
pub(super) fn write<'a>(
    database: &Database,
    changes: impl Iterator<Item = (&'a Key, Option<&'a Stored>)>,
    version: u64,
) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut objects = transaction.open_table(OBJECTS)?;
        let mut value = Vec::new();
        for (key, stored) in changes {
            let place = (&*key.resource, &*key.namespace, &*key.name);
            match stored {
                Some(stored) => {
                    encode(place, stored, &mut value);
                    objects.insert(place, &*value)?
                }
                None => objects.remove(place)?,
            };
        }
        let mut numbers = transaction.open_table(NUMBERS)?;
        numbers.insert("version", version)?;
        numbers.insert("format", FORMAT)?;
    }
    transaction.commit()?;
    Ok(())
}

fn encode(place: Place<'_>, stored: &Stored, value: &mut Vec<u8>) {
    let written = stored.written_in();
    let written = written.as_deref().unwrap_or_default();
    let (form, length) = match u8::try_from(written.len()) {
        Ok(length @ 1..) => (VERSIONED, Some(length)),
        _ => (PLAIN, None),
    };
    value.clear();
    value.extend([form, 0, 0, 0, 0]);
    if let Some(length) = length {
        value.push(length);
        value.extend_from_slice(written.as_bytes());
    }
    stored.write_rest(value);
    let sum = checksum(place, form, &value[HEAD..]);
    value[1..HEAD].copy_from_slice(&sum.to_le_bytes());
}

/// Returns the version in which an object was written (empty: nobody knows), and its JSON without the opening brace, or says
/// what is wrong.
fn decode<'a>(format: u64, place: Place<'_>, value: &'a [u8]) -> Result<(&'a str, &'a [u8]), String> {
    if format < 2 {
        return Ok(("", value));
    }
    let (Some([form, sum @ ..]), Some(rest)) = (value.first_chunk::<HEAD>(), value.get(HEAD..)) else {
        return Err("it is cut off".to_owned());
    };
    if u32::from_le_bytes(*sum) != checksum(place, *form, rest) {
        return Err("its checksum is wrong".to_owned());
    }
    match *form {
        PLAIN => Ok(("", rest)),
        VERSIONED if format > 2 => {
            split_version(rest).ok_or_else(|| "it does not say its version".to_owned())
        }
        form => Err(format!("a newer release wrote it in form {form}")),
    }
}

fn split_version(rest: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = rest.split_first()?;
    let (version, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(version).ok()?, rest))
}

/// The checksum of an object and of where it lies: one that has come to another place is damaged too.
pub(super) fn checksum((resource, namespace, name): Place<'_>, form: u8, rest: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    for part in [resource, namespace, name] {
        sum.update(part.as_bytes());
        sum.update(&[0]);
    }
    sum.update(&[form]);
    sum.update(rest);
    sum.finalize()
}

/// Makes a file of another format, as other releases do, or one with a damaged object.
#[cfg(test)]
pub(super) fn forge(file: &std::path::Path, format: u64, objects: &[(Place<'_>, &[u8])]) {
    let database = Database::create(file).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(OBJECTS).unwrap();
        for (place, value) in objects {
            table.insert(*place, *value).unwrap();
        }
        let mut numbers = transaction.open_table(NUMBERS).unwrap();
        numbers.insert("format", format).unwrap();
        numbers.insert("version", 7).unwrap();
    }
    transaction.commit().unwrap();
}
