// SPDX-License-Identifier: GPL-2.0-only

//! What an attribute is: its number, its name in drbd.conf and on a command line, its type, range, default and unit.
//!
//! One description serves the kernel's netlink policies, the client's codec, the parser of drbd.conf, the command
//! lines and the help texts. The rows themselves stand where the typed structs are declared: `conf`, `parms`, `info`.

use super::nlattr::{Attribute, Full, Writer, MANDATORY};

/// Width and sign of a number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Unsigned, 32 bit.
    U32,
    /// Signed, 32 bit.
    I32,
    /// Unsigned, 64 bit.
    U64,
}

/// What one step of a number means: the unit assumed when none is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A count, a minor number.
    Count,
    /// Tenths of a second.
    Tenths,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Sectors of 512 bytes.
    Sectors,
    /// KiB per second.
    KibPerSecond,
    /// KiB.
    Kib,
}

impl Unit {
    /// log2 of the bytes in one step; 0 where it is no size (a suffix then just multiplies, as in drbd-utils).
    const fn shift(self) -> u32 {
        match self {
            Unit::Count | Unit::Tenths | Unit::Seconds | Unit::Bytes => 0,
            Unit::Sectors => 9,
            Unit::KibPerSecond | Unit::Kib => 10,
        }
    }

    /// The suffix that names this unit behind a number.
    pub const fn suffix(self) -> &'static str {
        match self {
            Unit::Count | Unit::Tenths | Unit::Seconds | Unit::Bytes => "",
            Unit::Sectors => "s",
            Unit::KibPerSecond | Unit::Kib => "k",
        }
    }

    /// What a reader of `drbdsetup show` is told about the number.
    pub const fn comment(self) -> &'static str {
        match self {
            Unit::Count => "",
            Unit::Tenths => "1/10 seconds",
            Unit::Seconds => "seconds",
            Unit::Bytes | Unit::Sectors | Unit::Kib => "bytes",
            Unit::KibPerSecond => "bytes/second",
        }
    }
}

/// The type of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// yes or no; one byte.
    Bool {
        /// When not given.
        default: bool,
    },
    /// A number within a range.
    Number {
        /// How it travels.
        wire: Wire,
        /// Smallest legal value.
        min: i64,
        /// Largest legal value.
        max: i64,
        /// When not given.
        default: i64,
        /// What 1 means.
        unit: Unit,
    },
    /// One of some words; an unsigned 32-bit number on the wire.
    Choice {
        /// The words with their numbers.
        names: &'static [(&'static str, u32)],
        /// When not given.
        default: u32,
    },
    /// A string; `max` counts the NUL.
    Text {
        /// Most bytes on the wire.
        max: u16,
    },
    /// Raw bytes.
    Bytes {
        /// Most bytes on the wire.
        max: u16,
    },
    /// A 32-bit number that reports something.
    U32,
    /// A 64-bit number that reports something.
    U64,
}

/// One attribute of a nest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    /// Number within its nest.
    pub nr: u16,
    /// Name in drbd.conf, on command lines and in messages.
    pub name: &'static str,
    /// Type, range, default.
    pub kind: Kind,
    /// A nest without it is refused.
    pub required: bool,
    /// Set once, at creation.
    pub invariant: bool,
    /// Shown to the administrator only.
    pub sensitive: bool,
    /// Where a person may write it.
    pub place: Place,
}

/// Where a person may write an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the section of drbd.conf that the nest stands for, and as `--name` of the commands that take the nest.
    Config,
    /// Only as `--name` of a command.
    Argument,
    /// Nowhere as an option: an operand, or a value that the kernel reports.
    Elsewhere,
}

