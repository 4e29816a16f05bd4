//! Lists of numbers in few bits.
//!
//! A number's class is its magnitude with a few bits after the leading one. Classes are written
//! as Huffman codes, the remaining bits as they are: within a few percent of the entropy for
//! counts of any scale. For texts every byte is a class.
//!
//! Where a number begins is known only once the one before it was read. Long lists are
//! therefore dealt out to four lanes that are read side by side, so that the processor waits for
//! four at a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::bytes::{DecodeError, Input, put};

/// Below this many numbers a table of codes does not pay.
const FEWEST_CODED: usize = 24;

/// The longest code that is read, in bits: a table for decoding has at most 4,096 entries.
const LONGEST_CODE: u32 = 12;

/// The longest code that is written: half the table.
const LONGEST_WRITTEN: u8 = 11;

/// Lanes of a long list.
const LANES: usize = 4;

/// Below this many numbers there is one lane: the lengths of four take up to 8 bytes.
const FEWEST_IN_LANES: usize = 256;

/// How numbers are sorted into classes: by the bits after the leading one that a class tells.
/// Numbers of fewer bits than that are classes of their own.
#[derive(Clone, Copy)]
pub(super) struct Classes {
    mantissa_bits: u32,
}

/// For counts: no class is wider than a sixteenth of its numbers.
pub(super) const COUNTS: Classes = Classes { mantissa_bits: 4 };

/// For bytes: each is a class.
pub(super) const BYTES: Classes = Classes { mantissa_bits: 7 };

impl Classes {
    /// Numbers below this are classes of their own.
    fn small(self) -> u64 {
        2 << self.mantissa_bits
    }

    fn of(self, number: u64) -> usize {
        if number < self.small() {
            return number as usize;
        }
        let rest = number.ilog2() - self.mantissa_bits;
        ((rest as usize) << self.mantissa_bits) + (number >> rest) as usize
    }

    /// The leading bits of a class's numbers, and how many bits after those tell them apart.
    fn range(self, class: usize) -> (u64, u32) {
        if (class as u64) < self.small() {
            return (class as u64, 0);
        }
        let rest = (class >> self.mantissa_bits) - 1;
        let leading = class - (rest << self.mantissa_bits);
        (leading as u64, rest as u32)
    }
}

/// What lists are of.
pub(super) trait Number: Copy + Default {
    const MAX: u64;
    /// Of a number that is at most [`MAX`](Self::MAX).
    fn of(number: u64) -> Self;
    fn get(self) -> u64;
}

macro_rules! numbers {
    ($($type:ty)*) => {$(
        impl Number for $type {
            const MAX: u64 = <$type>::MAX as u64;

            #[inline(always)]
            fn of(number: u64) -> Self {
                number as $type
            }

            #[inline(always)]
            fn get(self) -> u64 {
                self.into()
            }
        }
    )*};
}

numbers!(u8 u16 u32 u64);

/// Lanes of a list of so many numbers.
fn lanes_of(count: usize) -> usize {
    if count < FEWEST_IN_LANES { 1 } else { LANES }
}

