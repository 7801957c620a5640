//! Courses on disk: a lesson that is interrupted goes on where it was.
//!
//! The file has the sections of an adapter file, with the lessons that are being learned, and the section *course*. Its
//! tensors are the parameters under their names, and with a word in front the optimizer's means
//! (`first.`, `second.`) and the parameters of the best pass (`kept.`).

use std::time::{Duration, Instant};

use super::course::{Course, Progress, Within};
use super::learner::Learner;
use super::parameters::{Gradients, Parameters};
use super::random::Random;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{
    File, Layout, Lesson, List, Metadata, MetadataBuilder, SectionKind, Writer, lessons_section,
};
use crate::tensor::AlignedBytes;

impl Course<'_> {
    /// The bytes of a file from which [`Learner::resume`] goes on as if nothing had happened: the parameters, the state of
    /// optimizer and random numbers, and the pairs.
    ///
    /// # Errors
    /// Those of [`File::parse`](crate::format::File::parse) for the model.
    pub fn suspend(&self) -> Result<Vec<u8>> {
        let Self { learner, parameters, optimizer, within, .. } = self;
        let mut adapter = MetadataBuilder::new();
        let base = File::parse(learner.base.bytes())?.fingerprint();
        adapter.critical("base", &base[..]).optional("version", learner.version());
        let lesson = |(source, target)| Lesson { version: learner.version() + 1, source, target };
        let (first, second) = optimizer.means();
        let mut writer = Writer::new();
        writer.critical(SectionKind::Adapter, adapter.build());
        writer.critical(SectionKind::Course, self.metadata());
        writer.optional(SectionKind::Lessons, lessons_section(self.pairs().map(lesson)));
        for (i, parameter) in parameters.list().iter().enumerate() {
            let mut tensor = |word: &str, values| {
                writer.rows(&format!("{word}{}", parameter.name), &parameter.shape, values);
            };
            tensor("", &parameter.values);
            tensor("first.", &first.0[i]);
            if let Some(second) = second.0.get(i) {
                tensor("second.", second);
            }
            if let Some(within) = within {
                tensor("kept.", &within.parameters.list()[i].values);
            }
        }
        Ok(writer.finish())
    }

    fn metadata(&self) -> Vec<u8> {
        let mut metadata = MetadataBuilder::new();
        let state = self.random.state();
        metadata.critical("random", &[state as u32, (state >> 32) as u32][..]);
        metadata.critical("counts", &counts(&self.progress)[..]);
        metadata.critical("elapsed_ms", self.started.elapsed().as_millis() as u32);
        if let Some(Within { progress, divergence, .. }) = &self.within {
            metadata.critical("kept_counts", &counts(progress)[..]);
            metadata.critical("kept_elapsed_ms", progress.elapsed.as_millis() as u32);
            metadata.critical("kept_loss", progress.loss).critical("kept_divergence", *divergence);
        }
        metadata.build()
    }

    fn restore(&mut self, file: &File<'_>) -> Result<()> {
        let metadata = file.metadata(SectionKind::Course);
        let [low, high] = list(&metadata, "random")?;
        self.random = Random::new(u64::from(low) | u64::from(high) << 32);
        set_counts(&mut self.progress, list(&metadata, "counts")?);
        let elapsed = Duration::from_millis(metadata.require::<u32>("elapsed_ms")?.into());
        self.started = Instant::now().checked_sub(elapsed).unwrap_or(self.started);
        let steps = self.progress.steps;
        let (first, second) = self.optimizer.resume(steps);
        read(file, "first.", &self.parameters, &mut first.0)?;
        read(file, "second.", &self.parameters, &mut second.0)?;
        if metadata.get("kept_counts").is_some() {
            let mut progress = self.progress;
            set_counts(&mut progress, list(&metadata, "kept_counts")?);
            progress.elapsed = Duration::from_millis(metadata.require::<u32>("kept_elapsed_ms")?.into());
            progress.loss = metadata.require("kept_loss")?;
            let parameters = restored(file, "kept.", &self.parameters)?;
            self.within =
                Some(Within { parameters, progress, divergence: metadata.require("kept_divergence")? });
        }
        self.parameters = restored(file, "", &self.parameters)?;
        if self.progress.passes > 0 { self.judge() } else { Ok(()) }
    }
}

impl Learner {
    /// Goes on with a lesson that [`Course::suspend`] wrote. With the same options, what it leads to is the same to the bit
    /// as without the interruption; the time that it took counts.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if the file is no suspended lesson, or was over another model, another version of the adapter
    /// or another scope; those of [`begin`](Self::begin).
    pub fn resume(&mut self, bytes: &[u8]) -> Result<Course<'_>> {
        let bytes = AlignedBytes::copy_of(bytes);
        let file = File::parse(bytes.as_slice())?;
        file.verify()?;
        let over = file.metadata(SectionKind::Adapter);
        let (Some(lessons), Some(_)) = (file.lessons(), file.section(SectionKind::Course)) else {
            return Err(Error::new(ErrorKind::Schema, "the file is no suspended lesson"));
        };
        let base = File::parse(self.base.bytes())?.fingerprint();
        if list(&over, "base")? != base || over.optional("version")?.unwrap_or(0) != self.version() {
            let message = "the lesson was suspended over another model, or another version of the adapter";
            return Err(Error::new(ErrorKind::Schema, message));
        }
        let pairs: Vec<(&str, &str)> = lessons.iter().map(|lesson| (lesson.source, lesson.target)).collect();
        let mut course = self.begin(&pairs)?;
        course.restore(&file)?;
        Ok(course)
    }
}

fn counts(progress: &Progress) -> [u32; 4] {
    [progress.passes, progress.steps, progress.right, progress.tokens].map(|count| count as u32)
}

fn set_counts(progress: &mut Progress, counts: [u32; 4]) {
    let [passes, steps, right, tokens] = counts.map(|count| count as usize);
    *progress = Progress { passes, steps, right, tokens, ..*progress };
}

/// A list of `N` numbers.
fn list<const N: usize>(metadata: &Metadata<'_>, key: &str) -> Result<[u32; N]> {
    let listed: Vec<u32> = metadata.require::<List<'_, u32>>(key)?.iter().take(N + 1).collect();
    listed
        .try_into()
        .map_err(|_| Error::new(ErrorKind::Schema, format!("section course: `{key}` has not {N} numbers")))
}

/// Reads a tensor for each of `parameters` whose name has `word` in front.
fn read(file: &File<'_>, word: &str, parameters: &Parameters, values: &mut [Vec<f32>]) -> Result<()> {
    for (parameter, values) in parameters.list().iter().zip(values) {
        let name = format!("{word}{}", parameter.name);
        let tensor = file.tensors().require(&name, Layout::Rows, &parameter.shape)?;
        values.copy_from_slice(tensor.rows(file.bytes()));
    }
    Ok(())
}

/// `parameters` with the values of the file.
fn restored(file: &File<'_>, word: &str, parameters: &Parameters) -> Result<Parameters> {
    let (mut restored, mut values) = (parameters.clone(), Gradients::of(parameters).0);
    read(file, word, parameters, &mut values)?;
    for (parameter, values) in restored.list_mut().iter_mut().zip(values) {
        parameter.values = values;
    }
    Ok(restored)
}
