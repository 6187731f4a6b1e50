// SPDX-License-Identifier: GPL-2.0-only

//! A nest: a struct whose fields are attributes. The macro makes the struct and its table from one list of rows.
//!
//! Reading is all or nothing: a struct is only replaced by one that every attribute agreed with.

use super::nlattr::{Full, Writer};
use super::table::{Attr, Kind};
use super::text::{Bytes, Secret, Text};

/// Number, name and rows of a nest.
#[derive(Clone, Copy, Debug)]
pub struct Nest {
    /// Number among the top-level attributes.
    pub nr: u16,
    /// Whether the kernel marks it `NESTED` in what it sends (it accepts both).
    pub marked: bool,
    /// What is in it, in the order in which the kernel sends it.
    pub attrs: &'static [Attr],
}

impl Nest {
    /// The row of a number.
    pub fn attr(&self, nr: u16) -> Option<&'static Attr> {
        self.attrs.iter().find(|attr| attr.nr == nr)
    }

    /// The row of an option's name.
    pub fn option(&self, name: &str) -> Option<&'static Attr> {
        self.attrs.iter().find(|attr| attr.name == name)
    }
}

/// Why a nest was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The bytes are no sequence of attributes.
    Malformed,
    /// There is no such attribute in this nest.
    Unknown {
        /// Its number.
        nr: u16,
    },
    /// The attribute's bytes do not fit its type or range.
    Invalid(&'static Attr),
    /// A required attribute is missing.
    Missing(&'static Attr),
    /// The attribute can be set at creation only.
    Invariant(&'static Attr),
}

impl Refusal {
    /// `ERR_MANDATORY_TAG`: what the stock driver answers for all of them.
    pub const CODE: i32 = 126;

    /// The stock driver's words, which drbdsetup prints as additional information.
    pub const fn text(self) -> &'static str {
        match self {
            Refusal::Missing(_) => "required attribute missing",
            Refusal::Unknown { .. } => "unknown mandatory attribute",
            Refusal::Invariant(_) => "can not change invariant setting",
            Refusal::Malformed | Refusal::Invalid(_) => "invalid attribute value",
        }
    }

    /// The name of the attribute in question, for the log.
    pub const fn attr_name(self) -> &'static str {
        match self {
            Refusal::Missing(attr) | Refusal::Invariant(attr) | Refusal::Invalid(attr) => attr.name,
            Refusal::Malformed | Refusal::Unknown { .. } => "?",
        }
    }
}

/// Whether attributes that only the administrator may see are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// Write them.
    Show,
    /// Leave them out.
    Hide,
}