/// Appends the numbers; their count is not stored.
///
/// ```text
/// fewer than 24 numbers: each as a varint. Otherwise:
/// the first class, how many more: varint
/// the lengths of their codes: 4 bits each
/// if there are four lanes, the bytes of each: varint
/// lanes, number i in lane i mod 4: code and remaining bits of each number, the lowest bit first
/// ```
pub(super) fn put_numbers<T: Number>(out: &mut Vec<u8>, numbers: &[T], classes: Classes) {
    let all = || numbers.iter().map(|number| number.get());
    if numbers.len() < FEWEST_CODED {
        all().for_each(|number| put(out, number));
        return;
    }
    let (least, most) = all().fold((u64::MAX, 0), |(least, most), number| {
        (number.min(least), number.max(most))
    });
    let (first, last) = (classes.of(least), classes.of(most));
    let mut frequencies = vec![0_u64; last - first + 1];
    for number in all() {
        frequencies[classes.of(number) - first] += 1;
    }
    let lengths = code_lengths(&frequencies);
    put(out, first as u64);
    put(out, (last - first) as u64);
    for pair in lengths.chunks(2) {
        out.push(pair[0] | pair.get(1).copied().unwrap_or(0) << 4);
    }
    let of_classes = codes(&lengths).into_iter().zip(&lengths).enumerate();
    let codes = of_classes.map(|(class, (code, &length))| {
        let (_, rest) = classes.range(first + class);
        (u64::from(code), u32::from(length), rest)
    });
    let codes: Vec<(u64, u32, u32)> = codes.collect();
    let bits = codes.iter().zip(&frequencies);
    let bits: u64 = bits
        .map(|(code, times)| u64::from(code.1 + code.2) * times)
        .sum();
    let count = lanes_of(numbers.len());
    let lane = |lane| {
        let mut writer = BitWriter::with_room_for(bits as usize / 8 / count);
        for number in all().skip(lane).step_by(count) {
            let (code, length, rest) = codes[classes.of(number) - first];
            let low = number & ((1 << rest) - 1);
            match length + rest <= 32 {
                true => writer.put(code | low << length, length + rest),
                false => {
                    writer.put(code, length);
                    writer.put(low & u64::from(u32::MAX), rest.min(32));
                    writer.put(low >> 32, rest.saturating_sub(32));
                }
            }
        }
        writer.finish()
    };
    let lanes: Vec<Vec<u8>> = (0..count).map(lane).collect();
    if count > 1 {
        lanes.iter().for_each(|lane| put(out, lane.len() as u64));
    }
    lanes.iter().for_each(|lane| out.extend_from_slice(lane));
}

/// A list of which only the head was read.
pub(super) struct List {
    count: usize,
    lanes: usize,
    body: Body,
}

enum Body {
    Plain(Vec<u64>),
    Coded(Decoder),
}

