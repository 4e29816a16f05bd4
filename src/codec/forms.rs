//! Which forms of records tests have read, and which these could have had besides: tests/golden.rs holds that there is
//! a golden one of each.
//!
//! A record that [`super::decode`] has read is read once more, by its type, with a note of each variant of an enum, of
//! each option that is there or not, and of each list or string of bytes that has something in it. So the note has what
//! its type could have as well as what it has.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use serde::de::value::Error;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};

use super::Record;

thread_local! {
    /// Asked for each record that anything decodes, so by itself: it costs a load.
    static IS_NOTING: Cell<bool> = const { Cell::new(false) };
    static NOTED: RefCell<Option<Forms>> = const { RefCell::new(None) };
}

/// What was noted.
#[derive(Clone, Debug, Default)]
pub struct Forms {
    pub kinds: BTreeSet<u8>,
    could_be: BTreeSet<String>,
    were: BTreeSet<String>,
}

impl Forms {
    /// Those that none of the records had.
    pub fn missing(&self) -> impl Iterator<Item = &String> {
        self.could_be.difference(&self.were)
    }

    fn note<const N: usize>(&mut self, place: &str, all: [&str; N], is: Option<usize>) {
        let name = |form: &str| format!("{place}: {form}");
        self.could_be.extend(all.map(name));
        self.were.extend(is.map(|is| name(all[is])));
    }
}

/// The forms of all records that `work` decodes.
pub fn read_by(work: impl FnOnce()) -> Forms {
    NOTED.set(Some(Forms::default()));
    IS_NOTING.set(true);
    work();
    IS_NOTING.set(false);
    NOTED.take().unwrap_or_default()
}

pub(super) fn note<'a, T: Record + Deserialize<'a>>(payload: &'a [u8]) {
    if IS_NOTING.get() {
        note_forms::<T>(payload);
    }
}

#[cold]
fn note_forms<'a, T: Record + Deserialize<'a>>(payload: &'a [u8]) {
    NOTED.with_borrow_mut(|forms| {
        let Some(forms) = forms else { return };
        forms.kinds.insert(T::KIND as u8);
        let place = format!("{:?}", T::KIND);
        let mut reader = Reader {
            rest: payload,
            forms,
        };
        let is_read = T::deserialize(reader.at(place.clone())).is_ok() && reader.rest.is_empty();
        if !is_read {
            forms.note(&place, ["read by its type"], None);
        }
    });
}

/// Bytes in the form that postcard gives them.
struct Reader<'r, 'de> {
    rest: &'de [u8],
    forms: &'r mut Forms,
}

impl<'r, 'de> Reader<'r, 'de> {
    fn at(&mut self, place: String) -> At<'_, 'r, 'de> {
        At {
            reader: self,
            place,
        }
    }

    fn take(&mut self, bytes: usize) -> Result<&'de [u8], Error> {
        let taken = self.rest.split_at_checked(bytes);
        let (taken, rest) = taken.ok_or_else(|| Error::custom("cut off"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Error> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> Result<u128, Error> {
        let mut number = 0;
        for shift in (0..128).step_by(7) {
            let byte = self.byte()?;
            number |= u128::from(byte & 127) << shift;
            if byte < 128 {
                break;
            }
        }
        Ok(number)
    }

    fn length(&mut self) -> Result<usize, Error> {
        Ok(self.number()? as usize)
    }
}

/// What comes next, and what it is called.
struct At<'a, 'r, 'de> {
    reader: &'a mut Reader<'r, 'de>,
    place: String,
}

impl<'a, 'r, 'de> At<'a, 'r, 'de> {
    fn parts(self, names: &'static [&'static str], left: usize) -> Parts<'a, 'r, 'de> {
        Parts {
            of: self,
            names,
            left,
            next: 0,
        }
    }

    fn list(self) -> Result<Parts<'a, 'r, 'de>, Error> {
        let length = self.reader.length()?;
        let is = (length > 0).then_some(0);
        self.reader.forms.note(&self.place, ["not empty"], is);
        Ok(self.parts(&[], length))
    }

    fn text(self) -> Result<&'de [u8], Error> {
        let length = self.reader.length()?;
        self.reader.take(length)
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.$visit(self.reader.number()? as $type)
        }
    )*};
}