/// A Rust type that an attribute can hold.
pub trait Field: Sized {
    /// What the table says holds when nothing is given.
    fn initial(kind: &Kind) -> Self;
    /// From an attribute's bytes.
    fn decode(payload: &[u8]) -> Option<Self>;
    /// Appends the attribute; an absent optional one appends nothing.
    fn encode(&self, writer: &mut Writer<'_>, nr: u16) -> Result<(), Full>;
}

impl Field for bool {
    fn initial(kind: &Kind) -> Self {
        matches!(kind, Kind::Bool { default: true })
    }
    fn decode(payload: &[u8]) -> Option<Self> {
        u8::decode(payload).map(|byte| byte != 0)
    }
    fn encode(&self, writer: &mut Writer<'_>, nr: u16) -> Result<(), Full> {
        writer.put(nr, &[u8::from(*self)])
    }
}

macro_rules! number_field {
    ($($number:ty)+) => { $(
        impl Field for $number {
            fn initial(kind: &Kind) -> Self {
                match *kind {
                    Kind::Number { default, .. } => <$number>::try_from(default).unwrap_or(0),
                    _ => 0,
                }
            }
            fn decode(payload: &[u8]) -> Option<Self> {
                payload.try_into().ok().map(<$number>::from_ne_bytes)
            }
            fn encode(&self, writer: &mut Writer<'_>, nr: u16) -> Result<(), Full> {
                writer.put(nr, &self.to_ne_bytes())
            }
        }
    )+ };
}
number_field!(u8 u32 i32 u64);

impl<const N: usize> Field for Text<N> {
    fn initial(_: &Kind) -> Self {
        Text::EMPTY
    }
    fn decode(payload: &[u8]) -> Option<Self> {
        let nul = payload.iter().position(|&b| b == 0)?;
        Text::new(payload.get(..nul)?).ok()
    }
    fn encode(&self, writer: &mut Writer<'_>, nr: u16) -> Result<(), Full> {
        writer.put_string(nr, self.as_bytes())
    }
}

impl<const N: usize> Field for Secret<N> {
    fn initial(_: &Kind) -> Self {
        Secret::default()
    }
    fn decode(payload: &[u8]) -> Option<Self> {
        Text::decode(payload).map(Secret::new)
    }
    fn encode(&self, writer: &mut Writer<'_>, nr: u16) -> Result<(), Full> {
        self.reveal().encode(writer, nr)
    }
}

impl<const N: usize> Field for Bytes<N> {
    fn initial(_: &Kind) -> Self {
        Bytes::EMPTY
    }
    fn decode(payload: &[u8]) -> Option<Self> {
        Bytes::new(payload).ok()
    }
    fn encode(&self, writer: &mut Writer<'_>, nr: u16) -> Result<(), Full> {
        writer.put(nr, self.as_bytes())
    }
}

impl<T: Field> Field for Option<T> {
    fn initial(_: &Kind) -> Self {
        None
    }
    fn decode(payload: &[u8]) -> Option<Self> {
        T::decode(payload).map(Some)
    }
    fn encode(&self, writer: &mut Writer<'_>, nr: u16) -> Result<(), Full> {
        self.as_ref()
            .map_or(Ok(()), |value| value.encode(writer, nr))
    }
}

macro_rules! choice_field {
    ($($choice:ident)+) => { $(
        impl Field for super::choices::$choice {
            fn initial(kind: &Kind) -> Self {
                match *kind {
                    Kind::Choice { default, .. } => Self::from_wire(default).unwrap_or_default(),
                    _ => Self::default(),
                }
            }
            fn decode(payload: &[u8]) -> Option<Self> {
                u32::decode(payload).and_then(Self::from_wire)
            }
            fn encode(&self, writer: &mut Writer<'_>, nr: u16) -> Result<(), Full> {
                writer.put(nr, &self.to_wire().to_ne_bytes())
            }
        }
    )+ };
}
choice_field!(OnIoError Fencing ReadBalancing Protocol AfterSb0p AfterSb1p AfterSb2p RrConflict OnCongestion OnNoData);

/// A struct that the macro below made, for code that handles all of them alike.
pub trait Nested: Sized {
    /// Its table.
    const TABLE: Nest;
    /// Reads what is understood and leaves the rest at its default: the way to read reports of a newer driver.
    fn read(bytes: &[u8]) -> Self;
}

/// Declares structs with their tables. A row is `number name: Type, description;`.
macro_rules! nests {
    ($(
        $(#[$doc:meta])*
        pub struct $name:ident = $tla:literal $marked:ident {
            $( $(#[$fdoc:meta])* $nr:literal $field:ident: $ty:ty, $attr:expr; )+
        }
    )+) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name {
            $( $(#[$fdoc])* pub $field: $ty, )+
        }

        impl $name {
            /// The table of this nest.
            pub const NEST: Nest = Nest {
                nr: $tla,
                marked: nests!(@marked $marked),
                attrs: &[$( $attr.at($nr) ),+],
            };

            /// Reads a new one: defaults where nothing is said, required attributes must be there.
            pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
                let mut new = Self::default();
                let seen = new.apply(bytes, false)?;
                for attr in Self::NEST.attrs {
                    if attr.required && seen & bit(attr.nr) == 0 {
                        return Err(Refusal::Missing(attr));
                    }
                }
                Ok(new)
            }

            /// Changes this one. With `reset`, what is not mentioned goes back to its default, except what can never
            /// change. On refusal nothing has changed.
            pub fn change(&mut self, bytes: &[u8], reset: bool) -> Result<(), Refusal> {
                let mut new = *self;
                if reset {
                    new.reset();
                }
                new.apply(bytes, true)?;
                *self = new;
                Ok(())
            }

            /// Takes every attribute in; returns which ones there were.
            fn apply(&mut self, bytes: &[u8], changing: bool) -> Result<u64, Refusal> {
                let mut seen = 0;
                for attribute in Reader::new(bytes) {
                    let attribute = attribute.map_err(|_| Refusal::Malformed)?;
                    let attr = Self::NEST
                        .attr(attribute.nr)
                        .ok_or(Refusal::Unknown { nr: attribute.nr })?;
                    if changing && attr.invariant {
                        return Err(Refusal::Invariant(attr));
                    }
                    if !attr.admits(attribute.payload) {
                        return Err(Refusal::Invalid(attr));
                    }
                    match attr.nr {
                        $( $nr => {
                            self.$field = <$ty as Field>::decode(attribute.payload)
                                .ok_or(Refusal::Invalid(attr))?;
                        } )+
                        _ => return Err(Refusal::Unknown { nr: attribute.nr }),
                    }
                    seen |= bit(attr.nr);
                }
                Ok(seen)
            }

            /// Back to the defaults, except what can never change.
            pub fn reset(&mut self) {
                let initial = Self::default();
                $(
                    if !$attr.invariant {
                        self.$field = initial.$field;
                    }
                )+
            }

            /// Appends the attributes alone.
            pub fn emit(&self, writer: &mut Writer<'_>, secrets: Secrets) -> Result<(), Full> {
                $(
                    if secrets == Secrets::Show || !$attr.sensitive {
                        self.$field.encode(writer, $nr)?;
                    }
                )+
                Ok(())
            }

            /// Appends the whole nest as the kernel sends it.
            pub fn emit_nest(&self, writer: &mut Writer<'_>, secrets: Secrets) -> Result<(), Full> {
                let ty = if Self::NEST.marked { $tla | NESTED } else { $tla };
                let open = writer.begin(ty)?;
                self.emit(writer, secrets)?;
                writer.end(open)
            }
        }

        impl Nested for $name {
            const TABLE: Nest = $name::NEST;

            fn read(bytes: &[u8]) -> Self {
                let mut new = Self::default();
                for attribute in Reader::new(bytes).map_while(Result::ok) {
                    match attribute.nr {
                        $( $nr => {
                            if let Some(value) = <$ty as Field>::decode(attribute.payload) {
                                new.$field = value;
                            }
                        } )+
                        _ => {}
                    }
                }
                new
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: <$ty as Field>::initial(&$attr.kind), )+ }
            }
        }
    )+ };
    (@marked marked) => { true };
    (@marked bare) => { false };
}
pub(super) use nests;

/// The bit of an attribute's number in a set (numbers are below 64: the tables are ours).
pub(super) const fn bit(nr: u16) -> u64 {
    1u64.wrapping_shl(nr as u32)
}