impl List {
    /// Reads the head of a list of `count` numbers.
    pub(super) fn open(
        input: &mut Input<'_>,
        count: usize,
        classes: Classes,
    ) -> Result<Self, DecodeError> {
        // A number takes a bit or more.
        if count / 8 > input.left() {
            return Err(DecodeError::Truncated);
        }
        let body = if count < FEWEST_CODED {
            let numbers: Result<_, _> = (0..count).map(|_| input.number()).collect();
            Body::Plain(numbers?)
        } else {
            let most = classes.of(u64::MAX);
            let first = input.length(most, "first class")?;
            let more = input.length(most - first, "last class")?;
            let packed = input.take(more / 2 + 1)?;
            let nibbles = packed.iter().flat_map(|&byte| [byte & 15, byte >> 4]);
            let lengths: Vec<u8> = nibbles.take(more + 1).collect();
            Body::Coded(Decoder::new(first, &lengths, classes)?)
        };
        Ok(Self {
            count,
            lanes: lanes_of(count),
            body,
        })
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// No number of the list is larger.
    pub(super) fn most(&self) -> u64 {
        match &self.body {
            Body::Plain(numbers) => numbers.iter().copied().max().unwrap_or(0),
            Body::Coded(decoder) => decoder.most,
        }
    }

    /// Reads the numbers.
    pub(super) fn read<T: Number>(&self, input: &mut Input<'_>) -> Result<Vec<T>, DecodeError> {
        if self.most() > T::MAX {
            return Err(DecodeError::Damaged("size of a number"));
        }
        let decoder = match &self.body {
            Body::Plain(numbers) => return Ok(numbers.iter().copied().map(T::of).collect()),
            Body::Coded(decoder) => decoder,
        };
        let mut numbers = vec![T::default(); self.count];
        if self.lanes == 1 {
            let [used] = decoder.fill([input.rest()], &mut numbers)?;
            input.take(used)?;
            return Ok(numbers);
        }
        let (lanes, lengths) = take_lanes(input)?;
        if decoder.fill(lanes, &mut numbers)? != lengths {
            return Err(DecodeError::Damaged("length of a lane"));
        }
        Ok(numbers)
    }

    /// Reads one number: of the others only those are looked at that come before in its lane.
    pub(super) fn nth<T: Number>(
        &self,
        at: usize,
        input: &mut Input<'_>,
    ) -> Result<T, DecodeError> {
        if self.most() > T::MAX {
            return Err(DecodeError::Damaged("size of a number"));
        }
        if at >= self.count {
            return Err(DecodeError::Truncated);
        }
        let number = match &self.body {
            Body::Plain(numbers) => numbers.get(at).copied().ok_or(DecodeError::Truncated)?,
            Body::Coded(decoder) if self.lanes == 1 => decoder.nth(input.rest(), at)?,
            Body::Coded(decoder) => {
                let (lanes, _) = take_lanes(input)?;
                let lane = lanes.get(at % LANES).copied().unwrap_or_default();
                decoder.nth(lane, at / LANES)?
            }
        };
        Ok(T::of(number))
    }

    /// Reads the numbers a piece at a time.
    pub(super) fn pieces<'a>(&'a self, input: &mut Input<'a>) -> Result<Pieces<'a>, DecodeError> {
        let (lanes, _) = match &self.body {
            Body::Coded(_) if self.lanes > 1 => take_lanes(input)?,
            _ => ([input.rest(), &[], &[], &[]], [0; LANES]),
        };
        Ok(Pieces {
            list: self,
            lanes,
            positions: [0; LANES],
            read: 0,
        })
    }

    /// Passes the numbers over: for as many bytes as there are lanes where it is a long list.
    pub(super) fn pass(&self, input: &mut Input<'_>) -> Result<(), DecodeError> {
        match &self.body {
            Body::Plain(_) => Ok(()),
            Body::Coded(_) if self.lanes == 1 => self.read::<u64>(input).map(drop),
            Body::Coded(_) => take_lanes(input).map(drop),
        }
    }
}

/// Numbers in a piece of a list, a multiple of its lanes.
const PIECE: usize = 1_024;

/// A list that is read a piece at a time.
pub(super) struct Pieces<'a> {
    list: &'a List,
    lanes: [&'a [u8]; LANES],
    /// In bits.
    positions: [usize; LANES],
    read: usize,
}

impl Pieces<'_> {
    /// Appends the next numbers; none after the last.
    pub(super) fn next<T: Number>(&mut self, to: &mut Vec<T>) -> Result<(), DecodeError> {
        if self.list.most() > T::MAX {
            return Err(DecodeError::Damaged("size of a number"));
        }
        let end = self.list.count.min(self.read + PIECE);
        let length = to.len() + end - self.read;
        match &self.list.body {
            Body::Plain(numbers) => {
                let more = numbers.get(self.read..end).unwrap_or_default();
                to.extend(more.iter().copied().map(T::of));
            }
            Body::Coded(decoder) => {
                let from = to.len();
                to.resize(length, T::default());
                let more = to.get_mut(from..).unwrap_or_default();
                let [lane, ..] = self.lanes;
                let [position, ..] = &mut self.positions;
                match self.list.lanes {
                    1 => decoder.go_on([lane], std::array::from_mut(position), more)?,
                    _ => decoder.go_on(self.lanes, &mut self.positions, more)?,
                }
            }
        }
        self.read = end;
        Ok(())
    }
}

type Lanes<'a> = ([&'a [u8]; LANES], [usize; LANES]);

/// The lanes of a long list, and how long each is.
fn take_lanes<'a>(input: &mut Input<'a>) -> Result<Lanes<'a>, DecodeError> {
    let mut lengths = [0; LANES];
    for length in &mut lengths {
        let most = input.left();
        *length = input.length(most, "length of a lane")?;
    }
    let mut lanes: [&[u8]; LANES] = [&[]; LANES];
    for (lane, &length) in lanes.iter_mut().zip(&lengths) {
        *lane = input.take(length)?;
    }
    Ok((lanes, lengths))
}

/// Reads a list of `count` numbers.
pub(super) fn take_numbers<T: Number>(
    input: &mut Input<'_>,
    count: usize,
    classes: Classes,
) -> Result<Vec<T>, DecodeError> {
    List::open(input, count, classes)?.read(input)
}