impl Attr {
    const fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            nr: 0,
            name,
            kind,
            required: false,
            invariant: false,
            sensitive: false,
            place: Place::Elsewhere,
        }
    }

    /// The same at number `nr` of its nest.
    pub const fn at(self, nr: u16) -> Self {
        Self { nr, ..self }
    }

    /// A nest without it is refused.
    pub const fn required(self) -> Self {
        Self {
            required: true,
            ..self
        }
    }

    /// It cannot be changed later.
    pub const fn invariant(self) -> Self {
        Self {
            invariant: true,
            ..self
        }
    }

    /// It is shown to the administrator only.
    pub const fn sensitive(self) -> Self {
        Self {
            sensitive: true,
            ..self
        }
    }

    /// It may stand in drbd.conf.
    pub const fn config(self) -> Self {
        Self {
            place: Place::Config,
            ..self
        }
    }

    /// It may be given to a command, not in drbd.conf.
    pub const fn argument(self) -> Self {
        Self {
            place: Place::Argument,
            ..self
        }
    }

    /// Whether the kernel may take these bytes for this attribute: exact length, NUL, range.
    pub fn admits(&self, payload: &[u8]) -> bool {
        let attribute = Attribute {
            nr: self.nr,
            payload,
        };
        match self.kind {
            Kind::Bool { .. } => payload.len() == 1,
            Kind::U32 => payload.len() == 4,
            Kind::U64 => payload.len() == 8,
            Kind::Number { .. } => self.number(&attribute).is_some(),
            Kind::Choice { names, .. } => attribute
                .u32()
                .is_some_and(|value| names.iter().any(|&(_, number)| number == value)),
            Kind::Text { max } => payload.len() <= usize::from(max) && payload.contains(&0),
            Kind::Bytes { max } => payload.len() <= usize::from(max),
        }
    }

    fn number(&self, attribute: &Attribute<'_>) -> Option<i64> {
        let Kind::Number { wire, min, max, .. } = self.kind else {
            return None;
        };
        let value = match wire {
            Wire::U32 => i64::from(attribute.u32()?),
            Wire::I32 => i64::from(attribute.u32()?.cast_signed_compat()),
            Wire::U64 => i64::try_from(attribute.u64()?).ok()?,
        };
        (min..=max).contains(&value).then_some(value)
    }

    /// What the bytes of this attribute mean; none if they do not fit its type.
    pub fn value<'a>(&self, attribute: &Attribute<'a>) -> Option<Value<'a>> {
        Some(match self.kind {
            Kind::Bool { .. } => Value::Bool(attribute.u8()? != 0),
            Kind::U32 => Value::Number(i64::from(attribute.u32()?)),
            Kind::U64 => Value::Wide(attribute.u64()?),
            Kind::Number { wire, .. } => Value::Number(match wire {
                Wire::U32 => i64::from(attribute.u32()?),
                Wire::I32 => i64::from(attribute.u32()?.cast_signed_compat()),
                Wire::U64 => i64::try_from(attribute.u64()?).ok()?,
            }),
            Kind::Choice { .. } => Value::Choice(attribute.u32()?),
            Kind::Text { .. } => Value::Text(attribute.string()?),
            Kind::Bytes { .. } => Value::Text(attribute.payload),
        })
    }

    /// The value that holds when nothing is said.
    pub fn default_value(&self) -> Value<'static> {
        match self.kind {
            Kind::Bool { default } => Value::Bool(default),
            Kind::Number { default, .. } => Value::Number(default),
            Kind::Choice { default, .. } => Value::Choice(default),
            Kind::Text { .. } | Kind::Bytes { .. } => Value::Text(&[]),
            Kind::U32 => Value::Number(0),
            Kind::U64 => Value::Wide(0),
        }
    }

    /// Appends the attribute to a request. A value of another type than the attribute's is `Full`, too: the table
    /// made the value, so that cannot happen.
    pub fn put(&self, writer: &mut Writer<'_>, value: Value<'_>) -> Result<(), Full> {
        let ty = if self.required {
            self.nr
        } else {
            self.nr | MANDATORY
        };
        match (self.kind, value) {
            (Kind::Bool { .. }, Value::Bool(value)) => writer.put(ty, &[u8::from(value)]),
            (Kind::Number { wire, .. }, Value::Number(value)) => match wire {
                Wire::U32 => writer.put(ty, &u32::try_from(value).map_err(|_| Full)?.to_ne_bytes()),
                Wire::I32 => writer.put(ty, &i32::try_from(value).map_err(|_| Full)?.to_ne_bytes()),
                Wire::U64 => writer.put(ty, &u64::try_from(value).map_err(|_| Full)?.to_ne_bytes()),
            },
            (Kind::U32, Value::Number(value)) => {
                writer.put(ty, &u32::try_from(value).map_err(|_| Full)?.to_ne_bytes())
            }
            (Kind::Choice { .. }, Value::Choice(value)) => writer.put(ty, &value.to_ne_bytes()),
            (Kind::Text { .. }, Value::Text(text)) => writer.put_string(ty, text),
            (Kind::Bytes { .. }, Value::Text(bytes)) => writer.put(ty, bytes),
            _ => Err(Full),
        }
    }

    /// Reads what a person wrote for this attribute.
    pub fn parse<'a>(&self, text: &'a str) -> Result<Value<'a>, BadValue> {
        match self.kind {
            Kind::Bool { .. } => match text {
                "yes" => Ok(Value::Bool(true)),
                "no" => Ok(Value::Bool(false)),
                _ => Err(BadValue::NotABool),
            },
            Kind::Number { min, max, unit, .. } => {
                let value = parse_number(text, unit)?;
                if (min..=max).contains(&value) {
                    Ok(Value::Number(value))
                } else {
                    Err(BadValue::OutOfRange { value, min, max })
                }
            }
            Kind::Choice { names, .. } => names
                .iter()
                .find(|(name, _)| {
                    // Protocol letters are taken in either case, as drbd-utils do.
                    *name == text || (name.len() == 1 && name.eq_ignore_ascii_case(text))
                })
                .map(|&(_, number)| Value::Choice(number))
                .ok_or(BadValue::NotAChoice { names }),
            Kind::Text { max } => {
                if text.len() < usize::from(max) {
                    Ok(Value::Text(text.as_bytes()))
                } else {
                    Err(BadValue::TooLong {
                        max: max.saturating_sub(1),
                    })
                }
            }
            Kind::Bytes { .. } | Kind::U32 | Kind::U64 => Err(BadValue::NotANumber),
        }
    }
}

