//! The streams of the benchmark, the same natively and in Wasm.

/// Ids that are played.
pub const IDS: usize = 1_000_000;

/// Scatters ranks over ids: a prime, so that it has no divisor in common with their number.
const SCATTER: u64 = 611_953;

/// Bytes of an id: `song-` and six digits.
pub const ID_BYTES: usize = 11;

/// Counters of every summary, and of the peers.
pub const COUNTERS: usize = 1_024;

/// Panes that are merged.
pub const PANES: usize = 60;

#[derive(Clone, Copy, PartialEq, Eq)]
#[allow(dead_code)]
pub enum Stream {
    Zipf08,
    Zipf10,
    Zipf12,
    Uniform,
    /// Zipf 1.0 whose ranks move on to other ids, 50 times in 20 million plays.
    Drifting,
}

#[allow(dead_code)]
pub const TABLE: [Stream; 3] = [Stream::Zipf10, Stream::Zipf12, Stream::Uniform];

impl Stream {
    #[allow(dead_code)]
    pub fn name(self) -> &'static str {
        match self {
            Self::Zipf08 => "zipf 0.8",
            Self::Zipf10 => "zipf 1.0",
            Self::Zipf12 => "zipf 1.2",
            Self::Uniform => "uniform",
            Self::Drifting => "drifting",
        }
    }
}

/// Draws ids of a stream, by the alias method.
pub struct Source {
    stream: Stream,
    ids: usize,
    keep: Vec<u32>,
    alias: Vec<u32>,
    state: u64,
    drawn: u64,
}

impl Source {
    pub fn new(stream: Stream, seed: u64) -> Self {
        Self::over(stream, IDS, seed)
    }

    /// Of so many ids; the number has no divisor in common with [`SCATTER`].
    pub fn over(stream: Stream, ids: usize, seed: u64) -> Self {
        let exponent = match stream {
            Stream::Zipf08 => 0.8,
            Stream::Zipf10 | Stream::Drifting => 1.0,
            Stream::Zipf12 => 1.2,
            Stream::Uniform => 0.0,
        };
        let mut share: Vec<f64> = (1..=ids)
            .map(|rank| (rank as f64).powf(-exponent))
            .collect();
        let sum: f64 = share.iter().sum();
        share.iter_mut().for_each(|each| *each *= ids as f64 / sum);
        let (mut keep, mut alias) = (vec![u32::MAX; ids], vec![0; ids]);
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..ids).partition(|&at| share[at] < 1.0);
        while let (Some(low), Some(&high)) = (small.pop(), large.last()) {
            keep[low] = (share[low] * f64::from(u32::MAX)) as u32;
            alias[low] = high as u32;
            share[high] -= 1.0 - share[low];
            if share[high] < 1.0 {
                large.pop();
                small.push(high);
            }
        }
        Self {
            stream,
            ids,
            keep,
            alias,
            state: seed,
            drawn: 0,
        }
    }

    /// SplitMix64.
    pub fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The number of an id; ranks are scattered over them.
    pub fn draw(&mut self) -> u32 {
        let random = self.random();
        let at = (((random >> 32) * self.ids as u64) >> 32) as usize;
        let rank = if random as u32 <= self.keep[at] {
            at as u64
        } else {
            u64::from(self.alias[at])
        };
        self.drawn += 1;
        let moved = match self.stream {
            Stream::Drifting => self.drawn / 400_000 * 997,
            _ => 0,
        };
        ((rank * SCATTER + moved) % self.ids as u64) as u32
    }
}

pub fn write_id(number: u32, id: &mut [u8]) {
    id[..5].copy_from_slice(b"song-");
    let mut rest = number;
    for digit in id[5..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// Plays as ids one after the other, with their numbers.
#[derive(Default)]
pub struct Plays {
    pub text: String,
    pub numbers: Vec<u32>,
}

impl Plays {
    pub fn draw(source: &mut Source, count: usize) -> Self {
        let numbers: Vec<u32> = (0..count).map(|_| source.draw()).collect();
        let mut bytes = vec![0; count * ID_BYTES];
        for (id, &number) in bytes.chunks_exact_mut(ID_BYTES).zip(&numbers) {
            write_id(number, id);
        }
        Self {
            text: String::from_utf8(bytes).unwrap_or_default(),
            numbers,
        }
    }

    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The ids, read from memory one after the other. That all are as long is kept from the
    /// compiler: nobody may profit from it.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        let length = std::hint::black_box(ID_BYTES);
        let starts = (0..self.len()).map(move |at| at * length);
        starts.filter_map(move |start| self.text.get(start..start + length))
    }
}

/// Weights from 1 to a million, as many of each magnitude.
pub fn weights(count: usize) -> Vec<u64> {
    let mut source = Source {
        stream: Stream::Uniform,
        ids: IDS,
        keep: Vec::new(),
        alias: Vec::new(),
        state: 5,
        drawn: 0,
    };
    (0..count)
        .map(|_| {
            let random = source.random();
            10_f64.powf((random >> 11) as f64 / (1_u64 << 53) as f64 * 6.0) as u64
        })
        .map(|weight| weight.clamp(1, 1_000_000))
        .collect()
}