/// Huffman code lengths of at most [`LONGEST_WRITTEN`], 0 for classes that do not occur.
fn code_lengths(frequencies: &[u64]) -> Vec<u8> {
    let mut frequencies = frequencies.to_vec();
    loop {
        let lengths = huffman(&frequencies);
        if lengths.iter().all(|&length| length <= LONGEST_WRITTEN) {
            return lengths;
        }
        // Flatter frequencies give shorter codes, in the end equally long ones: there are under 1,024 classes.
        for frequency in frequencies.iter_mut().filter(|frequency| **frequency > 0) {
            *frequency = *frequency / 2 + 1;
        }
    }
}

fn huffman(frequencies: &[u64]) -> Vec<u8> {
    let mut lengths = vec![0_u8; frequencies.len()];
    let mut parents: Vec<usize> = vec![0; frequencies.len()];
    let mut heap: BinaryHeap<Reverse<(u64, usize)>> = frequencies
        .iter()
        .enumerate()
        .filter(|&(_, &frequency)| frequency > 0)
        .map(|(class, &frequency)| Reverse((frequency, class)))
        .collect();
    if let (1, Some(Reverse((_, class)))) = (heap.len(), heap.peek()) {
        lengths[*class] = 1;
        return lengths;
    }
    while let (Some(Reverse(one)), Some(Reverse(two))) = (heap.pop(), heap.pop()) {
        let parent = parents.len();
        parents.push(0);
        parents[one.1] = parent;
        parents[two.1] = parent;
        heap.push(Reverse((one.0 + two.0, parent)));
        if heap.len() == 1 {
            break;
        }
    }
    let root = parents.len() - 1;
    let mut depths = vec![0_u8; parents.len()];
    for node in (0..root).rev() {
        if parents[node] > 0 {
            depths[node] = depths[parents[node]].saturating_add(1);
        }
    }
    lengths.copy_from_slice(&depths[..frequencies.len()]);
    lengths
}

/// Canonical codes, with their bits in the order in which they are written.
fn codes(lengths: &[u8]) -> Vec<u16> {
    let mut codes = vec![0; lengths.len()];
    let mut code = 0_u32;
    for length in 1..=LONGEST_CODE {
        for (class, _) in lengths
            .iter()
            .enumerate()
            .filter(|&(_, &each)| u32::from(each) == length)
        {
            codes[class] = (code.reverse_bits() >> (32 - length)) as u16;
            code += 1;
        }
        code <<= 1;
    }
    codes
}

/// Decodes by a table of all values of the next bits.
struct Decoder {
    /// Of a power of two of entries.
    table: Vec<Entry>,
    /// Bits of the longest number, with its code.
    longest: u32,
    /// No number is larger.
    most: u64,
    shape: Shape,
}

/// What all entries of a table have in common, so that there is less to do for each number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Each is a code, and a number without remaining bits.
    Plain,
    /// Each is a code, and a number of up to [`SMALL_BITS`].
    Small,
    /// Each is a code, and two numbers are there at one look.
    Wide,
    Any,
}

/// What the next bits say, in one word: how long the code is, how long it is with the bits that remain, a mask of
/// those where they are 16 or fewer, and the number without them. A length of 0: there is no such code.
#[derive(Clone, Copy)]
struct Entry(u64);

const NO_CODE: Entry = Entry(0);

/// Of numbers that are in their entries but for the bits that remain.
const SMALL_BITS: u32 = 21;

impl Entry {
    fn new(length: u8, leading: u64, rest: u32) -> Self {
        let length = u64::from(length);
        let (mask, number) = match rest <= 16 {
            true => ((1 << rest) - 1, leading << rest),
            false => (0, leading),
        };
        Self(length | (length + u64::from(rest)) << 8 | mask << 16 | number << 32)
    }

    #[inline(always)]
    fn length(self) -> u32 {
        self.0 as u32 & 0xff
    }

    /// With the bits that remain.
    #[inline(always)]
    fn all_bits(self) -> u32 {
        self.0 as u32 >> 8 & 0xff
    }

    /// Of one of [`Shape::Plain`].
    #[inline(always)]
    fn plain(self) -> u64 {
        self.0 >> 32
    }