/// An attribute's value while it has no struct around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// yes or no.
    Bool(bool),
    /// A number in the attribute's unit.
    Number(i64),
    /// A reported 64-bit number (a UUID needs all bits).
    Wide(u64),
    /// The wire number of one of the attribute's words.
    Choice(u32),
    /// A string, or raw bytes.
    Text(&'a [u8]),
}

/// Why a text is not a value of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadValue {
    /// Neither `yes` nor `no`.
    NotABool,
    /// Not `[-]digits[unit]`.
    NotANumber,
    /// A number, outside the range.
    OutOfRange {
        /// In the attribute's unit.
        value: i64,
        /// Smallest legal value.
        min: i64,
        /// Largest legal value.
        max: i64,
    },
    /// None of the words.
    NotAChoice {
        /// The words that are.
        names: &'static [(&'static str, u32)],
    },
    /// A string that does not fit.
    TooLong {
        /// Most bytes.
        max: u16,
    },
}

/// `-?[0-9]+[sSkKmMgGtT]?` in steps of `unit`. A finer unit than the attribute's rounds up.
pub fn parse_number(text: &str, unit: Unit) -> Result<i64, BadValue> {
    let split = text
        .trim_end_matches(|c: char| c.is_ascii_alphabetic())
        .len();
    let (digits, suffix) = text.split_at_checked(split).ok_or(BadValue::NotANumber)?;
    let from = match suffix {
        "" => unit.shift(),
        "s" | "S" => 9,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        _ => return Err(BadValue::NotANumber),
    };
    let number = parse_integer(digits)?;
    let to = unit.shift();
    let scaled = match from.checked_sub(to) {
        Some(up) => number.checked_mul(1i64.wrapping_shl(up)),
        None => {
            let down = to.saturating_sub(from);
            let last = 1i64.wrapping_shl(down).wrapping_sub(1);
            number.checked_add(last).map(|n| n.wrapping_shr(down))
        }
    };
    // What does not fit 63 bits is outside every range there is.
    scaled.ok_or(BadValue::OutOfRange {
        value: i64::MAX,
        min: 0,
        max: i64::MAX,
    })
}

