//! The wire format of protocol buffers: tags, numbers and byte strings. It must not know messages.
//! Nothing is copied or allocated, so whatever the bytes claim, they cost nothing.

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// The bytes end within a value.
    #[error("unexpected EOF")]
    End,
    /// A number does not fit into 64 bits.
    #[error("proto: integer overflow")]
    Overflow,
    /// A length does not fit into 63 bits.
    #[error("proto: negative length found during unmarshaling")]
    NegativeLength,
    /// A field number that there cannot be.
    #[error("proto: illegal tag {0} (wire type {1})")]
    IllegalTag(i64, u8),
    /// A wire type that there is none of.
    #[error("proto: illegal wireType {0}")]
    IllegalWireType(u8),
    /// The end of a group that has not begun.
    #[error("proto: unexpected end of group")]
    EndGroup,
    /// A field is not written as its type wants it.
    #[error("proto: wrong wireType = {wire} for field {}", capital(.field))]
    WrongWireType {
        /// How it is written.
        wire: u8,
        /// Its name.
        field: &'static str,
    },
}

/// Writes a name as that of a field in Go.
fn capital(name: &str) -> String {
    let mut letters = name.chars();
    letters
        .next()
        .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
        .unwrap_or_default()
}

/// How a field is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    /// Something that no field of ours uses: 32 bits or a group.
    Other(u8),
}

impl Wire<'_> {
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Varint(_) => 0,
            Self::Fixed64(_) => 1,
            Self::Bytes(_) => 2,
            Self::Other(number) => number,
        }
    }
}

/// Reads fields from front to back.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number and content of the next field; nothing at the end.
    pub(super) fn field(&mut self) -> Result<Option<(u32, Wire<'a>)>, WireError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let (number, wire) = self.tag()?;
        let content = match wire {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(self.fixed64()?),
            2 => Wire::Bytes(self.bytes()?),
            3 => {
                self.skip_group()?;
                Wire::Other(3)
            }
            4 => return Err(WireError::EndGroup),
            5 => {
                self.take(4)?;
                Wire::Other(5)
            }
            other => return Err(WireError::IllegalWireType(other)),
        };
        Ok(Some((number, content)))
    }

    fn tag(&mut self) -> Result<(u32, u8), WireError> {
        let tag = self.varint()?;
        let wire = u8::try_from(tag & 7).unwrap_or_default();
        match u32::try_from(tag >> 3) {
            Ok(number) if number > 0 && number < 1 << 29 => Ok((number, wire)),
            _ => Err(WireError::IllegalTag((tag >> 3).cast_signed(), wire)),
        }
    }

    /// Reads a number of any size.
    pub(super) fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(WireError::End)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::Overflow)
    }

    /// Reads eight bytes, the lowest first.
    pub(super) fn fixed64(&mut self) -> Result<u64, WireError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(WireError::End)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let length = self.varint()?;
        if i64::try_from(length).is_err() {
            return Err(WireError::NegativeLength);
        }
        self.take(length)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], WireError> {
        let length = usize::try_from(length).map_err(|_| WireError::End)?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or(WireError::End)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Passes over a group that has just begun, with all that is in it. Groups within groups are counted, not
    /// followed, so depth costs nothing.
    fn skip_group(&mut self) -> Result<(), WireError> {
        let mut open = 1_usize;
        while open > 0 {
            match self.tag()?.1 {
                0 => {
                    self.varint()?;
                }
                1 => {
                    self.take(8)?;
                }
                2 => {
                    self.bytes()?;
                }
                3 => open += 1,
                4 => open -= 1,
                5 => {
                    self.take(4)?;
                }
                other => return Err(WireError::IllegalWireType(other)),
            }
        }
        Ok(())
    }
}
