//! `siskin_options`: what `TranslateOptions` are to C.

#![allow(unsafe_code)]

use core::ptr;

use super::error::{CError, Status};
use super::text::TextPointer;
use crate::decode::{self, Sampling, Scores};
use crate::model::ShortlistMode as Shortlist;
use crate::pipeline::{LongInput, TranslateOptions, Translator, Unit};

/// `siskin_options`. A field is only ever added at the end, where 0 is what libraries did that lack it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct COptions {
    pub size: usize,
    pub max_memory: u64,
    pub seed: u64,
    pub task: TextPointer,
    pub target_prefix: TextPointer,
    pub strategy: u32,
    pub beam: u32,
    pub n_best: u32,
    pub min_length: u32,
    pub max_length: u32,
    pub no_repeat_ngram: u32,
    pub length_penalty: f32,
    pub coverage_penalty: f32,
    pub patience: f32,
    pub repetition_penalty: f32,
    pub top_k: u32,
    pub top_p: f32,
    pub temperature: f32,
    pub scores: u32,
    pub unit: u32,
    pub long_input: u32,
    pub shortlist: u32,
    pub batch: u32,
    pub threads: u32,
}

/// The size of the first version of the struct; no caller has a smaller one.
const FIRST_SIZE: usize = size_of::<COptions>();

/// No version of the struct will be larger: a larger size was never set.
const LARGEST_SIZE: usize = 4096;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Strategy {
    Search,
    Sample,
}

/// The constants of the header: each value is at its number.
const STRATEGIES: [Strategy; 2] = [Strategy::Search, Strategy::Sample];
const SCORES: [Scores; 2] = [Scores::Skip, Scores::Total];
const UNITS: [Unit; 2] = [Unit::Line, Unit::Sentence];
const LONG_INPUTS: [LongInput; 3] = [LongInput::Refuse, LongInput::Split, LongInput::Truncate];
const SHORTLISTS: [Shortlist; 3] = [Shortlist::Off, Shortlist::On, Shortlist::Verify];

/// The number of `value`.
fn number<T: PartialEq>(values: &[T], value: &T) -> u32 {
    values.iter().position(|known| known == value).unwrap_or_default() as u32
}

/// The value of the number that the option `name` has.
fn value<T: Copy>(values: &[T], number: u32, name: &str) -> Result<T, CError> {
    values.get(number as usize).copied().ok_or_else(|| {
        let message = format!("options: {name} is {number}; its constants are 0 to {}", values.len() - 1);
        CError::new(Status::InvalidOption, message)
    })
}

impl COptions {
    /// The same options for C. What C has no field for stays with the translator.
    pub fn of(options: &TranslateOptions) -> Self {
        let TranslateOptions { decode, .. } = options;
        let sampling = Sampling::default();
        let limited = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        Self {
            size: size_of::<Self>(),
            max_memory: options.limits.max_memory.unwrap_or(0),
            seed: sampling.seed,
            task: TextPointer::NULL,
            target_prefix: TextPointer::NULL,
            strategy: number(&STRATEGIES, &Strategy::Search),
            beam: limited(decode.width()),
            n_best: limited(decode.n_best),
            min_length: limited(decode.min_length),
            max_length: limited(decode.max_length),
            no_repeat_ngram: limited(decode.no_repeat_ngram),
            length_penalty: decode.length_penalty,
            coverage_penalty: decode.coverage_penalty,
            patience: decode.patience,
            repetition_penalty: decode.repetition_penalty,
            top_k: limited(sampling.top_k),
            top_p: sampling.top_p,
            temperature: sampling.temperature,
            scores: number(&SCORES, &decode.scores),
            unit: number(&UNITS, &options.unit),
            long_input: number(&LONG_INPUTS, &options.long_input),
            shortlist: number(&SHORTLISTS, &options.shortlist),
            batch: limited(options.batch),
            threads: limited(options.threads),
        }
    }