macro_rules! signed {
    ($($method:ident $visit:ident $type:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let number = self.reader.number()?;
            visitor.$visit(((number >> 1) as $type) ^ -((number & 1) as $type))
        }
    )*};
}

impl<'de> Deserializer<'de> for At<'_, '_, 'de> {
    type Error = Error;

    forward_to_deserialize_any! { i8 f32 char identifier ignored_any }

    numbers! {
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
        deserialize_u128 visit_u128 u128;
    }

    signed! {
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
        deserialize_i128 visit_i128 i128;
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("a type that no record has"))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(self.reader.byte()? != 0)
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u8(self.reader.byte()?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let bytes = self.reader.take(8)?.try_into().map_err(Error::custom)?;
        visitor.visit_f64(f64::from_le_bytes(bytes))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = std::str::from_utf8(self.text()?).map_err(Error::custom)?;
        visitor.visit_borrowed_str(text)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Parts { of, left, .. } = self.list()?;
        visitor.visit_borrowed_bytes(of.reader.take(left)?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        let is = usize::from(self.reader.byte()? != 0);
        let halves = ["none", "some"];
        self.reader.forms.note(&self.place, halves, Some(is));
        if is == 0 {
            return visitor.visit_none();
        }
        self.place.push_str(".some");
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self.reader.at(name.into()))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(self.list()?)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(self.list()?)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_seq(self.parts(&["0", "1", "2", "3"], length))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        let of = self.reader.at(name.into());
        of.deserialize_tuple(length, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let of = self.reader.at(name.into());
        visitor.visit_seq(of.parts(fields, fields.len()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let is = self.reader.length()?;
        // Replies are results: each has an answer of its own, and all have the same refusals.
        let place = |variant: &str| match (name, variant) {
            ("Result", "Ok") => self.place.clone(),
            _ => name.to_owned(),
        };
        for (variant, form) in variants.iter().enumerate() {
            let is = (variant == is).then_some(0);
            self.reader.forms.note(&place(form), [form], is);
        }
        let variant = variants.get(is).copied().unwrap_or_default();
        let of = self.reader.at(format!("{}::{variant}", place(variant)));
        visitor.visit_enum(Variant { of, is: is as u32 })
    }
}

/// The elements of a list, or the fields of a record.
struct Parts<'a, 'r, 'de> {
    of: At<'a, 'r, 'de>,
    /// None of the elements of a list, which are all alike.
    names: &'static [&'static str],
    left: usize,
    next: usize,
}

impl<'r, 'de> Parts<'_, 'r, 'de> {
    fn next(&mut self) -> At<'_, 'r, 'de> {
        let name = self.names.get(self.next).copied().unwrap_or("each");
        self.next += 1;
        let place = format!("{}.{name}", self.of.place);
        self.of.reader.at(place)
    }

    fn is_over(&mut self) -> bool {
        let is_over = self.left == 0;
        self.left = self.left.saturating_sub(1);
        is_over
    }
}

impl<'de> SeqAccess<'de> for Parts<'_, '_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        match self.is_over() {
            true => Ok(None),
            false => seed.deserialize(self.next()).map(Some),
        }
    }
}

impl<'de> MapAccess<'de> for Parts<'_, '_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        self.next_element_seed(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(self.next())
    }
}

struct Variant<'a, 'r, 'de> {
    of: At<'a, 'r, 'de>,
    is: u32,
}

impl<'a, 'r, 'de> EnumAccess<'de> for Variant<'a, 'r, 'de> {
    type Error = Error;
    type Variant = At<'a, 'r, 'de>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), Error> {
        Ok((seed.deserialize(self.is.into_deserializer())?, self.of))
    }
}

impl<'de> VariantAccess<'de> for At<'_, '_, 'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_seq(self.parts(fields, fields.len()))
    }
}
