//! Lists of numbers in few bits.
//!
//! A number's class is its magnitude with a few bits after the leading one. Classes are written
//! as Huffman codes of at most 12 bits, the remaining bits as they are: within a few percent of
//! the entropy for counts of any scale. For texts every byte is a class.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::decode::{DecodeError, Input};
use super::encode::put;

/// Below this many numbers a table of codes does not pay.
const FEWEST_CODED: usize = 24;

/// The longest code, in bits: a table for decoding has at most 4,096 entries.
const LONGEST_CODE: usize = 12;

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

    /// The smallest number of a class, and how many bits tell the numbers of it apart.
    fn range(self, class: usize) -> (u64, u32) {
        if (class as u64) < self.small() {
            return (class as u64, 0);
        }
        let rest = (class >> self.mantissa_bits) - 1;
        let leading = class - (rest << self.mantissa_bits);
        ((leading as u64) << rest, rest as u32)
    }
}

/// Appends the numbers; their count is not stored.
pub(super) fn put_numbers(out: &mut Vec<u8>, numbers: &[u64], classes: Classes) {
    if numbers.len() < FEWEST_CODED {
        numbers.iter().for_each(|&number| put(out, number));
        return;
    }
    let first = classes.of(numbers.iter().copied().min().unwrap_or(0));
    let last = classes.of(numbers.iter().copied().max().unwrap_or(0));
    let mut frequencies = vec![0_u64; last - first + 1];
    for &number in numbers {
        frequencies[classes.of(number) - first] += 1;
    }
    let lengths = code_lengths(&frequencies);
    put(out, first as u64);
    put(out, (last - first) as u64);
    for pair in lengths.chunks(2) {
        out.push(pair[0] | pair.get(1).copied().unwrap_or(0) << 4);
    }
    let codes = codes(&lengths);
    let mut bits = BitWriter::new(out);
    for &number in numbers {
        let class = classes.of(number);
        let (smallest, rest) = classes.range(class);
        bits.put(codes[class - first].into(), lengths[class - first].into());
        bits.put(number - smallest, rest);
    }
    bits.finish();
}

/// Reads `count` numbers.
pub(super) fn take_numbers(
    input: &mut Input<'_>,
    count: usize,
    classes: Classes,
) -> Result<Vec<u64>, DecodeError> {
    // A number takes a bit or more.
    if count / 8 > input.left() {
        return Err(DecodeError::Truncated);
    }
    if count < FEWEST_CODED {
        return (0..count).map(|_| input.number()).collect();
    }
    let first = input.length(classes.of(u64::MAX), "first class")?;
    let more = input.length(classes.of(u64::MAX) - first, "last class")?;
    let packed = input.take(more / 2 + 1)?;
    let nibbles = packed.iter().flat_map(|&byte| [byte & 15, byte >> 4]);
    let lengths: Vec<u8> = nibbles.take(more + 1).collect();
    let decoder = Decoder::new(first, &lengths, classes)?;
    let mut bits = BitReader::new(input.rest());
    let mut numbers = Vec::with_capacity(count);
    for _ in 0..count {
        numbers.push(decoder.next(&mut bits)?);
    }
    let used = bits.bytes_used()?;
    input.take(used)?;
    Ok(numbers)
}