/// `-?[0-9]+`, without the library's parser, whose overflow checks would be panics in a kernel.
fn parse_integer(text: &str) -> Result<i64, BadValue> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if digits.is_empty() {
        return Err(BadValue::NotANumber);
    }
    let mut number = 0i64;
    for byte in digits.bytes() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(BadValue::NotANumber);
        }
        number = number.saturating_mul(10).saturating_add(i64::from(digit));
    }
    Ok(if negative {
        number.wrapping_neg()
    } else {
        number
    })
}

/// `u32::cast_signed` is newer than our compiler.
trait CastSigned {
    fn cast_signed_compat(self) -> i32;
}

impl CastSigned for u32 {
    fn cast_signed_compat(self) -> i32 {
        i32::from_ne_bytes(self.to_ne_bytes())
    }
}

/// A yes/no attribute.
pub const fn flag(name: &'static str, default: bool) -> Attr {
    Attr::new(name, Kind::Bool { default })
}

/// A number; `range` is smallest and largest.
pub const fn number(
    wire: Wire,
    name: &'static str,
    range: (i64, i64),
    default: i64,
    unit: Unit,
) -> Attr {
    let (min, max) = range;
    Attr::new(
        name,
        Kind::Number {
            wire,
            min,
            max,
            default,
            unit,
        },
    )
}

/// One of some words.
pub const fn choice(
    name: &'static str,
    names: &'static [(&'static str, u32)],
    default: u32,
) -> Attr {
    Attr::new(name, Kind::Choice { names, default })
}

/// A string; `max` counts the NUL.
pub const fn text(name: &'static str, max: u16) -> Attr {
    Attr::new(name, Kind::Text { max })
}

/// Raw bytes.
pub const fn bytes(name: &'static str, max: u16) -> Attr {
    Attr::new(name, Kind::Bytes { max })
}

/// A reported 32-bit number.
pub const fn word(name: &'static str) -> Attr {
    Attr::new(name, Kind::U32)
}

/// A reported 64-bit number.
pub const fn wide(name: &'static str) -> Attr {
    Attr::new(name, Kind::U64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_units_and_round_up() {
        let rate = Unit::KibPerSecond;
        assert_eq!(parse_number("33", rate), Ok(33));
        assert_eq!(parse_number("33M", rate), Ok(33 << 10));
        assert_eq!(parse_number("1s", rate), Ok(1));
        assert_eq!(parse_number("3s", rate), Ok(2));
        assert_eq!(parse_number("10G", Unit::Sectors), Ok(10 << 21));
        assert_eq!(parse_number("-1", Unit::Count), Ok(-1));
        for bad in ["", "k", "abc", "1x", "1kk", "+1", "1 k", "0x10"] {
            assert_eq!(parse_number(bad, rate), Err(BadValue::NotANumber), "{bad}");
        }
        assert!(matches!(
            parse_number("9000000000000000000G", rate),
            Err(BadValue::OutOfRange { .. })
        ));
    }

    #[test]
    fn admits_checks_length_range_and_nul() {
        let timeout = number(Wire::U32, "timeout", (1, 600), 60, Unit::Tenths);
        assert!(timeout.admits(&600u32.to_ne_bytes()));
        assert!(!timeout.admits(&601u32.to_ne_bytes()));
        assert!(!timeout.admits(&[1]));
        let after = number(Wire::I32, "resync-after", (-1, 9), -1, Unit::Count);
        assert!(after.admits(&(-1i32).to_ne_bytes()));
        assert!(!after.admits(&(-2i32).to_ne_bytes()));
        let name = text("name", 4);
        assert!(name.admits(b"abc\0") && !name.admits(b"abcd") && !name.admits(b"abcd\0"));
    }
}