    /// Of one of [`Shape::Small`].
    #[inline(always)]
    fn small(self, bits: u64) -> u64 {
        self.plain() | (bits >> self.length()) & u64::from(self.0 as u32 >> 16)
    }

    /// How many those are.
    #[inline(always)]
    fn rest(self) -> u32 {
        self.all_bits() - self.length()
    }

    /// Of any, where all its bits are there.
    #[inline(always)]
    fn number(self, bits: u64) -> u64 {
        self.with_rest(bits >> self.length())
    }

    /// The same from its remaining bits, which are the lowest of these.
    #[inline(always)]
    fn with_rest(self, bits: u64) -> u64 {
        let low = bits & ((1 << self.rest()) - 1);
        match self.rest() <= 16 {
            true => self.plain() | low,
            false => self.plain() << self.rest() | low,
        }
    }
}

/// Bits that one look shows at least.
const LOOK_BITS: u32 = 57;

/// A code and so many remaining bits are there at one look.
const REST_AT_ONCE: u32 = LOOK_BITS - LONGEST_CODE;

impl Decoder {
    fn new(first: usize, lengths: &[u8], classes: Classes) -> Result<Self, DecodeError> {
        let index_bits: u32 = lengths.iter().copied().max().unwrap_or(0).into();
        let kraft: usize = lengths
            .iter()
            .filter(|&&length| length > 0)
            .map(|&length| (1 << LONGEST_CODE) >> length)
            .sum();
        if index_bits == 0 || index_bits > LONGEST_CODE || kraft > 1 << LONGEST_CODE {
            return Err(DecodeError::Damaged("code lengths"));
        }
        let mut table = vec![NO_CODE; 1_usize << index_bits];
        for (class, (&code, &length)) in codes(lengths).iter().zip(lengths).enumerate() {
            if length > 0 {
                let (leading, rest) = classes.range(first + class);
                let entry = Entry::new(length, leading, rest);
                let places = table.iter_mut().skip(code.into());
                places.step_by(1 << length).for_each(|it| *it = entry);
            }
        }
        let (leading, rest) = classes.range(first + lengths.len() - 1);
        let most = leading << rest | ((1 << rest) - 1);
        let longest = table.iter().map(|entry| entry.all_bits());
        let longest = longest.max().unwrap_or(0).max(1);
        let shape = match kraft == 1 << LONGEST_CODE {
            true if rest == 0 => Shape::Plain,
            true if most < 1 << SMALL_BITS => Shape::Small,
            true if longest <= LOOK_BITS / 2 => Shape::Wide,
            _ => Shape::Any,
        };
        Ok(Self {
            longest,
            table,
            most,
            shape,
        })
    }

    /// Reads as many numbers, in turn from each lane. Returns the bytes that they took.
    fn fill<T: Number, const N: usize>(
        &self,
        lanes: [&[u8]; N],
        numbers: &mut [T],
    ) -> Result<[usize; N], DecodeError> {
        let mut positions = [0_usize; N];
        self.go_on(lanes, &mut positions, numbers)?;
        Ok(positions.map(|position| position.div_ceil(8)))
    }