    /// The options of `translator`, changed to these.
    ///
    /// # Errors
    /// [`Status::InvalidOption`] for a number that is no constant, [`Status::InvalidUtf8`], and the translator's own
    /// for the task and the prefix.
    pub fn to(self, translator: &Translator) -> Result<TranslateOptions, CError> {
        let mut options = translator.options().clone();
        let decode = &mut options.decode;
        decode.strategy = match value(&STRATEGIES, self.strategy, "strategy")? {
            Strategy::Search if self.beam == 1 => decode::Strategy::Greedy,
            Strategy::Search => decode::Strategy::Beam { size: self.beam as usize },
            Strategy::Sample => {
                let Self { top_p, temperature, seed, .. } = self;
                decode::Strategy::Sample(Sampling { top_k: self.top_k as usize, top_p, temperature, seed })
            }
        };
        decode.n_best = self.n_best as usize;
        decode.min_length = self.min_length as usize;
        decode.max_length = self.max_length as usize;
        decode.no_repeat_ngram = self.no_repeat_ngram as usize;
        decode.length_penalty = self.length_penalty;
        decode.coverage_penalty = self.coverage_penalty;
        decode.patience = self.patience;
        decode.repetition_penalty = self.repetition_penalty;
        decode.scores = value(&SCORES, self.scores, "scores")?;
        options.unit = value(&UNITS, self.unit, "unit")?;
        options.long_input = value(&LONG_INPUTS, self.long_input, "long_input")?;
        options.shortlist = value(&SHORTLISTS, self.shortlist, "shortlist")?;
        options.batch = self.batch as usize;
        options.threads = self.threads as usize;
        options.limits.max_memory = Some(self.max_memory).filter(|&limit| limit > 0);
        if let Some(task) = self.task.optional("options: task")? {
            options.task = translator.task(task)?;
        }
        if let Some(prefix) = self.target_prefix.optional("options: target_prefix")? {
            options.target_prefix = translator.encode_target(prefix)?;
        }
        Ok(options)
    }
}

/// A pointer to options of any version, from C: null, or to a struct as large as its first field says.
#[repr(transparent)]
pub struct OptionsPointer(*const COptions);

impl OptionsPointer {
    /// The options, `None` for null. Fields that an older caller lacks are those of `defaults`.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] for a size that no version has; [`Status::InvalidOption`] if a newer caller uses an
    /// option that this library lacks.
    pub fn read(&self, mut defaults: COptions) -> Result<Option<COptions>, CError> {
        if self.0.is_null() {
            return Ok(None);
        }
        // SAFETY: not null, and the first field of every version is the size.
        let size = unsafe { self.0.cast::<usize>().read() };
        if !(FIRST_SIZE..=LARGEST_SIZE).contains(&size) {
            let message = format!("options: size is {size}; begin with siskin_model_options, which sets it");
            return Err(CError::new(Status::InvalidArgument, message));
        }
        let known = size.min(size_of::<COptions>());
        let bytes = self.0.cast::<u8>();
        // SAFETY: C promises `size` readable bytes, and `known` are no more than `defaults` has; numbers and pointers
        // are values whatever their bits.
        unsafe { ptr::copy_nonoverlapping(bytes, (&raw mut defaults).cast::<u8>(), known) };
        // SAFETY: C promises `size` readable bytes, which `siskin_model_options` has set.
        if let Some(at) = (known..size).find(|&at| unsafe { bytes.add(at).read() } != 0) {
            let message = format!("options: a field at byte {at} is set that this version of Siskin lacks");
            return Err(CError::new(Status::InvalidOption, message));
        }
        defaults.size = size_of::<COptions>();
        Ok(Some(defaults))
    }
}

/// Where C wants options: null, or a struct of as many bytes as the size that comes with it says.
#[repr(transparent)]
pub struct OptionsOut(*mut COptions);

impl OptionsOut {
    /// Writes as much of `options` as a struct of `size` bytes has, and zeros where it has more.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] for null and for a size that no version has.
    pub fn write(self, mut options: COptions, size: usize) -> Result<(), CError> {
        if self.0.is_null() {
            return Err(CError::null("options"));
        }
        if !(FIRST_SIZE..=LARGEST_SIZE).contains(&size) {
            let message = format!("size is {size}; give sizeof(siskin_options)");
            return Err(CError::new(Status::InvalidArgument, message));
        }
        options.size = size;
        let known = size.min(size_of::<COptions>());
        let bytes = self.0.cast::<u8>();
        // SAFETY: C promises `size` writable bytes, and `known` are no more than `options` has.
        unsafe { ptr::copy_nonoverlapping((&raw const options).cast::<u8>(), bytes, known) };
        // SAFETY: C promises `size` writable bytes.
        unsafe { bytes.add(known).write_bytes(0, size - known) };
        Ok(())
    }
}