/// Huffman code lengths of at most [`LONGEST_CODE`], 0 for classes that do not occur.
fn code_lengths(frequencies: &[u64]) -> Vec<u8> {
    let mut frequencies = frequencies.to_vec();
    loop {
        let lengths = huffman(&frequencies);
        if lengths
            .iter()
            .all(|&length| usize::from(length) <= LONGEST_CODE)
        {
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
    for length in 1..=LONGEST_CODE as u32 {
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

/// Decodes by a table of all values of the next bits: class and length of the code.
struct Decoder {
    classes: Classes,
    table: Vec<(u16, u8)>,
    index_bits: u32,
}

impl Decoder {
    fn new(first: usize, lengths: &[u8], classes: Classes) -> Result<Self, DecodeError> {
        let index_bits = lengths.iter().copied().max().unwrap_or(0).into();
        let kraft: usize = lengths
            .iter()
            .filter(|&&length| length > 0)
            .map(|&length| (1 << LONGEST_CODE) >> length)
            .sum();
        if index_bits == 0 || index_bits > LONGEST_CODE as u32 || kraft > 1 << LONGEST_CODE {
            return Err(DecodeError::Damaged("code lengths"));
        }
        let mut table = vec![(0, 0); 1_usize << index_bits];
        for (class, (&code, &length)) in codes(lengths).iter().zip(lengths).enumerate() {
            if length > 0 {
                for entry in table.iter_mut().skip(code.into()).step_by(1 << length) {
                    *entry = ((first + class) as u16, length);
                }
            }
        }
        Ok(Self {
            classes,
            table,
            index_bits,
        })
    }

    fn next(&self, bits: &mut BitReader<'_>) -> Result<u64, DecodeError> {
        let index = bits.peek() as usize & ((1 << self.index_bits) - 1);
        match self.table.get(index) {
            Some(&(class, length)) if length > 0 => {
                bits.skip(length.into());
                let (smallest, rest) = self.classes.range(class.into());
                Ok(smallest + bits.take(rest))
            }
            _ => Err(DecodeError::Damaged("code")),
        }
    }
}

struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    pending: u128,
    count: u32,
}

impl<'a> BitWriter<'a> {
    fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            pending: 0,
            count: 0,
        }
    }

    /// At most 64 bits, the lowest first.
    fn put(&mut self, bits: u64, count: u32) {
        self.pending |= u128::from(bits) << self.count;
        self.count += count;
        while self.count >= 8 {
            self.out.push(self.pending as u8);
            self.pending >>= 8;
            self.count -= 8;
        }
    }

    fn finish(self) {
        if self.count > 0 {
            self.out.push(self.pending as u8);
        }
    }
}

/// Reads bits; after the end there are zeros, which [`BitReader::bytes_used`] reports.
struct BitReader<'a> {
    bytes: &'a [u8],
    /// In bits.
    position: usize,
}

impl<'a> BitReader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// The next 57 bits or more.
    fn peek(&self) -> u64 {
        let from = self.position / 8;
        let word = match self
            .bytes
            .get(from..)
            .and_then(|rest| rest.first_chunk::<8>())
        {
            Some(chunk) => u64::from_le_bytes(*chunk),
            None => {
                let mut chunk = [0; 8];
                let rest = self.bytes.get(from..).unwrap_or(&[]);
                chunk
                    .iter_mut()
                    .zip(rest)
                    .for_each(|(to, &byte)| *to = byte);
                u64::from_le_bytes(chunk)
            }
        };
        word >> (self.position % 8)
    }

    fn skip(&mut self, count: u32) {
        self.position += count as usize;
    }

    /// At most 60 bits.
    fn take(&mut self, count: u32) -> u64 {
        if count <= 32 {
            let bits = self.peek() & ((1 << count) - 1);
            self.skip(count);
            return bits;
        }
        self.take(32) | self.take(count - 32) << 32
    }

    fn bytes_used(&self) -> Result<usize, DecodeError> {
        let used = self.position.div_ceil(8);
        if used > self.bytes.len() {
            return Err(DecodeError::Truncated);
        }
        Ok(used)
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
        for count in [0, 1, 23, 24, 100, numbers.len()] {
            let mut out = Vec::new();
            put_numbers(&mut out, &numbers[..count], COUNTS);
            let mut input = Input::new(&out);
            assert_eq!(
                take_numbers(&mut input, count, COUNTS).unwrap(),
                numbers[..count]
            );
            assert_eq!(input.left(), 0);
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
        assert_eq!(
            take_numbers(&mut input, numbers.len(), COUNTS).unwrap(),
            numbers
        );
    }
}