    /// Reads as many numbers, in turn from each lane, from these positions on, which are in bits.
    fn go_on<T: Number, const N: usize>(
        &self,
        lanes: [&[u8]; N],
        at: &mut [usize; N],
        numbers: &mut [T],
    ) -> Result<(), DecodeError> {
        // Apart from the lanes, so that they stay in registers.
        let mut positions = *at;
        let (rounds, last) = numbers.as_chunks_mut::<N>();
        // Of short lists, which have one lane, there are as few numbers as there are lists.
        let rounds = match self.shape {
            _ if N == 1 => rounds,
            Shape::Plain => {
                let next = |entry: Entry, _| (entry.plain(), entry.length());
                self.looks::<T, N, 4>(lanes, &mut positions, rounds, next)
            }
            Shape::Small if LOOK_BITS / self.longest >= 4 => {
                let next = |entry: Entry, bits| (entry.small(bits), entry.all_bits());
                self.looks::<T, N, 4>(lanes, &mut positions, rounds, next)
            }
            Shape::Small if LOOK_BITS / self.longest == 3 => {
                let next = |entry: Entry, bits| (entry.small(bits), entry.all_bits());
                self.looks::<T, N, 3>(lanes, &mut positions, rounds, next)
            }
            Shape::Small => {
                let next = |entry: Entry, bits| (entry.small(bits), entry.all_bits());
                self.looks::<T, N, 2>(lanes, &mut positions, rounds, next)
            }
            Shape::Wide => {
                let next = |entry: Entry, bits| (entry.number(bits), entry.all_bits());
                self.looks::<T, N, 2>(lanes, &mut positions, rounds, next)
            }
            Shape::Any => rounds,
        };
        let mut codes_only = true;
        for round in rounds {
            for lane in 0..N {
                let (next, is_code) = self.next(lanes[lane], &mut positions[lane]);
                round[lane] = T::of(next);
                codes_only &= is_code;
            }
        }
        for (lane, number) in last.iter_mut().enumerate() {
            let (next, is_code) = self.next(lanes[lane], &mut positions[lane]);
            *number = T::of(next);
            codes_only &= is_code;
        }
        if !codes_only {
            return Err(DecodeError::Damaged("code"));
        }
        *at = positions;
        let mut used = positions.iter().zip(&lanes);
        match used.all(|(position, lane)| position.div_ceil(8) <= lane.len()) {
            true => Ok(()),
            false => Err(DecodeError::Truncated),
        }
    }

    /// Reads rounds of a number from each lane, so many of a lane at one look as fit into it, by what `next` says of an
    /// entry: the number, and the bits that it takes. Returns those that are left.
    #[inline(always)]
    fn looks<'a, T: Number, const N: usize, const AT_ONCE: usize>(
        &self,
        lanes: [&[u8]; N],
        positions: &mut [usize; N],
        rounds: &'a mut [[T; N]],
        next: impl Fn(Entry, u64) -> (u64, u32),
    ) -> &'a mut [[T; N]] {
        // With the length at hand there is no entry outside of the table.
        let (table, mask) = (&self.table[..], self.table.len().wrapping_sub(1));
        let mut of_lanes = *positions;
        let (looks, left) = rounds.as_chunks_mut::<AT_ONCE>();
        for rounds in looks {
            for lane in 0..N {
                let mut bits = peek(lanes[lane], of_lanes[lane]);
                let mut used = 0;
                for round in &mut *rounds {
                    let entry = table.get(bits as usize & mask).copied().unwrap_or(NO_CODE);
                    let (number, length) = next(entry, bits);
                    round[lane] = T::of(number);
                    bits >>= length;
                    used += length;
                }
                of_lanes[lane] = of_lanes[lane].wrapping_add(used as usize);
            }
        }
        *positions = of_lanes;
        left
    }

    /// The number at a place of a lane.
    fn nth(&self, lane: &[u8], place: usize) -> Result<u64, DecodeError> {
        let (mut position, mut codes_only) = (0, true);
        for _ in 0..place {
            codes_only &= self.pass(lane, &mut position);
        }
        let (number, is_code) = self.next(lane, &mut position);
        match codes_only && is_code {
            true if position.div_ceil(8) <= lane.len() => Ok(number),
            true => Err(DecodeError::Truncated),
            false => Err(DecodeError::Damaged("code")),
        }
    }

    /// Passes a number over. Says whether it is one.
    #[inline(always)]
    fn pass(&self, lane: &[u8], position: &mut usize) -> bool {
        let entry = self.entry(peek(lane, *position));
        *position += entry.all_bits() as usize;
        entry.length() > 0
    }

    /// The number at a position, and whether it is one.
    #[inline(always)]
    fn next(&self, lane: &[u8], position: &mut usize) -> (u64, bool) {
        let bits = peek(lane, *position);
        let entry = self.entry(bits);
        let length = entry.length();
        let rest = if entry.rest() <= REST_AT_ONCE {
            bits >> length
        } else {
            let from = *position + length as usize;
            let low = peek(lane, from) & u64::from(u32::MAX);
            let high = peek(lane, from + 32);
            low | high << 32
        };
        *position += entry.all_bits() as usize;
        (entry.with_rest(rest), length > 0)
    }

    #[inline(always)]
    fn entry(&self, bits: u64) -> Entry {
        let at = bits as usize & self.table.len().wrapping_sub(1);
        self.table.get(at).copied().unwrap_or(NO_CODE)
    }
}

/// 57 bits or more from this one on; after the end there are zeros.
#[inline(always)]
fn peek(bytes: &[u8], position: usize) -> u64 {
    let from = position / 8;
    let word = match bytes.get(from..).and_then(|rest| rest.first_chunk()) {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => last_word(bytes, from),
    };
    word >> (position % 8)
}

#[cold]
fn last_word(bytes: &[u8], from: usize) -> u64 {
    let mut word = [0; 8];
    let rest = bytes.get(from..).unwrap_or(&[]);
    word.iter_mut().zip(rest).for_each(|(to, &byte)| *to = byte);
    u64::from_le_bytes(word)
}

#[derive(Default)]
struct BitWriter {
    out: Vec<u8>,
    pending: u64,
    /// Pending bits, fewer than 32.
    count: u32,
}

impl BitWriter {
    /// With room for about so many bytes: lanes are nearly as long as one another.
    fn with_room_for(bytes: usize) -> Self {
        Self {
            out: Vec::with_capacity(bytes + bytes / 16 + 8),
            ..Self::default()
        }
    }

    /// At most 32 bits, the lowest first.
    #[inline(always)]
    fn put(&mut self, bits: u64, count: u32) {
        self.pending |= bits << self.count;
        self.count += count;
        if self.count >= 32 {
            self.out
                .extend_from_slice(&(self.pending as u32).to_le_bytes());
            self.pending >>= 32;
            self.count -= 32;
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let bytes = self.count.div_ceil(8) as usize;
        self.out
            .extend(self.pending.to_le_bytes().iter().take(bytes));
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_magnitude_come_back() {
        let mut numbers: Vec<u64> = (0..64)
            .flat_map(|bit| [1_u64 << bit, (1 << bit) - 1])
            .collect();
        numbers.extend([u64::MAX, u64::MAX - 1, 0, 0, 0]);
        while numbers.len() < 2 * PIECE + 3 {
            numbers.extend_from_within(..);
        }
        let pieces = [PIECE, PIECE + 1, 2 * PIECE, numbers.len()];
        for count in [0, 1, 23, 24, 100, 255, 256, 257, 258, 259]
            .into_iter()
            .chain(pieces)
        {
            let mut out = Vec::new();
            put_numbers(&mut out, &numbers[..count], COUNTS);
            let mut input = Input::new(&out);
            let again: Vec<u64> = take_numbers(&mut input, count, COUNTS).unwrap();
            assert_eq!(again, numbers[..count]);
            assert_eq!(input.left(), 0);
            let mut input = Input::new(&out);
            let list = List::open(&mut input, count, COUNTS).unwrap();
            let body = input.rest();
            for (at, number) in numbers[..count].iter().enumerate() {
                assert_eq!(list.nth(at, &mut Input::new(body)), Ok(*number));
            }
            assert!(list.nth::<u64>(count, &mut Input::new(body)).is_err());
            let mut input = Input::new(body);
            let (mut pieces, mut again) = (list.pieces(&mut input).unwrap(), Vec::new());
            for _ in 0..=count / PIECE {
                pieces.next::<u64>(&mut again).unwrap();
            }
            pieces.next::<u64>(&mut again).unwrap();
            assert_eq!(again, numbers[..count]);
        }
    }

    #[test]
    fn codes_stay_short_whatever_the_frequencies() {
        let mut numbers = Vec::new();
        for class in 0..24_u64 {
            numbers.extend(vec![class * class * class; 1 << class.min(18)]);
        }
        let mut out = Vec::new();
        put_numbers(&mut out, &numbers, COUNTS);
        let mut input = Input::new(&out);
        let again: Vec<u64> = take_numbers(&mut input, numbers.len(), COUNTS).unwrap();
        assert_eq!(again, numbers);
    }
}
